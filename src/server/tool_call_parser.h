// Finds tool calls as Hermes and Qwen models write them: <tool_call>{"name": ..., "arguments": {...}}</tool_call>.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace inkstone {

struct ParsedToolCall {
  std::string name;
  std::string arguments;  // JSON text of an object
};

// A call is reported when it is complete and valid: fragments that were sent can't be taken back, and malformed calls
// must reach the client as text.
class ToolCallParser {
 public:
  struct Parts {
    std::string content;
    std::vector<ParsedToolCall> calls;
  };

  // Inactive: everything is content.
  explicit ToolCallParser(bool active) : active_(active) {}
  // What is certain after `text`; a possible tag, and white space in front of one, are held back.
  Parts Push(std::string_view text);
  // The rest: a call without its closing tag counts if its JSON is complete, otherwise it's content.
  Parts Finish();

 private:
  bool Step(Parts* parts);
  void EndCall(std::string_view body, std::string_view raw, Parts* parts);

  bool active_;
  bool inside_ = false;  // held_ begins after an opening tag
  bool any_call_ = false;
  size_t scanned_ = 0;  // of held_ while inside: no closing tag begins before it
  std::string held_;
};

}  // namespace inkstone
