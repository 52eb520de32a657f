// Splits a token stream into reasoning (<think>...</think>) and answer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "engine/request.h"
#include "tokenizer/tokenizer.h"

namespace inkstone {

enum class ThinkStart {
  kNever,   // the model does not think: everything is answer
  kMaybe,   // an opening tag may come first
  kInside,  // the prompt has opened the tag
};

class ReasoningParser {
 public:
  struct Parts {
    std::string reasoning;
    std::string answer;
  };

  explicit ReasoningParser(ThinkStart start);
  // For a tokenizer in which the closing tag is one token: only that token ends the reasoning, the same text of
  // ordinary tokens does not. The tokenizer is borrowed.
  ReasoningParser(ThinkStart start, const Tokenizer& tokenizer);
  // What is certain after `text`; the start of a possible tag is held back. `tokens` are the event's.
  Parts Push(std::string_view text, std::span<const GeneratedToken> tokens = {});
  // The rest. When the answer ended by itself (not for length) inside reasoning without any answer, the model forgot
  // its closing tag: the whole reasoning is then given as the answer too, so that nobody loses it.
  Parts Finish(bool ended_by_itself);

 private:
  enum class State { kStart, kReasoning, kTrimAnswer, kAnswer };
  // Handles what can be handled of held_; returns false when more text is needed.
  bool Step(Parts* parts);
  bool StepReasoning(Parts* parts);
  void Drop(size_t bytes);  // of held_
  void AddReasoning(std::string_view text, Parts* parts);

  // Of a closing tag that is a token, where it stands in the text of all tokens.
  struct Tag {
    int64_t begin = 0;
    size_t size = 0;  // 0: special, and so not in the text
  };
  // Closing tags by their token.
  struct TagTokens {
    int32_t id;
    StreamDecoder decoder;
    int64_t decoded = 0;  // text of the tokens so far
    std::deque<Tag> tags = {};
  };

  State state_;
  std::optional<TagTokens> closing_;
  std::string held_;
  int64_t dropped_ = 0;           // text before held_
  std::string reasoning_;         // all of it, for Finish
  std::string reasoning_spaces_;  // trailing white space, given only when more reasoning follows
};

// Length of the longest suffix of `text` that is a proper prefix of `tag`.
size_t PartialTagLength(std::string_view text, std::string_view tag);

}  // namespace inkstone
