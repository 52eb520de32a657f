// Keeps what people write apart from a chat template's control tokens.
#pragma once

#include <array>
#include <cstdint>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "chat/chat_template.h"
#include "tokenizer/tokenizer.h"

namespace inkstone {

// The text of a special token ("<|im_end|>") inside a message must not end the message. While a prompt is rendered,
// each such text is replaced by a mark that the template passes on; after rendering, the text between marks is
// tokenized with special tokens recognised and the texts that the marks stand for without.
class ChatEncoder {
 public:
  // The tokenizer is borrowed.
  explicit ChatEncoder(const Tokenizer& tokenizer);

  // Texts that marks stand for, by number.
  using Literals = std::vector<std::string>;

  // What marks special text during one rendering: for ChatTemplate::Render, which sends every text of the caller
  // through it. `literals` is filled and must outlive it.
  TextMark Marker(Literals* literals) const;
  // Tokenizes a rendered prompt. kResourceExhausted and kCancelled as Tokenizer::TryEncode has them.
  Result<std::vector<int32_t>> Encode(std::string_view rendered, const Literals& literals,
                                      const std::stop_token& stop = {}) const;

 private:
  std::string MarkText(std::string_view text, TextSlot slot, Literals* literals) const;
  // Length of the special text (or mark character) that `text` begins with; 0 for none.
  size_t SpecialPrefix(std::string_view text) const;
  // Length of the beginning of `text` that could end a special text whose start is elsewhere, and the other way round.
  size_t SpecialHead(std::string_view text) const;
  size_t SpecialTail(std::string_view text) const;

  const Tokenizer& tokenizer_;
  std::array<std::vector<std::string>, 256> specials_;  // by first byte, longest first
  std::array<std::vector<std::string>, 256> by_end_;    // by last byte
  size_t longest_ = 0;
};

}  // namespace inkstone
