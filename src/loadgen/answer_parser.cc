#include "loadgen/answer_parser.h"

#include <boost/json.hpp>

namespace inkstone {
namespace {

namespace json = boost::json;

constexpr int64_t kMaxTokens = int64_t{1} << 40;  // a count above it is a mistake, and would spoil the sums

// Printable and short: what a server sends may be anything.
std::string OneLine(std::string_view text) {
  constexpr size_t kMax = 300;
  std::string out(text.substr(0, kMax));
  for (char& c : out) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = ' ';
  }
  return text.size() > kMax ? out + "..." : out;
}

const json::value* Find(const json::value& value, std::string_view name) {
  const auto* object = value.if_object();
  return object == nullptr ? nullptr : object->if_contains(json::string_view(name.data(), name.size()));
}

std::string_view TextOf(const json::value* value) {
  const auto* text = value == nullptr ? nullptr : value->if_string();
  return text == nullptr ? std::string_view() : std::string_view(text->data(), text->size());
}

// Absent is 0; nothing when it is there and no count.
std::optional<int64_t> Count(const json::value& object, std::string_view name) {
  const json::value* value = Find(object, name);
  if (value == nullptr || value->is_null()) return 0;
  json::error_code error;
  const auto number = value->to_number<int64_t>(error);
  if (error || number < 0 || number > kMaxTokens) return std::nullopt;
  return number;
}

std::optional<Usage> ParseUsage(const json::value& value) {
  const auto prompt = Count(value, "prompt_tokens");
  const auto completion = Count(value, "completion_tokens");
  const json::value* details = Find(value, "prompt_tokens_details");
  const auto cached = details == nullptr || details->is_null() ? 0 : Count(*details, "cached_tokens");
  if (!value.is_object() || !prompt || !completion || !cached) return std::nullopt;
  return Usage{*prompt, *completion, *cached};
}

bool IsFilled(const json::value* value) {
  if (value == nullptr) return false;
  if (const auto* text = value->if_string()) return !text->empty();
  const auto* list = value->if_array();
  return list != nullptr && !list->empty();
}

bool CarriesAnswer(const json::value& delta) {
  for (const std::string_view name : {"content", "reasoning_content", "reasoning", "tool_calls"}) {
    if (IsFilled(Find(delta, name))) return true;
  }
  return false;
}

json::value Parse(std::string_view text, json::error_code* error) {
  return json::parse(json::string_view(text.data(), text.size()), *error);
}

}  // namespace

bool AnswerParser::OnEvent(std::string_view data) {
  if (failure_ || done_) return false;
  if (data == "[DONE]") {
    done_ = true;
    return false;
  }
  const auto malformed = [&](const char* problem) {
    Fail("malformed", std::string(problem) + ": " + OneLine(data));
    return false;
  };
  json::error_code error;
  const json::value chunk = Parse(data, &error);
  if (error) return malformed("an event that is no JSON");
  const json::value* reported = Find(chunk, "error");
  if ((reported != nullptr && !reported->is_null()) || TextOf(Find(chunk, "object")) == "error") {
    Fail("error event", ErrorMessage(data));
    return false;
  }
  const json::value* usage = Find(chunk, "usage");
  if (usage != nullptr && !usage->is_null()) {
    usage_ = ParseUsage(*usage);
    if (!usage_) return malformed("usage without token counts");
  }
  const json::value* choices = Find(chunk, "choices");
  if (choices == nullptr || !choices->is_array()) return malformed("an event without a list \"choices\"");
  if (choices->get_array().empty()) return false;
  const json::value& choice = choices->get_array().front();
  if (const json::value* reason = Find(choice, "finish_reason"); reason != nullptr && !reason->is_null()) {
    finished_ = true;
  }
  if (endpoint_ == Endpoint::kCompletions) {
    const json::value* text = Find(choice, "text");
    if (text == nullptr || !text->is_string()) return malformed("a choice without \"text\"");
    return IsFilled(text);
  }
  const json::value* delta = Find(choice, "delta");
  if (delta == nullptr || !delta->is_object()) return malformed("a choice without \"delta\"");
  return CarriesAnswer(*delta);
}

std::string ErrorMessage(std::string_view body) {
  json::error_code error;
  const json::value value = Parse(body, &error);
  if (error) return OneLine(body);
  const json::value* inner = Find(value, "error");
  for (const std::string_view text : {inner == nullptr ? std::string_view() : TextOf(Find(*inner, "message")),
                                      TextOf(inner), TextOf(Find(value, "message"))}) {
    if (!text.empty()) return OneLine(text);
  }
  return OneLine(body);
}

}  // namespace inkstone
