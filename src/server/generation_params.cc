#include "server/generation_params.h"

#include <boost/json.hpp>
#include <charconv>
#include <chrono>
#include <cmath>
#include <limits>

namespace inkstone {
namespace {

constexpr int64_t kMaxInt = std::numeric_limits<int32_t>::max();
constexpr size_t kMaxStops = 16;
constexpr int64_t kMaxChoices = 8;

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
  sampling->logit_bias.clear();
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
    sampling->logit_bias.emplace_back(token, static_cast<float>(*bias));
  }
}

void ParseStop(FieldReader& fields, std::vector<std::string>* stop) {
  const auto* value = fields.Find("stop");
  if (value == nullptr) return;
  const auto add = [&](const boost::json::value& item) {
    if (!item.is_string()) return fields.Fail("stop", "strings", &item);
    if (!item.get_string().empty()) stop->emplace_back(View(item.get_string()));
  };
  if (value->is_string()) return add(*value);
  if (!value->is_array() || value->get_array().size() > kMaxStops) {
    return fields.Fail("stop", "a string or a list of at most 16 strings", value);
  }
  for (const auto& item : value->get_array()) add(item);
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

// Features whose silent neglect would give a wrong answer.
void RefuseUnsupported(FieldReader& fields) {
  if (const auto* format = fields.Find("response_format")) {
    const auto* object = format->if_object();
    const auto* type = object == nullptr ? nullptr : object->if_contains("type");
    if (type == nullptr || !type->is_string()) {
      return fields.Fail("response_format", "an object with a string \"type\"", format);
    }
    if (type->get_string() != "text") {
      return fields.FailWith("response_format",
                             "'response_format': this server supports type \"text\" only, found " + Describe(*type) +
                                 "; ask for JSON in the prompt instead",
                             "unsupported");
    }
  }
  for (const std::string_view name : {"functions", "grammar", "json_schema", "suffix"}) {
    const auto* value = fields.Find(name);
    if (value == nullptr || (value->is_string() && value->get_string().empty())) continue;
    return fields.FailWith(name, "'" + std::string(name) + "' is not supported by this server; leave it out",
                           "unsupported");
  }
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
  fields.Bool("ignore_eos", &params->request.ignore_eos);
  int64_t n = 1;
  fields.Integer("n", 1, kMaxChoices, &n);
  params->n = static_cast<int>(n);
  int64_t best_of = n;
  if (fields.Integer("best_of", 1, 20, &best_of) && best_of != n) {
    fields.FailWith("best_of", "'best_of': choosing among more answers than 'n' is not supported; leave it out",
                    "unsupported");
  }
  RefuseUnsupported(fields);
}

}  // namespace inkstone
