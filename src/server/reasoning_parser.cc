#include "server/reasoning_parser.h"

#include <algorithm>

namespace inkstone {
namespace {

constexpr std::string_view kOpen = "<think>";
constexpr std::string_view kClose = "</think>";
constexpr std::string_view kSpaces = " \t\r\n";

}  // namespace

size_t PartialTagLength(std::string_view text, std::string_view tag) {
  for (size_t length = std::min(text.size(), tag.size() - 1); length > 0; --length) {
    if (text.ends_with(tag.substr(0, length))) return length;
  }
  return 0;
}

ReasoningParser::ReasoningParser(ThinkStart start)
    : state_(start == ThinkStart::kNever    ? State::kAnswer
             : start == ThinkStart::kInside ? State::kReasoning
                                            : State::kStart) {}

ReasoningParser::ReasoningParser(ThinkStart start, const Tokenizer& tokenizer) : ReasoningParser(start) {
  if (start == ThinkStart::kNever) return;
  if (const int32_t id = tokenizer.TokenId(kClose); id >= 0) closing_.emplace(TagTokens{id, StreamDecoder(tokenizer)});
}

ReasoningParser::Parts ReasoningParser::Push(std::string_view text, std::span<const GeneratedToken> tokens) {
  Parts parts;
  held_.append(text);
  for (const GeneratedToken& token : tokens) {
    if (!closing_) break;
    closing_->decoded += static_cast<int64_t>(closing_->decoder.Push(token.token).size());
    if (token.token != closing_->id) continue;
    const size_t size = closing_->decoder.skips(token.token) ? 0 : kClose.size();
    closing_->tags.push_back({closing_->decoded - static_cast<int64_t>(size), size});
  }
  while (!held_.empty() && Step(&parts)) {
  }
  return parts;
}

void ReasoningParser::Drop(size_t bytes) {
  held_.erase(0, bytes);
  dropped_ += static_cast<int64_t>(bytes);
}

// White space at both ends of the reasoning belongs to the tags.
void ReasoningParser::AddReasoning(std::string_view text, Parts* parts) {
  if (reasoning_.empty()) text.remove_prefix(std::min(text.find_first_not_of(kSpaces), text.size()));
  const size_t last = text.find_last_not_of(kSpaces);
  const size_t solid = last == std::string_view::npos ? 0 : last + 1;
  if (solid > 0) {
    parts->reasoning += reasoning_spaces_;
    parts->reasoning += text.substr(0, solid);
    reasoning_ += reasoning_spaces_;
    reasoning_ += text.substr(0, solid);
    reasoning_spaces_.clear();
  }
  if (!reasoning_.empty()) reasoning_spaces_ += text.substr(solid);
}

bool ReasoningParser::StepReasoning(Parts* parts) {
  size_t close = std::string::npos;
  size_t size = kClose.size();
  size_t certain = 0;  // bytes of held_ that no tag can begin in
  if (closing_) {
    // Text may come before its tokens: where a tag may be is known as far as these reach.
    const int64_t known = closing_->decoded - dropped_;
    certain = static_cast<size_t>(std::clamp<int64_t>(known, 0, static_cast<int64_t>(held_.size())));
    while (!closing_->tags.empty() && closing_->tags.front().begin < dropped_) closing_->tags.pop_front();
    if (!closing_->tags.empty()) {
      const auto begin = static_cast<size_t>(closing_->tags.front().begin - dropped_);
      size = closing_->tags.front().size;
      if (begin + size <= held_.size()) close = begin;
      certain = std::min(certain, begin);
    }
  } else {
    close = held_.find(kClose);
    certain = held_.size() - PartialTagLength(held_, kClose);
  }
  if (close == std::string::npos) {
    AddReasoning(std::string_view(held_).substr(0, certain), parts);
    Drop(certain);
    return false;
  }
  AddReasoning(std::string_view(held_).substr(0, close), parts);
  Drop(close + size);
  state_ = State::kTrimAnswer;
  return true;
}

bool ReasoningParser::Step(Parts* parts) {
  switch (state_) {
    case State::kStart: {
      const size_t begin = held_.find_first_not_of(kSpaces);
      if (begin == std::string::npos) return false;
      const std::string_view rest = std::string_view(held_).substr(begin);
      if (rest.starts_with(kOpen)) {
        Drop(begin + kOpen.size());
        state_ = State::kReasoning;
        return true;
      }
      if (kOpen.starts_with(rest)) return false;
      state_ = State::kAnswer;
      return true;
    }
    case State::kReasoning:
      return StepReasoning(parts);
    case State::kTrimAnswer: {  // the template puts "\n\n" between </think> and the answer
      const size_t begin = held_.find_first_not_of(kSpaces);
      if (begin == std::string::npos) return false;
      Drop(begin);
      state_ = State::kAnswer;
      return true;
    }
    case State::kAnswer:
      parts->answer += held_;
      held_.clear();
      return false;
  }
  return false;
}

ReasoningParser::Parts ReasoningParser::Finish(bool ended_by_itself) {
  Parts parts;
  if (state_ == State::kReasoning) {
    AddReasoning(held_, &parts);  // a partial closing tag is text after all
    if (ended_by_itself) parts.answer = reasoning_;
  } else if (state_ == State::kStart || state_ == State::kAnswer) {
    parts.answer = std::move(held_);
  }
  held_.clear();
  return parts;
}

}  // namespace inkstone
