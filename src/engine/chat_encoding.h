// Keeps what people write apart from a chat template's control tokens.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/chat_template.h"
#include "tokenizer/tokenizer.h"

namespace inkstone {

// The text of a special token ("<|im_end|>") inside a message must not end the message. Before rendering, each such
// text is replaced by a mark that the template passes on; after rendering, the text between marks is tokenized with
// special tokens recognised and the texts that the marks stand for without.
class ChatEncoder {
 public:
  // The tokenizer is borrowed.
  explicit ChatEncoder(const Tokenizer& tokenizer);

  // Texts that marks stand for, by number.
  using Literals = std::vector<std::string>;

  // Marks special text in everything that comes from the caller: messages, tool calls, tools, template variables.
  ChatPrompt Mark(ChatPrompt prompt, Literals* literals) const;
  // Tokenizes a rendered prompt.
  std::vector<int32_t> Encode(std::string_view rendered, const Literals& literals) const;

 private:
  std::string MarkText(std::string_view text, Literals* literals) const;
  std::string MarkJsonText(const std::string& text, Literals* literals) const;
  boost::json::value MarkJson(const boost::json::value& value, Literals* literals) const;
  // Length of the special text (or mark character) that `text` begins with; 0 for none.
  size_t SpecialPrefix(std::string_view text) const;

  const Tokenizer& tokenizer_;
  std::array<std::vector<std::string>, 256> specials_;  // by first byte, longest first
};

}  // namespace inkstone
