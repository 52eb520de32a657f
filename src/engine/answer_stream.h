// From generated tokens to the events that a caller sees: whole characters, no part of a stop string.
#pragma once

#include <cstdint>
#include <deque>
#include <string>

#include "engine/request.h"
#include "engine/stop_matcher.h"
#include "tokenizer/tokenizer.h"

namespace inkstone {

class AnswerStream {
 public:
  // `stops` have passed Validate; the text of the first `min_tokens` tokens stops nothing. The tokenizer is borrowed.
  AnswerStream(const Tokenizer& tokenizer, bool keep_special, StopSet stops, int64_t min_tokens = 0);

  // Takes the next token and adds the text and tokens that are now complete to *event.
  void Push(GeneratedToken token, GenerationEvent* event);
  // No more tokens come: adds what was held back. Of an answer cut by a stop string, tokens of which some text was
  // shown are added, the others are dropped.
  void Finish(GenerationEvent* event);

  bool stopped() const { return matcher_.matched(); }
  const std::string& stop_string() const { return matcher_.match(); }

 private:
  // A token and the bytes of the decoded text that it made.
  struct Waiting {
    GeneratedToken token;
    int64_t begin;
    int64_t end;
  };

  void Show(const std::string& decoded, GenerationEvent* event);
  void Release(GenerationEvent* event);

  const Tokenizer& tokenizer_;
  bool keep_special_;
  StreamDecoder decoder_;
  StopMatcher matcher_;
  const int64_t min_tokens_;
  std::deque<Waiting> waiting_;
  int64_t pushed_ = 0;   // tokens
  int64_t decoded_ = 0;  // bytes that came from the decoder
  int64_t shown_ = 0;    // bytes of them that went out
};

}  // namespace inkstone
