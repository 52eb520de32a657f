// inkstone compress: any checkpoint to a smaller GGUF file.
#include <cstdio>

#include "cli/command.h"
#include "cli/model_path.h"
#include "cli/progress_bar.h"
#include "compress/compress.h"
#include "core/units.h"
#include "quant/codec.h"
#include "server/json_writer.h"

namespace inkstone {
namespace {

struct CompressCommandOptions : CommonOptions {
  std::string positional_source;
  std::string source;
  std::string output;
  std::string type;
  std::string preset;
  bool allow_nonfinite = false;
};

void Declare(CLI::App* command, CompressCommandOptions* o) {
  AddCommonOptions(command, o, false);
  const auto check_type = [](const std::string& name) {
    const auto type = DTypeFromName(name);
    return type && CanEncode(*type) ? "" : "expected F32, F16, BF16, Q8_0, Q4_0 or Q4_1, found '" + name + "'";
  };
  const auto check_preset = [](const std::string& name) {
    const Status status = PresetType(name).status();
    return status.ok() ? "" : status.message();
  };
  auto* positional = command->add_option("SRC", o->positional_source, "Hugging Face folder or GGUF file");
  command->add_option("--input", o->source, "The same as SRC")->excludes(positional);
  command->add_option("-o,--output", o->output, "GGUF file to write; replaced only when the new one is complete")
      ->required();
  auto* type = command->add_option("--type", o->type, "Type of every matrix: F32, F16, BF16, Q8_0, Q4_0, Q4_1")
                   ->check(check_type);
  command->add_option("--preset", o->preset, "int8: half of 16 bits, nearly without loss (Q8_0)")
      ->check(check_preset)
      ->excludes(type);
  command->add_flag("--allow-nonfinite", o->allow_nonfinite, "Write NaN and infinities as 0 instead of failing");
  command->footer("Example:\n  inkstone compress Qwen3-4B-Instruct-2507/ -o qwen3-4b-q8.gguf --preset int8");
}

void PrintReport(const CompressReport& r, const CompressCommandOptions& o) {
  if (o.json) {
    JsonWriter json;
    json.BeginObject()
        .Field("output", o.output)
        .Field("parameters", r.parameters)
        .Field("source_bytes", r.source_bytes);
    json.Field("file_bytes", r.file_bytes).Field("bits_per_weight", r.bits_per_weight());
    json.Field("nonfinite_replaced", r.nonfinite_replaced).Key("kept_f16").BeginArray();
    for (const std::string& name : r.kept_f16) json.Value(name);
    std::puts(json.EndArray().EndObject().Take().c_str());
    return;
  }
  std::printf("%s: %s from %s (%.2f bits per weight, %.0f %% smaller)\n", o.output.c_str(),
              FormatBytes(r.file_bytes).c_str(), FormatBytes(r.source_bytes).c_str(), r.bits_per_weight(),
              100.0 * (1.0 - static_cast<double>(r.file_bytes) / static_cast<double>(r.source_bytes)));
  for (const std::string& name : r.kept_f16)
    std::printf("kept in F16, as its columns are no multiple of the block: %s\n", name.c_str());
  if (r.nonfinite_replaced > 0)
    std::printf("%lld values that are not finite were written as 0\n", static_cast<long long>(r.nonfinite_replaced));
  std::printf("Next: inkstone serve %s\n", o.output.c_str());
}

Status Run(const CompressCommandOptions& o) {
  const std::string& source = o.source.empty() ? o.positional_source : o.source;
  if (source.empty())
    return InvalidArgument("expected a model to compress: inkstone compress SRC -o OUT.gguf --preset int8");
  if (o.type.empty() && o.preset.empty()) return InvalidArgument("expected --preset int8 or --type TYPE");
  CompressOptions options;
  INK_ASSIGN_OR_RETURN(options.source, ResolveModel(source));
  options.output = o.output;
  options.threads = o.threads;
  options.allow_nonfinite = o.allow_nonfinite;
  if (!o.type.empty()) {
    options.type = *DTypeFromName(o.type);
  } else {
    INK_ASSIGN_OR_RETURN(options.type, PresetType(o.preset));
  }
  Result<CompressReport> report = [&] {
    ProgressBar bar("Compressing", true);
    return Compress(options, [&](const Progress& p) { bar.Update(p.bytes_done, p.bytes_total); });
  }();
  if (!report.ok()) return report.status();
  PrintReport(*report, o);
  return Status::Ok();
}

}  // namespace

void AddCompressCommand(CLI::App* app, CommandBody* body) {
  AddCommand<CompressCommandOptions>(app, body, "compress", "Convert and quantize a model to a GGUF file", Declare,
                                     Run);
}

}  // namespace inkstone
