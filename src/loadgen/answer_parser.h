// What the events of a streamed completion say.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "loadgen/load_options.h"

namespace inkstone {

// Why a request has no complete answer.
struct Failure {
  std::string kind;     // "http 429", "timeout": what failures are counted by
  std::string message;  // of this one
};

// As the server counts them.
struct Usage {
  int64_t prompt = 0;
  int64_t completion = 0;
  int64_t cached = 0;  // part of `prompt` that came from a cache; 0 where the server does not say
};

// The chunks of OpenAI's streams. A failure is final.
class AnswerParser {
 public:
  explicit AnswerParser(Endpoint endpoint) : endpoint_(endpoint) {}

  // Reads one event. True when it carries some of the answer: text, reasoning, or a part of a tool call.
  bool OnEvent(std::string_view data);

  bool done() const { return done_; }          // [DONE] has come
  bool finished() const { return finished_; }  // a finish_reason has come
  const std::optional<Usage>& usage() const { return usage_; }
  const std::optional<Failure>& failure() const { return failure_; }

 private:
  void Fail(std::string kind, std::string message) { failure_ = Failure{std::move(kind), std::move(message)}; }

  Endpoint endpoint_;
  bool done_ = false;
  bool finished_ = false;
  std::optional<Usage> usage_;
  std::optional<Failure> failure_;
};

// The message of an error body: error.message, error, or message where the JSON has one, else the text itself; at most
// 300 bytes, one line.
std::string ErrorMessage(std::string_view body);

}  // namespace inkstone
