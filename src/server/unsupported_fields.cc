#include "server/unsupported_fields.h"

#include <algorithm>
#include <boost/json.hpp>
#include <string>
#include <string_view>

#include "server/json_writer.h"

namespace inkstone {
namespace {

enum class Where { kBoth, kChat, kCompletion };

struct Unsupported {
  std::string_view name;
  std::string_view neutral;  // JSON texts that change nothing, between bars; null never does
  std::string_view instead;  // what to do, after "leave it out"
  Where where = Where::kBoth;
};

constexpr std::string_view kAskInPrompt = " and ask for the form in the prompt";
constexpr std::string_view kSampling = ", or use temperature, top_p, top_k, min_p and typical_p";

constexpr Unsupported kUnsupported[] = {
    // The form of the answer.
    {"grammar", "\"\"", kAskInPrompt},
    {"json_schema", "\"\"", kAskInPrompt},
    {"guided_json", "\"\"", kAskInPrompt},
    {"guided_regex", "\"\"", kAskInPrompt},
    {"guided_choice", "[]", kAskInPrompt},
    {"guided_grammar", "\"\"", kAskInPrompt},
    {"structured_outputs", "{}", kAskInPrompt},
    {"structural_tag", "\"\"", kAskInPrompt},
    {"verbosity", "\"medium\"", " and ask for it in the prompt"},
    // What is answered to.
    {"suffix", "\"\"", ""},
    {"functions", "[]", ", or use 'tools'", Where::kChat},
    {"functions", "[]", "", Where::kCompletion},
    {"function_call", "\"auto\"|\"none\"", ", or use 'tools'", Where::kChat},
    {"chat_template", "\"\"", "; the model's own is used", Where::kChat},
    {"documents", "[]", " and put them into a message", Where::kChat},
    {"echo", "false", "", Where::kChat},
    {"add_special_tokens", "false", "; the chat template writes them", Where::kChat},
    {"add_special_tokens", "true", ", or give the prompt as tokens", Where::kCompletion},
    {"truncate_prompt_tokens", "", ", or use 'context_policy'"},
    {"modalities", "[\"text\"]|[]", "; this model writes text"},
    {"audio", "{}", "; this model writes text"},
    {"image_data", "[]", "; this model reads text"},
    {"multimodal_data", "[]", "; this model reads text"},
    {"web_search_options", "", ""},
    {"lora", "[]", ""},
    {"lora_request", "{}", ""},
    // Which token is next.
    {"use_beam_search", "false", ", or use 'n'"},
    {"num_beams", "1", ", or use 'n'"},
    {"length_penalty", "1|0", ""},
    {"early_stopping", "false", ""},
    {"do_sample", "true", ", or use 'temperature': 0"},
    {"samplers", "[]|\"\"", "; the order is fixed"},
    {"mirostat", "0", kSampling},
    {"dynatemp_range", "0", kSampling},
    {"top_n_sigma", "-1|0", kSampling},
    {"xtc_probability", "0", kSampling},
    {"tfs_z", "1", kSampling},
    {"top_a", "0", kSampling},
    {"min_keep", "0|1", ""},
    {"dry_multiplier", "0", ", or use 'repetition_penalty'"},
    {"no_repeat_ngram_size", "0", ", or use 'repetition_penalty'"},
    {"bad_words", "[]", ", or use 'logit_bias'"},
    {"allowed_token_ids", "[]", ", or use 'logit_bias'"},
    {"logits_processors", "[]", ""},
    {"min_length", "0", ", or use 'min_tokens'"},
    // How long it goes on.
    {"t_max_predict_ms", "0|-1", ", or use 'timeout'"},
    {"n_indent", "0", ""},
    {"thinking_budget", "-1", ", or use 'enable_thinking'"},
    {"thinking_budget_tokens", "-1", ", or use 'enable_thinking'"},
    {"thinking_token_budget", "-1", ", or use 'enable_thinking'"},
    {"reasoning_budget", "-1", ", or use 'enable_thinking'"},
    {"reasoning_effort", "\"medium\"|\"none\"", ", or use 'enable_thinking'"},
    // What of it is shown.
    {"include_stop_str_in_output", "false", ""},
    {"include_reasoning", "true", ", or use 'enable_thinking'"},
    {"reasoning_format", "\"auto\"|\"deepseek\"|\"\"", ""},
    {"thinking_forced_open", "false", ""},
    {"prompt_logprobs", "", ""},
    {"n_probs", "0", ", or use 'logprobs'"},
    {"post_sampling_probs", "false", ", or use 'logprobs'"},
    {"return_tokens_as_token_ids", "false", ""},
    {"return_token_ids", "false", ""},
    {"return_tokens", "false", ""},
};

bool Applies(Where where, FieldScope scope) {
  return where == Where::kBoth || (where == Where::kChat) == (scope == FieldScope::kChat);
}

bool IsNeutral(const boost::json::value& value, std::string_view neutral) {
  const std::string text = CountValues(value) <= 2 ? ToJson(value) : std::string();
  while (!neutral.empty()) {
    const size_t bar = std::min(neutral.find('|'), neutral.size());
    if (text == neutral.substr(0, bar)) return true;
    neutral.remove_prefix(std::min(bar + 1, neutral.size()));
  }
  return false;
}

void RefuseResponseFormat(FieldReader& fields) {
  const auto* format = fields.Find("response_format");
  if (format == nullptr) return;
  const auto* object = format->if_object();
  const auto* type = object == nullptr ? nullptr : object->if_contains("type");
  if (type == nullptr || !type->is_string()) {
    return fields.Fail("response_format", "an object with a string \"type\"", format);
  }
  if (type->get_string() == "text") return;
  fields.FailWith("response_format",
                  "'response_format': this server supports type \"text\" only, found " + Describe(*type) +
                      "; ask for JSON in the prompt instead",
                  "unsupported");
}

}  // namespace

void RefuseUnsupported(FieldReader& fields, FieldScope scope) {
  RefuseResponseFormat(fields);
  for (const Unsupported& field : kUnsupported) {
    const auto* value = fields.Find(field.name);
    if (value == nullptr || !Applies(field.where, scope) || IsNeutral(*value, field.neutral)) continue;
    const std::string name(field.name);
    return fields.FailWith(field.name,
                           "'" + name + "' is not supported by this server (found " + Describe(*value) +
                               "); leave it out" + std::string(field.instead),
                           "unsupported");
  }
}

}  // namespace inkstone
