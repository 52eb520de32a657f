// Splits a token stream into reasoning (<think>...</think>) and answer.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

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
  // What is certain after `text`; the start of a possible tag is held back.
  Parts Push(std::string_view text);
  // The rest. When the answer ended by itself (not for length) inside reasoning without any answer, the model forgot
  // its closing tag: the whole reasoning is then given as the answer too, so that nobody loses it.
  Parts Finish(bool ended_by_itself);

 private:
  enum class State { kStart, kReasoning, kTrimAnswer, kAnswer };
  // Handles what can be handled of held_; returns false when more text is needed.
  bool Step(Parts* parts);
  void AddReasoning(std::string_view text, Parts* parts);

  State state_;
  std::string held_;
  std::string reasoning_;         // all of it, for Finish
  std::string reasoning_spaces_;  // trailing white space, given only when more reasoning follows
};

// Length of the longest suffix of `text` that is a proper prefix of `tag`.
size_t PartialTagLength(std::string_view text, std::string_view tag);

}  // namespace inkstone
