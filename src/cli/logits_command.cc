// inkstone logits: raw logits of given tokens, for comparing with other programs.
#include <cstdio>
#include <vector>

#include "cli/command.h"
#include "cli/model_path.h"
#include "model/runtime.h"
#include "server/json_writer.h"

namespace inkstone {
namespace {

constexpr int64_t kChunk = 64;

struct LogitsOptions : ComputeOptions {
  std::vector<int32_t> tokens;
  bool all = false;
  bool decode = false;
};

void Declare(CLI::App* command, LogitsOptions* o) {
  AddComputeOptions(command, o);
  command->add_option("--tokens", o->tokens, "Token ids, separated by commas")->delimiter(',')->required();
  command->add_flag("--all", o->all, "Logits of every position instead of the last");
  command->add_flag("--decode", o->decode, "Feed the tokens one by one through the decode kernels");
  command->footer("Example:\n  inkstone logits qwen3-4b.gguf --tokens 9707,11,1879");
}

void WriteRow(const float* row, int64_t vocab, JsonWriter* json) {
  json->BeginArray();
  for (int64_t i = 0; i < vocab; ++i) json->Value(row[i]);
  json->EndArray();
}

Status Run(const LogitsOptions& o) {
  INK_ASSIGN_OR_RETURN(const std::string path, ResolveModel(o.model));
  INK_ASSIGN_OR_RETURN(const auto runtime, Runtime::Create({o.threads, o.cpu, o.pinning}));
  const int64_t count = static_cast<int64_t>(o.tokens.size());
  ModelLimits limits;
  limits.max_step_rows = limits.max_logit_rows = kChunk;
  limits.max_sequences = 1;
  limits.max_context = count;
  INK_ASSIGN_OR_RETURN(const LoadedModel loaded, LoadModel(path, *runtime, limits));
  const int64_t vocab = loaded.model->config().vocab;
  // Keys and values stay in f32: this command shows the arithmetic, not the cache's rounding.
  INK_ASSIGN_OR_RETURN(const KvLayout layout, loaded.model->config().KvLayoutFor({DType::kF32, DType::kF32}));
  INK_ASSIGN_OR_RETURN(PagePool pool, PagePool::Create(*loaded.backend, layout, layout.PagesFor(count)));
  PageTable table(&pool);
  INK_RETURN_IF_ERROR(table.Reserve(count));

  const ThreadBinding binding = runtime->threads().BindCaller();
  std::vector<float> logits(static_cast<size_t>(kChunk * vocab));
  JsonWriter json;
  json.BeginObject().Key("logits");
  if (o.all) json.BeginArray();
  const int64_t chunk = o.decode ? 1 : kChunk;
  for (int64_t begin = 0; begin < count; begin += chunk) {
    const int64_t rows = std::min(chunk, count - begin);
    const bool last = begin + rows == count;
    SequenceStep step;
    step.tokens = std::span(o.tokens).subspan(static_cast<size_t>(begin), static_cast<size_t>(rows));
    step.first_position = begin;
    step.pages = &table;
    step.phase = o.decode ? Phase::kDecode : Phase::kPrompt;
    step.logits = o.all && !o.decode ? LogitRows::kAll : last || o.all ? LogitRows::kLast : LogitRows::kNone;
    INK_RETURN_IF_ERROR(loaded.model->Forward({&step, 1}, logits));
    if (o.all) {
      for (int64_t r = 0; r < rows; ++r) WriteRow(logits.data() + r * vocab, vocab, &json);
    } else if (last) {
      WriteRow(logits.data(), vocab, &json);
    }
  }
  if (o.all) json.EndArray();
  std::puts(json.EndObject().Take().c_str());
  return Status::Ok();
}

}  // namespace

void AddLogitsCommand(CLI::App* app, CommandBody* body) {
  AddCommand<LogitsOptions>(app, body, "logits", "Print a model's logits for given tokens", Declare, Run);
}

}  // namespace inkstone
