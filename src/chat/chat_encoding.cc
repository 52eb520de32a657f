#include "chat/chat_encoding.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <utility>

namespace inkstone {
namespace {

// A mark is kOpen, a decimal number, kClose. Unicode reserves these two code points for a program's own use (U+FDD0 and
// U+FDD1, noncharacters); where a message contains them nevertheless, they are marked like special text.
constexpr std::string_view kOpen = "\xef\xb7\x90";
constexpr std::string_view kClose = "\xef\xb7\x91";

// A template may put two texts side by side that are one special text together. Of two parts of a text of four bytes or
// more, one has two.
constexpr size_t kLeastPart = 2;

// Parts of mere letters are ordinary words.
bool TellsSpecial(std::string_view part) {
  return std::any_of(part.begin(), part.end(), [](char c) { return std::ispunct(static_cast<unsigned char>(c)) != 0; });
}

}  // namespace

ChatEncoder::ChatEncoder(const Tokenizer& tokenizer) : tokenizer_(tokenizer) {
  const auto add = [this](std::string_view text) {
    if (!text.empty()) specials_[static_cast<unsigned char>(text[0])].emplace_back(text);
  };
  for (int32_t token = 0; token < tokenizer.vocab_size(); ++token) {
    if (tokenizer.IsSpecial(token)) add(tokenizer.TokenBytes(token));
  }
  add(kOpen);
  add(kClose);
  for (auto& texts : specials_) {
    std::sort(texts.begin(), texts.end(), [](const auto& a, const auto& b) { return a.size() > b.size(); });
    for (const std::string& special : texts) {
      by_end_[static_cast<unsigned char>(special.back())].push_back(special);
      longest_ = std::max(longest_, special.size());
    }
  }
}

size_t ChatEncoder::SpecialPrefix(std::string_view text) const {
  for (const std::string& special : specials_[static_cast<unsigned char>(text[0])]) {
    if (text.starts_with(special)) return special.size();
  }
  return 0;
}

size_t ChatEncoder::SpecialHead(std::string_view text) const {
  for (size_t length = std::min(text.size(), longest_); length >= kLeastPart; --length) {
    const std::string_view part = text.substr(0, length);
    const auto& candidates = by_end_[static_cast<unsigned char>(part.back())];
    const auto ends_so = [&](const std::string& special) { return special.ends_with(part); };
    if (!candidates.empty() && TellsSpecial(part) && std::any_of(candidates.begin(), candidates.end(), ends_so)) {
      return length;
    }
  }
  return 0;
}

size_t ChatEncoder::SpecialTail(std::string_view text) const {
  for (size_t length = std::min(text.size(), longest_); length >= kLeastPart; --length) {
    const std::string_view part = text.substr(text.size() - length);
    const auto& candidates = specials_[static_cast<unsigned char>(part.front())];
    const auto begins_so = [&](const std::string& special) { return special.starts_with(part); };
    if (!candidates.empty() && TellsSpecial(part) && std::any_of(candidates.begin(), candidates.end(), begins_so)) {
      return length;
    }
  }
  return 0;
}

std::string ChatEncoder::MarkText(std::string_view text, TextSlot slot, Literals* literals) const {
  std::string out;
  const auto literal = [&](std::string_view part) {
    out.append(kOpen).append(std::to_string(literals->size())).append(kClose);
    literals->emplace_back(part);
  };
  size_t end = text.size();
  size_t i = 0;
  if (slot == TextSlot::kText) {
    i = SpecialHead(text);
    if (i > 0) literal(text.substr(0, i));
    end -= SpecialTail(text.substr(i));
  }
  while (i < end) {
    const size_t length = SpecialPrefix(text.substr(i));
    if (length == 0) {
      out += text[i++];
    } else {
      literal(text.substr(i, length));
      i += length;
    }
  }
  if (i < text.size()) literal(text.substr(i));
  return out;
}

TextMark ChatEncoder::Marker(Literals* literals) const {
  return [this, literals](std::string_view text, TextSlot slot) { return MarkText(text, slot, literals); };
}

Result<std::vector<int32_t>> ChatEncoder::Encode(std::string_view rendered, const Literals& literals,
                                                 const std::stop_token& stop) const {
  std::vector<int32_t> tokens;
  const auto append = [this, &tokens, &stop](std::string_view text, SpecialText mode) -> Status {
    INK_ASSIGN_OR_RETURN(const std::vector<int32_t> more, tokenizer_.TryEncode(text, mode, stop));
    tokens.insert(tokens.end(), more.begin(), more.end());
    return Status::Ok();
  };
  size_t begin = 0;  // of text not yet encoded
  for (size_t open = rendered.find(kOpen); open != std::string_view::npos; open = rendered.find(kOpen, open + 1)) {
    const char* digits = rendered.data() + open + kOpen.size();
    size_t number = 0;
    const auto [end, error] = std::from_chars(digits, rendered.data() + rendered.size(), number);
    const size_t close = static_cast<size_t>(end - rendered.data());
    // A template that cuts text may leave half a mark, which then is text.
    if (error != std::errc() || number >= literals.size() || !rendered.substr(close).starts_with(kClose)) continue;
    INK_RETURN_IF_ERROR(append(rendered.substr(begin, open - begin), SpecialText::kRecognize));
    INK_RETURN_IF_ERROR(append(literals[number], SpecialText::kPlain));
    begin = close + kClose.size();
  }
  INK_RETURN_IF_ERROR(append(rendered.substr(begin), SpecialText::kRecognize));
  return tokens;
}

}  // namespace inkstone
