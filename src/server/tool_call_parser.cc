#include "server/tool_call_parser.h"

#include <utility>

#include "server/reasoning_parser.h"

namespace inkstone {
namespace {

constexpr std::string_view kOpen = "<tool_call>";
constexpr std::string_view kClose = "</tool_call>";
constexpr std::string_view kSpaces = " \t\r\n";

}  // namespace

ToolCallParser::Parts ToolCallParser::Push(std::string_view text) {
  Parts parts;
  if (!active_) {
    parts.content = text;
    return parts;
  }
  held_.append(text);
  while (!held_.empty() && Step(&parts)) {
  }
  return parts;
}

void ToolCallParser::EndCall(std::string_view body, std::string_view raw, bool complete, Parts* parts) {
  if (auto call = ParseToolCallText(body, complete, *types_)) {
    parts->calls.push_back(std::move(*call));
    any_call_ = true;
  } else {
    parts->content += raw;
  }
}

bool ToolCallParser::Step(Parts* parts) {
  if (inside_) {
    const size_t close = held_.find(kClose, scanned_);
    if (close == std::string::npos) {
      scanned_ = held_.size() - PartialTagLength(held_, kClose);
      return false;
    }
    const std::string body = held_.substr(0, close);
    held_.erase(0, close + kClose.size());
    inside_ = false;
    EndCall(body, std::string(kOpen) + body + std::string(kClose), true, parts);
    return true;
  }
  const size_t open = held_.find(kOpen);
  size_t end = open == std::string::npos ? held_.size() - PartialTagLength(held_, kOpen) : open;
  // White space in front of a call, and after one, is layout.
  const size_t last = std::string_view(held_).substr(0, end).find_last_not_of(kSpaces);
  const size_t solid = last == std::string::npos ? 0 : last + 1;
  if (solid > 0) {
    parts->content.append(held_, 0, solid);
    held_.erase(0, solid);
    end -= solid;
  }
  if (open == std::string::npos) return false;
  held_.erase(0, end + kOpen.size());
  inside_ = true;
  scanned_ = 0;
  return true;
}

ToolCallParser::Parts ToolCallParser::Finish() {
  Parts parts;
  if (inside_) {
    EndCall(held_, std::string(kOpen) + held_, false, &parts);
  } else if (!any_call_ || held_.find_first_not_of(kSpaces) != std::string::npos) {
    parts.content = held_;
  }
  held_.clear();
  inside_ = false;
  return parts;
}

}  // namespace inkstone
