// inkstone inspect: what a model file holds and what it needs.
#include <algorithm>
#include <cstdio>
#include <map>
#include <optional>
#include <vector>

#include "cli/command.h"
#include "cli/model_path.h"
#include "cli/sensitivity_table.h"
#include "cli/session_options.h"
#include "core/memory_info.h"
#include "core/printable.h"
#include "core/units.h"
#include "engine/default_sampling.h"
#include "engine/session_plan.h"
#include "model/model.h"
#include "model/runtime.h"
#include "planner/memory_account.h"
#include "server/json_writer.h"
#include "server/memory_json.h"
#include "server/server.h"
#include "tokenizer/tokenizer.h"

namespace inkstone {
namespace {

struct InspectOptions : CommonOptions {
  int64_t context = 0;  // 0: what serving takes where memory is ample
  int sequences = 1;
  std::string memory;  // empty: as much as it takes
  std::string spill_size = "0";
  int64_t attention_window = SessionOptions{}.attention_window;
  int64_t attention_sinks = SessionOptions{}.attention_sinks;
  bool tensors = false;
  std::optional<KvTypes> kv_types = {};
};

void Declare(CLI::App* command, InspectOptions* o) {
  AddCommonOptions(command, o);
  command
      ->add_option("--context", o->context,
                   "Tokens to compute the memory for; default: 8192, or what the model was trained for")
      ->check(CLI::Range(1, 1 << 24));
  command->add_option("--sequences", o->sequences, "Conversations at once")
      ->capture_default_str()
      ->check(CLI::Range(1, 256));
  command
      ->add_option("--memory", o->memory,
                   "Whether and how it fits into so much memory, such as 5GB; default: any amount")
      ->check(IsBytes);
  command->add_option("--spill-size", o->spill_size, "Disk space for what of the cache has no room in --memory")
      ->capture_default_str()
      ->check(IsBytes);
  AddKvTypeOption(command, &o->kv_types, kDefaultKv);
  AddAttentionWindowOptions(command, &o->attention_window, &o->attention_sinks);
  command->add_flag("--tensors", o->tensors, "List every tensor");
  command->footer(
      "Examples:\n  inkstone inspect qwen3-4b.gguf --tensors\n"
      "  inkstone inspect qwen3-4b.gguf --context 32768 --memory 6GB");
}

struct TypeTotal {
  int64_t tensors = 0;
  int64_t elements = 0;
  uint64_t bytes = 0;
};

int64_t Elements(const TensorInfo& tensor) {
  int64_t n = 1;
  for (const int64_t size : tensor.shape) n *= size;
  return n;
}

std::string ShapeText(const TensorInfo& tensor) {
  std::string text;
  for (const int64_t size : tensor.shape) text += (text.empty() ? "" : " x ") + std::to_string(size);
  return text;
}

// One value as a person reads it: long arrays by their length, long texts by their beginning.
std::string ValueText(const MetaValue& value) {
  if (const auto* n = std::get_if<int64_t>(&value.value)) return std::to_string(*n);
  if (const auto* b = std::get_if<bool>(&value.value)) return *b ? "true" : "false";
  if (const auto* d = std::get_if<double>(&value.value)) {
    char text[32];
    std::snprintf(text, sizeof(text), "%.9g", *d);
    return text;
  }
  if (const auto* a = std::get_if<MetaArray>(&value.value)) return "[" + std::to_string(a->size()) + " values]";
  const std::string_view text = std::get<std::string_view>(value.value);
  constexpr size_t kMaxBytes = 60;
  // A character that the limit would cut is left out.
  size_t bytes = std::min(text.size(), kMaxBytes);
  while (bytes > 0 && bytes < text.size() && (text[bytes] & 0xc0) == 0x80) --bytes;
  const std::string line = Printable(text.substr(0, bytes));
  return text.size() > kMaxBytes ? line + "... (" + std::to_string(text.size()) + " bytes)" : line;
}

struct Summary {
  std::map<std::string_view, TypeTotal> types;
  int64_t parameters = 0;
  uint64_t bytes = 0;
};

Summary Summarize(const Checkpoint& checkpoint) {
  Summary s;
  for (const TensorInfo& tensor : checkpoint.tensors()) {
    TypeTotal& total = s.types[Info(tensor.dtype).name];
    ++total.tensors;
    total.elements += Elements(tensor);
    total.bytes += tensor.bytes;
    s.parameters += Elements(tensor);
    s.bytes += tensor.bytes;
  }
  return s;
}

// 0 when the cache cannot have the types.
uint64_t KvBytes(const ModelConfig& config, KvTypes types, int64_t context) {
  const auto layout = config.KvLayoutFor(types);
  return layout.ok() ? layout->page_bytes() * static_cast<uint64_t>(layout->PagesFor(context)) : 0;
}

// What `inkstone serve` plans for this context, whether the machine has it or not; within --memory, where that is
// given.
Result<MemoryPlan> PlanOf(const Checkpoint& checkpoint, ModelConfig config, const InspectOptions& o) {
  INK_ASSIGN_OR_RETURN(const auto runtime, Runtime::Create({.threads = o.threads, .cpu = o.cpu}));
  SessionOptions options{.model = checkpoint.path(), .context = o.context, .max_sequences = o.sequences};
  options.kv_types = o.kv_types;
  options.attention_window = o.attention_window;
  options.attention_sinks = o.attention_sinks;
  INK_ASSIGN_OR_RETURN(options.spill_bytes, ParseBytes(o.spill_size));
  options.connection_bytes = HttpLimits{}.MostBytes();
  if (!o.memory.empty()) {
    INK_ASSIGN_OR_RETURN(options.memory_limit, ParseBytes(o.memory));
  }
  MemoryFacts facts;
  facts.parameters = Summarize(checkpoint).parameters;
  for (const MappedFile& file : checkpoint.files()) facts.weight_bytes += file.size();
  facts.available = uint64_t{1} << 60;
  config.context = std::max(config.context, o.context);
  INK_ASSIGN_OR_RETURN(const SessionPlan plan, PlanSession(checkpoint, config, *runtime->NewBackend(), facts, options));
  MemoryPlan memory = plan.memory;
  if (o.memory.empty()) memory.available = GetMemoryInfo().available;
  return memory;
}

// What loading the model would warn of; a tokenizer that cannot be read is one more such thing here.
std::vector<std::string> WarningsOf(const Checkpoint& checkpoint, const ModelConfig& config) {
  std::vector<std::string> warnings(checkpoint.warnings().begin(), checkpoint.warnings().end());
  warnings.insert(warnings.end(), config.warnings.begin(), config.warnings.end());
  ReadDefaultSampling(checkpoint.metadata(), config.architecture, &warnings);
  const auto tokenizer = Tokenizer::Load(checkpoint);
  if (!tokenizer.ok()) {
    warnings.push_back(tokenizer.status().message());
  } else {
    warnings.insert(warnings.end(), (*tokenizer)->warnings().begin(), (*tokenizer)->warnings().end());
  }
  return warnings;
}

struct Inspected {
  const Checkpoint& checkpoint;
  const ModelConfig& config;
  const SensitivityTable& sensitivity;
  const MemoryPlan& memory;
  const std::vector<std::string>& warnings;
};

void PrintJson(const Inspected& inspected, const InspectOptions& o) {
  const auto& [checkpoint, config, sensitivity, memory, warnings] = inspected;
  const Summary s = Summarize(checkpoint);
  const KvTypes kv_types = o.kv_types.value_or(config.DefaultKvTypes());
  JsonWriter json;
  json.BeginObject()
      .Field("path", checkpoint.path())
      .Field("architecture", config.architecture)
      .Field("name", config.name);
  json.Field("parameters", s.parameters)
      .Field("tensor_bytes", s.bytes)
      .Field("layers", config.layers)
      .Field("hidden", config.hidden);
  json.Field("intermediate", config.intermediate).Field("heads", config.heads).Field("kv_heads", config.kv_heads);
  json.Field("head_dim", config.head_dim).Field("vocabulary", config.vocab).Field("trained_context", config.context);
  json.Field("context", o.context).Field("kv_type", KvTypesName(kv_types));
  json.Field("kv_bytes", KvBytes(config, kv_types, o.context));
  for (const char* name : {"f16", "q8_0", "q4_0"}) {
    json.Field(std::string("kv_bytes_") + name, KvBytes(config, *KvTypesFromName(name), o.context));
  }
  json.Key("memory").BeginObject().Field("planned", memory.total()).Field("available", memory.available);
  json.Key("purposes");
  WritePurposes(json, PlannedAccount(memory), false);
  json.EndObject().Key("types").BeginObject();
  for (const auto& [name, total] : s.types) {
    json.Key(name)
        .BeginObject()
        .Field("tensors", total.tensors)
        .Field("elements", total.elements)
        .Field("bytes", total.bytes)
        .EndObject();
  }
  json.EndObject().Key("warnings").BeginArray();
  for (const std::string& warning : warnings) json.Value(ValidUtf8(warning));
  json.EndArray().Key("metadata").BeginObject();
  for (const Metadata::Entry& entry : checkpoint.metadata().entries())
    json.Field(ValidUtf8(entry.key), ValueText(entry.value));
  json.EndObject().Key("tensors").BeginArray();
  for (const TensorInfo& tensor : checkpoint.tensors()) {
    json.BeginObject().Field("name", tensor.name).Field("type", Info(tensor.dtype).name).Key("shape").BeginArray();
    for (const int64_t size : tensor.shape) json.Value(size);
    json.EndArray().Field("bytes", tensor.bytes).EndObject();
  }
  json.EndArray().Key("sensitivity");
  sensitivity.tensors.empty() ? void(json.Null()) : WriteSensitivity(sensitivity, checkpoint, &json);
  std::puts(json.EndObject().Take().c_str());
}

void PrintText(const Inspected& inspected, const InspectOptions& o) {
  const auto& [checkpoint, config, sensitivity, memory, warnings] = inspected;
  const Summary s = Summarize(checkpoint);
  std::printf("%s: %s, %.2f billion parameters, %s of weights (%.2f bits per weight)\n",
              Printable(checkpoint.path()).c_str(), Printable(config.architecture).c_str(),
              static_cast<double>(s.parameters) * 1e-9, FormatBytes(s.bytes).c_str(),
              8.0 * static_cast<double>(s.bytes) / static_cast<double>(s.parameters));
  std::printf(
      "%d layers, hidden %d, intermediate %d, %d heads and %d KV heads of %d, vocabulary %d, trained for %lld "
      "tokens\n\n",
      config.layers, config.hidden, config.intermediate, config.heads, config.kv_heads, config.head_dim, config.vocab,
      static_cast<long long>(config.context));
  std::printf("%-8s %8s %10s\n", "type", "tensors", "size");
  for (const auto& [name, total] : s.types) {
    std::printf("%-8s %8lld %10s\n", std::string(name).c_str(), static_cast<long long>(total.tensors),
                FormatBytes(total.bytes).c_str());
  }
  std::printf("\nserving %d conversation%s of %lld tokens takes at most\n%s\n", o.sequences,
              o.sequences == 1 ? "" : "s", static_cast<long long>(o.context), memory.Report().c_str());
  for (const std::string& warning : warnings) std::printf("warning: %s\n", ValidUtf8(warning).c_str());
  for (const Metadata::Entry& entry : checkpoint.metadata().entries()) {
    std::printf("%-42s %s\n", Printable(entry.key).c_str(), ValueText(entry.value).c_str());
  }
  if (!sensitivity.tensors.empty()) std::printf("\n%s", SensitivityText(sensitivity, checkpoint).c_str());
  if (!o.tensors) return;
  std::printf("\n");
  for (const TensorInfo& tensor : checkpoint.tensors()) {
    std::printf("%-32s %-7s %18s %10s\n", Printable(tensor.name).c_str(), std::string(Info(tensor.dtype).name).c_str(),
                ShapeText(tensor).c_str(), FormatBytes(tensor.bytes).c_str());
  }
}

Status Run(const InspectOptions& given) {
  InspectOptions o = given;
  INK_ASSIGN_OR_RETURN(const std::string path, ResolveModel(o.model));
  INK_ASSIGN_OR_RETURN(const Checkpoint checkpoint, Checkpoint::Open(path));
  INK_ASSIGN_OR_RETURN(const ModelConfig config, Model::ReadConfig(checkpoint));
  if (o.context == 0) o.context = std::min<int64_t>(8192, config.context);
  INK_RETURN_IF_ERROR(config.KvLayoutFor(o.kv_types.value_or(config.DefaultKvTypes())).status());
  INK_ASSIGN_OR_RETURN(const SensitivityTable sensitivity, ReadSensitivity(checkpoint.metadata()));
  INK_ASSIGN_OR_RETURN(const MemoryPlan memory, PlanOf(checkpoint, config, o));
  const std::vector<std::string> warnings = WarningsOf(checkpoint, config);
  const Inspected inspected{checkpoint, config, sensitivity, memory, warnings};
  o.json ? PrintJson(inspected, o) : PrintText(inspected, o);
  return Status::Ok();
}

}  // namespace

void AddInspectCommand(CLI::App* app, CommandBody* body) {
  AddCommand<InspectOptions>(app, body, "inspect", "Show metadata, tensors, types and memory needs", Declare, Run);
}

}  // namespace inkstone
