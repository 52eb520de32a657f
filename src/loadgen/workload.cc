#include "loadgen/workload.h"

#include <algorithm>
#include <boost/json.hpp>
#include <cmath>
#include <fstream>

#include "loadgen/words.h"

namespace inkstone {
namespace {

namespace json = boost::json;

constexpr size_t kMaxLine = 16 << 20;             // bytes of one prompt of a file
constexpr uint64_t kPrefixStream = ~uint64_t{0};  // of the generator; requests use their index

std::string_view View(const json::string& text) { return {text.data(), text.size()}; }

json::string_view JsonView(std::string_view text) { return {text.data(), text.size()}; }

std::string Quoted(std::string_view text) { return json::serialize(json::string(JsonView(text))); }

int64_t DrawLength(Draws& draws, LengthRange range, Spread spread) {
  if (spread == Spread::kUniform) {
    return range.low + static_cast<int64_t>(draws.Below(static_cast<uint64_t>(range.high - range.low + 1)));
  }
  // Between low and high + 1, so that both ends get their share.
  const double low = std::log(static_cast<double>(range.low));
  const double high = std::log(static_cast<double>(range.high + 1));
  return std::min(range.high, static_cast<int64_t>(std::exp(low + draws.Unit() * (high - low))));
}

std::string Range(LengthRange range) {
  const std::string low = std::to_string(range.low);
  return range.low == range.high ? low : low + " to " + std::to_string(range.high);
}

std::string Message(const char* role, std::string_view content) {
  return std::string(R"({"role":")") + role + R"(","content":)" + Quoted(content) + "}";
}

}  // namespace

std::string GenerateWords(Draws& draws, int64_t count) {
  std::string text;
  for (int64_t i = 0; i < count; ++i) {
    if (i > 0) text.push_back(' ');
    text.append(kWords[draws.Below(kWords.size())]);
  }
  return text;
}

Result<Workload> Workload::Create(const WorkloadOptions& options) {
  for (const LengthRange range : {options.prompt_tokens, options.max_tokens}) {
    if (range.low >= 1 && range.low <= range.high) continue;
    return InvalidArgument("expected a range of lengths from 1 on, found " + Range(range));
  }
  Workload workload(options);
  if (!options.file.empty()) INK_RETURN_IF_ERROR(workload.ReadFile());
  Draws draws(options.seed, kPrefixStream);
  workload.prefix_ = GenerateWords(draws, options.shared_prefix);
  return workload;
}

Status Workload::ReadFile() {
  std::ifstream in(options_.file);
  if (!in) return NotFound(options_.file + ": cannot be read");
  std::string line;
  for (int64_t number = 1; std::getline(in, line); ++number) {
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    auto prompt = ParseLine(line);
    if (!prompt.ok()) {
      return {prompt.status().code(),
              options_.file + ", line " + std::to_string(number) + ": " + prompt.status().message()};
    }
    prompts_.push_back(std::move(*prompt));
  }
  if (prompts_.empty()) return DataLoss(options_.file + ": expected a prompt on each line, found none");
  return Status::Ok();
}

Result<Workload::FilePrompt> Workload::ParseLine(std::string_view line) const {
  if (line.size() > kMaxLine) return DataLoss("longer than " + std::to_string(kMaxLine) + " bytes");
  json::error_code error;
  const json::value value = json::parse(JsonView(line), error);
  const auto* object = error ? nullptr : value.if_object();
  if (object == nullptr) return DataLoss("expected a JSON object");
  FilePrompt out;
  const json::value* messages = object->if_contains("messages");
  const json::value* prompt = object->if_contains("prompt");
  if (messages != nullptr && messages->is_array()) {
    if (options_.endpoint == Endpoint::kCompletions) {
      return InvalidArgument("\"messages\" cannot go to the completions endpoint; give \"prompt\"");
    }
    out.messages = true;
    out.json = json::serialize(*messages);
  } else if (prompt != nullptr && prompt->is_string()) {
    out.json = View(prompt->get_string());
  } else {
    return DataLoss("expected \"messages\" (a list) or \"prompt\" (a string)");
  }
  if (const json::value* limit = object->if_contains("max_tokens")) {
    out.max_tokens = limit->is_int64() ? limit->get_int64() : 0;
    if (out.max_tokens < 1) return DataLoss("\"max_tokens\": expected a number from 1 on");
  }
  return out;
}

std::string Workload::Body(uint64_t index) const {
  Draws draws(options_.seed, index);
  int64_t limit = DrawLength(draws, options_.max_tokens, options_.spread);
  std::string messages;  // ready, or
  std::string text;      // a prompt
  if (prompts_.empty()) {
    const int64_t length = DrawLength(draws, options_.prompt_tokens, options_.spread);
    text = GenerateWords(draws, length);
  } else {
    const FilePrompt& prompt = prompts_[index % prompts_.size()];
    (prompt.messages ? messages : text) = prompt.json;
    if (prompt.max_tokens > 0) limit = prompt.max_tokens;
  }
  std::string body = "{";
  if (!options_.model.empty()) body += "\"model\":" + Quoted(options_.model) + ",";
  if (options_.endpoint == Endpoint::kCompletions) {
    body += "\"prompt\":" + Quoted(prefix_.empty() ? text : prefix_ + " " + text);
  } else if (!messages.empty()) {
    body += "\"messages\":" + messages;
  } else {
    const std::string system = prefix_.empty() ? "" : Message("system", prefix_) + ",";
    body += "\"messages\":[" + system + Message("user", text) + "]";
  }
  body += ",\"max_tokens\":" + std::to_string(limit);
  if (options_.ignore_eos) body += ",\"ignore_eos\":true";
  return body + R"(,"temperature":0,"stream":true,"stream_options":{"include_usage":true}})";
}

std::string Workload::Describe() const {
  const std::string spread = options_.spread == Spread::kUniform ? "uniform" : "log-uniform";
  std::string text = prompts_.empty()
                         ? "prompts of " + Range(options_.prompt_tokens) + " words (" + spread + ", one token each)"
                         : std::to_string(prompts_.size()) + " prompts of a file, in turns";
  if (options_.shared_prefix > 0) text += " after a common prefix of " + std::to_string(options_.shared_prefix);
  text += ", answers of at most " + Range(options_.max_tokens) + " tokens";
  if (options_.max_tokens.low != options_.max_tokens.high) text += " (" + spread + ")";
  if (options_.ignore_eos) text += ", end token ignored";
  return text + ", seed " + std::to_string(options_.seed);
}

}  // namespace inkstone
