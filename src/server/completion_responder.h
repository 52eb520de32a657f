// Builds the answers of /v1/completions, /stream and /generate.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "server/answer_json.h"
#include "server/service.h"

namespace inkstone {

struct CompletionResponderOptions {
  AnswerHead head;
  std::vector<std::string> echo;  // of each prompt: text that comes before its answers
  int choices_per_prompt = 1;
  bool include_usage = false;
  bool return_progress = false;
  bool logprobs = false;
  int64_t prompt_tokens = 0;  // of all prompts
  ContextReport context;      // of all prompts
};

class CompletionResponder final : public Responder {
 public:
  // `options.echo` has one entry for each prompt. The tokenizer is borrowed.
  CompletionResponder(CompletionResponderOptions options, const Tokenizer& tokenizer);

  std::string Head() override;
  std::string OnEvent(size_t choice, const GenerationEvent& event) override;
  std::string Tail() override;
  std::string Body() override;

 private:
  struct Choice {
    std::string text;
    std::vector<GeneratedToken> tokens;
    int64_t offset = 0;  // code points before the next token, for text_offset
    std::string finish;
    GenerationUsage usage;
  };
  std::string Chunk(size_t index, const std::string& text, const std::vector<GeneratedToken>& tokens,
                    const std::string& finish);
  void WriteLogprobs(JsonWriter& json, const std::vector<GeneratedToken>& tokens, int64_t* offset) const;
  AnswerUsage Usage() const;
  const std::string& EchoOf(size_t choice) const {
    return options_.echo[choice / static_cast<size_t>(options_.choices_per_prompt)];
  }

  CompletionResponderOptions options_;
  const Tokenizer& tokenizer_;
  std::vector<Choice> choices_;
};

// /stream: each piece of text is one event. /generate: {"text"}.
class PlainResponder final : public Responder {
 public:
  std::string Head() override { return {}; }
  std::string OnEvent(size_t choice, const GenerationEvent& event) override;
  std::string Tail() override { return SseData("[DONE]"); }
  std::string Body() override;

 private:
  std::string text_;
};

}  // namespace inkstone
