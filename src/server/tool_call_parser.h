// Finds tool calls as Hermes and Qwen models write them: <tool_call>...</tool_call>.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "server/tool_call_text.h"

namespace inkstone {

// A call is reported when it is complete and valid: fragments that were sent can't be taken back, and malformed calls
// must reach the client as text.
class ToolCallParser {
 public:
  struct Parts {
    std::string content;
    std::vector<ParsedToolCall> calls;
  };

  // Inactive: everything is content. `types` are of the request's tools, null for none.
  explicit ToolCallParser(bool active, std::shared_ptr<const ToolTypes> types = nullptr)
      : active_(active), types_(types != nullptr ? std::move(types) : std::make_shared<ToolTypes>()) {}
  // What is certain after `text`; a possible tag, and white space in front of one, are held back.
  Parts Push(std::string_view text);
  // The rest: a call without its closing tag counts if its JSON is complete, otherwise it's content.
  Parts Finish();

 private:
  bool Step(Parts* parts);
  void EndCall(std::string_view body, std::string_view raw, bool complete, Parts* parts);

  bool active_;
  std::shared_ptr<const ToolTypes> types_;
  bool inside_ = false;  // held_ begins after an opening tag
  bool any_call_ = false;
  size_t scanned_ = 0;  // of held_ while inside: no closing tag begins before it
  std::string held_;
};

}  // namespace inkstone
