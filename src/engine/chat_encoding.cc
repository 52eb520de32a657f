#include "engine/chat_encoding.h"

#include <algorithm>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <charconv>
#include <utility>

namespace inkstone {
namespace {

// A mark is kOpen, a decimal number, kClose. Unicode reserves these two code points for a program's own use (U+FDD0 and
// U+FDD1, noncharacters); where a message contains them nevertheless, they are marked like special text.
constexpr std::string_view kOpen = "\xef\xb7\x90";
constexpr std::string_view kClose = "\xef\xb7\x91";

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
  }
}

size_t ChatEncoder::SpecialPrefix(std::string_view text) const {
  for (const std::string& special : specials_[static_cast<unsigned char>(text[0])]) {
    if (text.starts_with(special)) return special.size();
  }
  return 0;
}

std::string ChatEncoder::MarkText(std::string_view text, Literals* literals) const {
  std::string out;
  for (size_t i = 0; i < text.size();) {
    const size_t length = SpecialPrefix(text.substr(i));
    if (length == 0) {
      out += text[i++];
      continue;
    }
    out.append(kOpen).append(std::to_string(literals->size())).append(kClose);
    literals->emplace_back(text.substr(i, length));
    i += length;
  }
  return out;
}

boost::json::value ChatEncoder::MarkJson(const boost::json::value& value, Literals* literals) const {
  if (const auto* text = value.if_string()) return boost::json::string(MarkText(*text, literals));
  if (const auto* array = value.if_array()) {
    boost::json::array out;
    for (const auto& item : *array) out.push_back(MarkJson(item, literals));
    return out;
  }
  if (const auto* object = value.if_object()) {
    boost::json::object out;
    for (const auto& [key, item] : *object) out[MarkText(key, literals)] = MarkJson(item, literals);
    return out;
  }
  return value;
}

// JSON can spell special text with escapes ("\u003c|im_end|>"): such text is decoded first.
std::string ChatEncoder::MarkJsonText(const std::string& text, Literals* literals) const {
  if (text.find("\\u") == std::string::npos) return MarkText(text, literals);
  boost::system::error_code error;
  const boost::json::value value = boost::json::parse(text, error);
  return error ? MarkText(text, literals) : boost::json::serialize(MarkJson(value, literals));
}

ChatPrompt ChatEncoder::Mark(ChatPrompt prompt, Literals* literals) const {
  const auto mark = [this, literals](std::string* text) { *text = MarkText(*text, literals); };
  for (ChatMessage& message : prompt.messages) {
    for (std::string* text :
         {&message.role, &message.content, &message.reasoning_content, &message.tool_call_id, &message.name}) {
      mark(text);
    }
    for (ToolCall& call : message.tool_calls) {
      mark(&call.id);
      mark(&call.name);
      call.arguments = MarkJsonText(call.arguments, literals);
    }
  }
  prompt.tools = MarkJson(prompt.tools, literals);
  prompt.extra = std::move(MarkJson(prompt.extra, literals).as_object());
  return prompt;
}

std::vector<int32_t> ChatEncoder::Encode(std::string_view rendered, const Literals& literals) const {
  std::vector<int32_t> tokens;
  const auto append = [this, &tokens](std::string_view text, SpecialText mode) {
    const std::vector<int32_t> more = tokenizer_.Encode(text, mode);
    tokens.insert(tokens.end(), more.begin(), more.end());
  };
  size_t begin = 0;  // of text not yet encoded
  for (size_t open = rendered.find(kOpen); open != std::string_view::npos; open = rendered.find(kOpen, open + 1)) {
    const char* digits = rendered.data() + open + kOpen.size();
    size_t number = 0;
    const auto [end, error] = std::from_chars(digits, rendered.data() + rendered.size(), number);
    const size_t close = static_cast<size_t>(end - rendered.data());
    // A template that cuts text may leave half a mark, which then is text.
    if (error != std::errc() || number >= literals.size() || !rendered.substr(close).starts_with(kClose)) continue;
    append(rendered.substr(begin, open - begin), SpecialText::kRecognize);
    append(literals[number], SpecialText::kPlain);
    begin = close + kClose.size();
  }
  append(rendered.substr(begin), SpecialText::kRecognize);
  return tokens;
}

}  // namespace inkstone
