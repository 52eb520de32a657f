// Builds the answers of /v1/chat/completions.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "server/answer_json.h"
#include "server/reasoning_parser.h"
#include "server/service.h"
#include "server/tool_call_parser.h"

namespace inkstone {

struct ChatResponderOptions {
  AnswerHead head;
  int choices = 1;
  bool include_usage = false;
  bool return_progress = false;
  bool logprobs = false;
  ThinkStart think = ThinkStart::kNever;
  bool parse_tools = false;
  bool parallel_tool_calls = true;                   // else calls after the first are left out
  std::shared_ptr<const ToolTypes> tool_types = {};  // of the request's tools
  std::string reasoning_field;
  int64_t prompt_tokens = 0;
  ContextReport context;
};

class ChatResponder final : public Responder {
 public:
  // The tokenizer is borrowed.
  ChatResponder(ChatResponderOptions options, const Tokenizer& tokenizer);

  std::string Head() override;
  std::string OnEvent(size_t choice, const GenerationEvent& event) override;
  std::string Tail() override;
  std::string Body() override;

 private:
  struct Call {
    std::string id;
    ParsedToolCall call;
  };
  struct Choice {
    Choice(const ChatResponderOptions& options, const Tokenizer& tokenizer)
        : reasoning_parser(options.think, tokenizer), tool_parser(options.parse_tools, options.tool_types) {}
    ReasoningParser reasoning_parser;
    ToolCallParser tool_parser;
    std::string reasoning;
    std::string content;
    std::vector<Call> calls;
    std::vector<GeneratedToken> tokens;  // all, for Body
    std::vector<GeneratedToken> unsent;  // log-probabilities that wait for the next chunk
    std::string finish;
    GenerationUsage usage;
  };

  // Takes new text in; returns the chunks that it makes certain.
  std::string Advance(size_t index, const std::string& reasoning, ToolCallParser::Parts parts);
  std::string CallChunks(size_t index, size_t call_index);
  // A chunk with one choice whose delta is this JSON object. `finish` empty: null. The first and the last chunk of a
  // choice say what the context policy did.
  std::string Chunk(size_t index, const std::string& delta, const std::string& finish, bool first = false);
  const char* FinishOf(const Choice& choice, FinishReason reason) const;
  void WriteMessage(JsonWriter& json, const Choice& choice) const;

  ChatResponderOptions options_;
  const Tokenizer& tokenizer_;
  std::vector<Choice> choices_;
};

}  // namespace inkstone
