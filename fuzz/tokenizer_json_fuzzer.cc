// Any text as tokenizer.json. A zero byte parts it from tokenizer_config.json, a second one from text to encode. What
// loads must encode and decode within its vocabulary.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "tokenizer/tokenizer.h"

namespace {

// The part of `*rest` before the next zero byte, which is taken off with it.
std::string_view NextPart(std::string_view* rest) {
  const size_t cut = rest->find('\0');
  const std::string_view part = rest->substr(0, cut);
  *rest = cut == std::string_view::npos ? std::string_view() : rest->substr(cut + 1);
  return part;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view rest(reinterpret_cast<const char*>(data), size);
  const std::string_view tokenizer_json = NextPart(&rest);
  const std::string_view config_json = NextPart(&rest);
  const auto tokenizer = inkstone::Tokenizer::FromJson(tokenizer_json, config_json, "fuzz");
  if (!tokenizer.ok()) return 0;
  const std::string text = std::string(rest) + "aab \xff 12's<x>";
  for (const auto mode : {inkstone::SpecialText::kRecognize, inkstone::SpecialText::kPlain}) {
    const auto ids = (*tokenizer)->Encode(text, mode);
    for (const int32_t id : ids) {
      if (id < 0 || id >= (*tokenizer)->vocab_size()) __builtin_trap();
    }
    (void)(*tokenizer)->Decode(ids, true);
  }
  inkstone::Metadata metadata;
  (void)(*tokenizer)->ExportMetadata((*tokenizer)->vocab_size() + 1, &metadata);
  return 0;
}
