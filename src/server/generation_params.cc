#include "server/generation_params.h"

#include <boost/json.hpp>
#include <charconv>
#include <chrono>
#include <cmath>
#include <limits>

#include "server/request_limits.h"

namespace inkstone {
namespace {

constexpr int64_t kMaxInt = std::numeric_limits<int32_t>::max();

void ParseSeed(FieldReader& fields, SamplingParams* sampling) {
  const auto* value = fields.Find("seed");
  if (value == nullptr) return;
  if (value->is_uint64()) {
    sampling->seed = value->get_uint64();
  } else if (const auto seed = AsInteger(*value)) {
    if (*seed == -1) {
      sampling->seed.reset();  // the usual way to ask for a random one
    } else {
      sampling->seed = static_cast<uint64_t>(*seed);
    }
  } else {
    fields.Fail("seed", "an integer", value);
  }
}

void ParseLogitBias(FieldReader& fields, int32_t vocab, SamplingParams* sampling) {
  const auto* value = fields.Find("logit_bias");
  if (value == nullptr) return;
  if (!value->is_object()) return fields.Fail("logit_bias", "an object of token ids and numbers", value);
  std::vector<std::pair<int32_t, float>> biases;
  for (const auto& item : value->get_object()) {
    const std::string_view key(item.key().data(), item.key().size());
    int32_t token = -1;
    const auto parsed = std::from_chars(key.data(), key.data() + key.size(), token);
    if (parsed.ec != std::errc() || parsed.ptr != key.data() + key.size() || token < 0 || token >= vocab) {
      return fields.FailWith("logit_bias", "'logit_bias': expected token ids below " + std::to_string(vocab) +
                                               " as keys, found \"" + std::string(key.substr(0, 40)) + "\"");
    }
    const auto bias = AsNumber(item.value());
    if (!bias || !(*bias >= -100 && *bias <= 100)) {
      return fields.Fail("logit_bias." + std::string(key), "a number from -100 to 100", &item.value());
    }
    biases.emplace_back(token, static_cast<float>(*bias));
  }
  sampling->logit_bias = std::move(biases);
}

void ParseStop(FieldReader& fields, StopSet* stop) {
  const auto* value = fields.Find("stop");
  if (value == nullptr || !fields.ok()) return;
  std::vector<std::string> stops;
  const auto add = [&](const boost::json::value& item) {
    const std::string expected = "strings of at most " + std::to_string(kMaxStopBytes) + " bytes";
    if (!item.is_string() || item.get_string().size() > kMaxStopBytes) return fields.Fail("stop", expected, &item);
    if (!item.get_string().empty()) stops.emplace_back(View(item.get_string()));
  };
  if (value->is_string()) {
    add(*value);
  } else if (value->is_array() && value->get_array().size() <= kMaxStops) {
    for (const auto& item : value->get_array()) add(item);
  } else {
    return fields.Fail("stop", "a string or a list of at most " + std::to_string(kMaxStops) + " strings", value);
  }
  *stop = std::move(stops);
}

void ParseSampling(FieldReader& fields, int32_t vocab, SamplingParams* sampling) {
  fields.Number("temperature", 0, 10, &sampling->temperature);
  fields.Number("top_p", 0, 1, &sampling->top_p);
  fields.Number("min_p", 0, 1, &sampling->min_p);
  if (fields.Find("typical_p") != nullptr) {
    fields.Number("typical_p", 0, 1, &sampling->typical_p);
  } else {
    fields.Number("typ_p", 0, 1, &sampling->typical_p);
  }
  if (!fields.Number("repetition_penalty", 0.01, 10, &sampling->repetition_penalty)) {
    fields.Number("repeat_penalty", 0.01, 10, &sampling->repetition_penalty);
  }
  fields.Number("presence_penalty", -2, 2, &sampling->presence_penalty);
  fields.Number("frequency_penalty", -2, 2, &sampling->frequency_penalty);
  int64_t top_k = sampling->top_k;
  fields.Integer("top_k", -1, kMaxInt, &top_k);
  sampling->top_k = static_cast<int>(std::max<int64_t>(top_k, 0));  // -1 is another way to say off
  int64_t window = sampling->penalty_window;
  fields.Integer("repeat_last_n", -1, kMaxInt, &window);
  sampling->penalty_window = static_cast<int>(std::max<int64_t>(window, 0));
  ParseSeed(fields, sampling);
  ParseLogitBias(fields, vocab, sampling);
}

void ParseMaxTokens(FieldReader& fields, int64_t default_max_tokens, int64_t* max_tokens) {
  *max_tokens = default_max_tokens;
  for (const std::string_view name : {"max_tokens", "max_completion_tokens", "n_predict"}) {
    if (fields.Find(name) == nullptr) continue;
    fields.Integer(name, -1, kMaxInt, max_tokens);
    if (fields.ok() && *max_tokens == 0) fields.Fail(name, "at least 1, or -1 for no limit", fields.Find(name));
  }
}

void ParseStreaming(FieldReader& fields, GenerationParams* params) {
  fields.Bool("stream", &params->stream);
  fields.Bool("return_progress", &params->return_progress);
  const auto* options = fields.Find("stream_options");
  if (options == nullptr) return;
  if (!options->is_object()) return fields.Fail("stream_options", "an object", options);
  FieldReader inner(options->get_object(), "stream_options");
  inner.Bool("include_usage", &params->include_usage);
  fields.Adopt(inner);
}

void ParseContextPolicy(FieldReader& fields, std::optional<ContextPolicy>* policy) {
  std::string text;
  if (!fields.String("context_policy", &text)) return;
  const auto parsed = ContextPolicy::Parse(text);
  if (!parsed.ok()) return fields.FailWith("context_policy", "'context_policy': " + parsed.status().message());
  *policy = *parsed;
}

// What the scheduler goes by. `user` is a name within the request's origin, no more: anybody may send any. `timeout` is
// in seconds, as LiteLLM sends it and OpenAI's Python client names it.
void ParseScheduling(FieldReader& fields, GenerationRequest* request) {
  constexpr float kDay = 86'400;
  constexpr size_t kMaxUserBytes = 512;
  int64_t priority = 0;
  fields.Integer("priority", -100, 100, &priority);
  request->priority = static_cast<int>(priority);
  float timeout = 0;
  if (fields.Number("timeout", 0.001, kDay, &timeout)) {
    request->deadline = std::chrono::milliseconds(std::llround(timeout * 1e3));
  }
  std::string user;
  if (!fields.String("user", &user) || user.empty()) return;
  if (user.size() > kMaxUserBytes) return fields.Fail("user", "at most 512 bytes", fields.Find("user"));
  request->client = user;
}

// Tokens that end the answer, and how many must come before anything but max_tokens does.
void ParseEnds(FieldReader& fields, int32_t vocab, GenerationRequest* request) {
  fields.Bool("ignore_eos", &request->ignore_eos);
  fields.Integer("min_tokens", 0, kMaxInt, &request->min_tokens);
  if (fields.ok() && request->max_tokens >= 0 && request->min_tokens > request->max_tokens) {
    return fields.Fail("min_tokens", "at most max_tokens, " + std::to_string(request->max_tokens),
                       fields.Find("min_tokens"));
  }
  const auto* value = fields.Find("stop_token_ids");
  if (value == nullptr || !fields.ok()) return;
  if (!value->is_array() || value->get_array().size() > kMaxStopTokens) {
    return fields.Fail("stop_token_ids", "a list of at most " + std::to_string(kMaxStopTokens) + " token ids", value);
  }
  std::vector<int32_t> tokens;
  for (const auto& item : value->get_array()) {
    const auto token = AsInteger(item);
    if (!token || *token < 0 || *token >= vocab) {
      return fields.Fail("stop_token_ids", "token ids from 0 to " + std::to_string(vocab - 1), &item);
    }
    tokens.push_back(static_cast<int32_t>(*token));
  }
  request->stop_tokens = std::move(tokens);
}

}  // namespace

void ParseGenerationParams(FieldReader& fields, const ModelFacts& facts, int64_t default_max_tokens,
                           GenerationParams* params) {
  params->request.sampling = facts.default_sampling;
  fields.String("model", &params->model);
  ParseSampling(fields, facts.vocab, &params->request.sampling);
  ParseMaxTokens(fields, default_max_tokens, &params->request.max_tokens);
  ParseStop(fields, &params->request.stop);
  ParseStreaming(fields, params);
  ParseContextPolicy(fields, &params->context_policy);
  ParseScheduling(fields, &params->request);
  ParseEnds(fields, facts.vocab, &params->request);
  bool skip_special = true;
  if (fields.Bool("skip_special_tokens", &skip_special)) params->request.keep_special = !skip_special;
  int64_t n = 1;
  fields.Integer("n", 1, kMaxChoices, &n);
  params->n = static_cast<int>(n);
  int64_t best_of = n;
  if (fields.Integer("best_of", 1, 20, &best_of) && best_of != n) {
    fields.FailWith("best_of", "'best_of': choosing among more answers than 'n' is not supported; leave it out",
                    "unsupported");
  }
  CheckChoices(fields, 1, *params, facts);
}

void CheckChoices(FieldReader& fields, size_t prompts, const GenerationParams& params, const ModelFacts& facts) {
  const int64_t answers = static_cast<int64_t>(prompts) * params.n;
  if (!fields.ok() || answers <= facts.max_requests) return;
  fields.FailWith("n", "'n': " + std::to_string(prompts) + " prompts with " + std::to_string(params.n) +
                           " answers each are " + std::to_string(answers) + " at once; this server has room for " +
                           std::to_string(facts.max_requests) + ", running and waiting. Ask for fewer at a time");
}

}  // namespace inkstone
