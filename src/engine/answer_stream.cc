#include "engine/answer_stream.h"

#include <utility>

namespace inkstone {

AnswerStream::AnswerStream(const Tokenizer& tokenizer, bool keep_special, StopSet stops, int64_t min_tokens)
    : tokenizer_(tokenizer),
      keep_special_(keep_special),
      decoder_(tokenizer, !keep_special),
      matcher_(std::move(stops)),
      min_tokens_(min_tokens) {}

void AnswerStream::Push(GeneratedToken token, GenerationEvent* event) {
  ++pushed_;
  const int32_t id = token.token;
  const int64_t begin = decoded_;
  const std::string decoded = decoder_.Push(id);
  decoded_ += static_cast<int64_t>(decoded.size());
  // A token that is a part of a character waits for at least one more byte.
  const bool has_text = !tokenizer_.TokenBytes(id).empty() && (keep_special_ || !tokenizer_.IsSpecial(id));
  waiting_.push_back({std::move(token), begin, decoded.empty() && has_text ? begin + 1 : decoded_});
  Show(decoded, event);
  Release(event);
}

void AnswerStream::Finish(GenerationEvent* event) {
  if (!stopped()) {
    const std::string decoded = decoder_.Flush();
    decoded_ += static_cast<int64_t>(decoded.size());
    Show(decoded, event);
  }
  if (!stopped()) {
    event->text += matcher_.Flush();
    shown_ = decoded_;
  }
  for (Waiting& w : waiting_) {
    if (!stopped() || w.begin < shown_) event->tokens.push_back(std::move(w.token));
  }
  waiting_.clear();
}

void AnswerStream::Show(const std::string& decoded, GenerationEvent* event) {
  const std::string shown = pushed_ > min_tokens_ ? matcher_.Push(decoded) : decoded;
  shown_ += static_cast<int64_t>(shown.size());
  event->text += shown;
}

void AnswerStream::Release(GenerationEvent* event) {
  while (!waiting_.empty() && waiting_.front().end <= shown_) {
    event->tokens.push_back(std::move(waiting_.front().token));
    waiting_.pop_front();
  }
}

}  // namespace inkstone
