// Any bytes as a server's answer to the load generator. What comes out must not depend on how they were cut.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "loadgen/response_reader.h"

namespace inkstone {
namespace {

std::string Read(std::string_view bytes, size_t step, Endpoint endpoint) {
  ResponseReader reader(endpoint);
  int pieces = 0;
  for (size_t i = 0; i < bytes.size(); i += step) pieces += reader.Push(bytes.substr(i, step));
  reader.PushEnd();
  if (!reader.done()) std::abort();
  // When an error in the head is seen, and what it is then called, depends on how much of the head is there.
  if (reader.failure()) return "failed";
  std::string out = std::to_string(reader.status()) + " " + std::to_string(pieces);
  if (reader.usage()) {
    if (reader.usage()->prompt < 0 || reader.usage()->completion < 0 || reader.usage()->cached < 0) std::abort();
    out += " " + std::to_string(reader.usage()->prompt) + " " + std::to_string(reader.usage()->completion);
  }
  return out;
}

}  // namespace
}  // namespace inkstone

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace inkstone;  // NOLINT: this function lies outside
  if (size < 2) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data + 1), size - 1);
  const Endpoint endpoint = data[0] % 2 == 0 ? Endpoint::kChat : Endpoint::kCompletions;
  if (Read(bytes, bytes.size(), endpoint) != Read(bytes, 1, endpoint)) std::abort();
  return 0;
}
