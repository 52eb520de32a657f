// Any bytes as a file of reference logits, and as one encoded row of it (which a checksum guards in the file): both end
// in an error or in finite values.
#include <sys/mman.h>
#include <unistd.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "compress/logit_row.h"
#include "compress/reference_logits.h"

namespace {

using namespace inkstone;

void ReadRow(std::span<const std::byte> bytes) {
  constexpr int64_t kVocab = 300;
  if (bytes.size() < EncodedLogitBytes(kVocab)) return;
  std::vector<float> logits(kVocab);
  if (!DecodeLogits(bytes.first(EncodedLogitBytes(kVocab)), logits).ok()) return;
  for (const float v : logits) {
    if (!std::isfinite(v)) __builtin_trap();
  }
}

void ReadFile(std::span<const std::byte> bytes) {
  const int fd = ::memfd_create("logits", 0);
  if (fd < 0 || ::write(fd, bytes.data(), bytes.size()) != static_cast<ssize_t>(bytes.size())) return;
  const ReferenceContent content{300, 8, 1, 7, 0};
  const auto logits = ReferenceLogits::Open("/proc/self/fd/" + std::to_string(fd), content);
  if (logits.ok()) {
    ReferenceLogits::Scratch scratch(content.vocab);
    double loss = 0;
    for (int64_t row = 0; row < content.rows; ++row) (void)logits->Read(row, scratch, &loss);
  }
  ::close(fd);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::span<const std::byte> bytes(reinterpret_cast<const std::byte*>(data), size);
  ReadRow(bytes);
  ReadFile(bytes);
  return 0;
}
