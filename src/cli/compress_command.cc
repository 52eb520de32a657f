// inkstone compress: any checkpoint to a smaller GGUF file.
#include <chrono>
#include <cstdio>

#include "cli/command.h"
#include "cli/compress_story.h"
#include "cli/model_path.h"
#include "cli/output_files.h"
#include "cli/progress_bar.h"
#include "cli/text_file.h"
#include "compress/calibrated.h"
#include "compress/calibration_text.h"
#include "compress/compress.h"
#include "core/locked_file.h"
#include "core/printable.h"
#include "core/units.h"
#include "server/json_writer.h"

namespace inkstone {
namespace {

struct CompressCommandOptions : CommonOptions {
  std::string positional_source;
  std::string source;
  std::string output;
  std::string type;
  std::string preset;
  bool pure = false;
  std::vector<std::string> keep;
  std::string importance;
  bool dry_run = false;
  bool resume = false;
  bool allow_nonfinite = false;
  uint64_t size = 0;
  double bits = 0;
  std::string calibration;
  int64_t calibration_tokens = CalibratedOptions().tokens;
  bool no_feedback = false;
  std::string save_importance;
  std::string prune;
  double prune_loss = PruneOptions().max_loss;
  std::string report;
};

constexpr const char* kFooter =
    "Types: F32 F16 BF16 Q8_0 Q4_0 Q4_1 Q5_0 Q5_1 are for every matrix. Q2_K Q3_K_S Q3_K_M Q3_K_L Q4_K_S Q4_K_M "
    "Q5_K_S\n"
    "Q5_K_M Q6_K IQ4_NL IQ4_XS are mixtures as llama-quantize makes them: what matters most gets more bits. Norms and\n"
    "biases stay F32. A matrix whose columns do not fit a type gets the next larger simple one, and the report says "
    "so.\n"
    "Examples:\n"
    "  inkstone compress Qwen3-4B-Instruct-2507/ -o qwen3-4b-q8.gguf --preset int8\n"
    "  inkstone compress Qwen3-4B-Instruct-2507/ -o qwen3-4b.gguf --size 2.4GiB\n"
    "  inkstone compress Qwen3-4B-Instruct-2507/ -o qwen3-4b.gguf --preset deep --calibration my-texts.txt\n"
    "  inkstone compress Qwen3-4B-Instruct-2507/ -o qwen3-4b.gguf --type Q4_K_M --imatrix imatrix.gguf\n"
    "  inkstone compress qwen3-4b-f16.gguf --type Q3_K_M --keep 'attn_v=Q8_0' --keep '^output|token_embd=Q6_K' "
    "--dry-run\n"
    "  inkstone compress Qwen3-4B-Instruct-2507/ -o qwen3-4b.gguf --type Q4_K_M --resume   (after an interruption)";

template <typename T>
std::string ErrorOf(const Result<T>& result) {
  return result.ok() ? "" : result.status().message();
}

std::string PresetHelp() {
  std::string text = "A size by name.";
  for (const Preset& p : Presets()) text += " " + std::string(p.name) + ": " + std::string(p.description) + ".";
  return text;
}

void AddCalibrationOptions(CLI::App* command, CompressCommandOptions* o) {
  auto* calibration = command->add_option("--calibration", o->calibration,
                                          "UTF-8 text that the model reads first, to see which weights matter; "
                                          "'default' for the program's own, which sizes "
                                          "and presets use anyway");
  calibration->check([](const std::string& path) { return path == "default" ? "" : CLI::ExistingFile(path); });
  calibration->excludes(command->get_option("--imatrix"));
  command->add_option("--calibration-tokens", o->calibration_tokens, "Tokens of it to read at most")
      ->capture_default_str()
      ->check(CLI::Range(64, 1 << 20));
  command->add_flag("--no-feedback", o->no_feedback, "Round each weight by itself: faster, less accurate");
  command->add_option("--save-imatrix", o->save_importance,
                      "Write what calibration measured, for --imatrix or llama.cpp");
  command
      ->add_option("--prune", o->prune,
                   "Layers to remove, those that change least; 'auto': as many as --prune-loss allows")
      ->check([](const std::string& text) {
        return text == "auto" ? "" : CLI::Range(1, 1 << 16)(const_cast<std::string&>(text));
      });
  command->add_option("--prune-loss", o->prune_loss, "Growth of perplexity that removed layers may cost, 0.1 for 10 %")
      ->capture_default_str()
      ->check(CLI::Range(0.0, 100.0));
}

void Declare(CLI::App* command, CompressCommandOptions* o) {
  AddCommonOptions(command, o, false);
  auto* positional = command->add_option("SRC", o->positional_source, "Hugging Face folder or GGUF file");
  command->add_option("--input", o->source, "The same as SRC")->excludes(positional);
  auto* output =
      command->add_option("-o,--output", o->output, "GGUF file to write; replaced only when the new one is complete");
  auto* type = command->add_option("--type", o->type, "A type for every matrix, or a mixture of types; see below")
                   ->check([](const std::string& name) { return ErrorOf(RecipeFromName(name)); });
  command->add_flag("--pure", o->pure, "The main type of the mixture for every matrix")->needs(type);
  auto* preset = command->add_option("--preset", o->preset, PresetHelp())->check([](const std::string& name) {
    return ErrorOf(FindPreset(name));
  });
  auto* size = command->add_option_function<std::string>(
      "--size", [o](const std::string& text) { o->size = *ParseBytes(text); },
      "Bytes that the file may have, such as 2.4GiB: a type for each matrix, chosen by its measured sensitivity");
  size->check([](const std::string& text) { return ErrorOf(ParseBytes(text)); });
  auto* bits =
      command->add_option("--bits", o->bits, "The same by bits per weight, such as 4.6")->check(CLI::Range(1.0, 16.5));
  for (auto* a : {type, preset, size, bits}) {
    for (auto* b : {type, preset, size, bits}) {
      if (a != b) a->excludes(b);
    }
  }
  command
      ->add_option("--keep", o->keep,
                   "REGEX=TYPE: another type for the matrices whose name matches; may be given again, later ones win")
      ->allow_extra_args(false)
      ->check([](const std::string& text) { return ErrorOf(ParsePin(text)); });
  command->add_option("--imatrix", o->importance,
                      "Importance of the columns, which rounding then looks at: a file of llama-imatrix, either form");
  AddCalibrationOptions(command, o);
  command->add_option("--report", o->report,
                      "HTML page to write: sizes, sensitivity, loss measured on unseen text, answers side by side");
  auto* dry_run = command->add_flag("--dry-run", o->dry_run, "Print types and sizes, write nothing");
  dry_run->excludes(command->get_option("--report"));
  command->add_flag("--resume", o->resume, "Go on where an interrupted run with the same options stopped")
      ->excludes(dry_run);
  command->add_flag("--allow-nonfinite", o->allow_nonfinite, "Write NaN and infinities as 0 instead of failing");
  command->parse_complete_callback([=] {
    if (output->empty() && dry_run->empty()) throw CLI::RequiredError("--output");
  });
  command->footer(kFooter);
}

void AddGroups(const char* key, const std::vector<TensorGroup>& groups, JsonWriter* json) {
  json->Key(key).BeginArray();
  for (const TensorGroup& group : groups) {
    json->BeginObject();
    if (!group.kind.empty()) json->Field("kind", group.kind);
    json->Field("type", Info(group.type).name).Field("tensors", group.tensors).Field("elements", group.elements);
    json->Field("bytes", group.bytes).EndObject();
  }
  json->EndArray();
}

void AddCalibration(const CalibratedReport& c, JsonWriter* json) {
  json->Field("calibration_tokens", c.tokens).Field("resumed_layers", c.resumed_layers);
  if (c.predicted_divergence) json->Field("predicted_kld", *c.predicted_divergence);
  if (!c.prune) return;
  json->Field("prune_loss", c.prune->loss()).Key("pruned_layers").BeginArray();
  for (const int layer : c.prune->removed) json->Value(int64_t{layer});
  json->EndArray();
}

void PrintCalibration(const CalibratedReport& c) {
  std::printf("calibrated on %lld tokens", static_cast<long long>(c.tokens));
  if (c.predicted_divergence) std::printf("; predicted divergence from 16 bits %.4f nats", *c.predicted_divergence);
  std::printf("\n");
  if (c.resumed_layers > 0) {
    std::printf("%lld layers were calibrated already\n", static_cast<long long>(c.resumed_layers));
  }
  if (!c.prune) return;
  std::printf("%zu layers removed: perplexity of the sample from %.3f to %.3f (%+.1f %%) before rounding\n",
              c.prune->removed.size(), c.prune->perplexity_before, c.prune->perplexity_after, 100 * c.prune->loss());
}

void PrintJson(const CompressReport& r, const CalibratedReport* c, const CompressCommandOptions& o) {
  JsonWriter json;
  json.BeginObject().Field("output", o.output).Field("dry_run", o.dry_run).Field("parameters", r.parameters);
  json.Field("source_bytes", r.source_bytes).Field("tensor_bytes", r.tensor_bytes).Field("file_bytes", r.file_bytes);
  json.Field("bits_per_weight", r.bits_per_weight()).Field("file_type", r.file_type);
  json.Field("resumed_bytes", r.resumed_bytes);
  json.Field("nonfinite_replaced", r.nonfinite_replaced);
  if (c != nullptr) AddCalibration(*c, &json);
  AddGroups("types", r.types, &json);
  AddGroups("groups", r.groups, &json);
  json.Key("fallbacks").BeginArray();
  for (const TypeFallback& f : r.fallbacks) {
    json.BeginObject().Field("tensor", f.tensor).Field("wanted", Info(f.wanted).name);
    json.Field("used", Info(f.used).name).EndObject();
  }
  json.EndArray().Key("tensors").BeginArray();
  for (const TensorInfo& tensor : r.tensors) {
    json.BeginObject().Field("name", tensor.name).Field("type", Info(tensor.dtype).name);
    json.Field("bytes", tensor.bytes).EndObject();
  }
  std::puts(json.EndArray().EndObject().Take().c_str());
}

void PrintTable(const CompressReport& r) {
  std::printf("%-24s %-7s %8s %10s\n", "tensors", "type", "count", "size");
  for (const TensorGroup& g : r.groups) {
    std::printf("%-24s %-7s %8lld %10s\n", Printable(g.kind).c_str(), std::string(Info(g.type).name).c_str(),
                static_cast<long long>(g.tensors), FormatBytes(g.bytes).c_str());
  }
}

// "fallback from Q4_K to Q5_0 ..." with one line for each pair of types.
void PrintFallbacks(const CompressReport& r) {
  std::map<std::pair<DType, DType>, std::vector<std::string>> tensors;
  for (const TypeFallback& f : r.fallbacks) tensors[{f.wanted, f.used}].push_back(f.tensor);
  for (const auto& [types, names] : tensors) {
    std::printf("%zu matrices in %s, as their columns are no multiple of the %d of %s: %s%s\n", names.size(),
                std::string(Info(types.second).name).c_str(), Info(types.first).block_elements,
                std::string(Info(types.first).name).c_str(), Printable(names.front()).c_str(),
                names.size() > 1 ? ", ..." : "");
  }
}

void PrintReport(const CompressReport& r, const CalibratedReport* c, const CompressCommandOptions& o) {
  if (o.json) return PrintJson(r, c, o);
  if (o.dry_run) PrintTable(r);
  std::printf("%s: %s from %s (%.2f bits per weight, %.0f %% smaller)\n",
              o.dry_run ? "the file would have" : o.output.c_str(), FormatBytes(r.file_bytes).c_str(),
              FormatBytes(r.source_bytes).c_str(), r.bits_per_weight(),
              100.0 * (1.0 - static_cast<double>(r.file_bytes) / static_cast<double>(r.source_bytes)));
  std::string types;
  for (const TensorGroup& g : r.types) {
    types += (types.empty() ? "" : ", ") + FormatBytes(g.bytes) + " in " + std::string(Info(g.type).name);
  }
  std::printf("types: %s\n", types.c_str());
  PrintFallbacks(r);
  if (c != nullptr) PrintCalibration(*c);
  if (r.resumed_bytes > 0) std::printf("%s were there already\n", FormatBytes(r.resumed_bytes).c_str());
  if (r.nonfinite_replaced > 0)
    std::printf("%lld values that are not finite were written as 0\n", static_cast<long long>(r.nonfinite_replaced));
  if (!o.report.empty()) std::printf("report: %s\n", o.report.c_str());
  if (!o.dry_run) std::printf("Next: inkstone serve %s\n", o.output.c_str());
}

Result<Recipe> MakeRecipe(const CompressCommandOptions& o) {
  Recipe recipe;
  if (!o.type.empty()) {
    INK_ASSIGN_OR_RETURN(recipe, RecipeFromName(o.type, o.pure));
  } else if (!o.preset.empty()) {
    INK_ASSIGN_OR_RETURN(const Preset preset, FindPreset(o.preset));
    recipe = preset.recipe;
  }
  for (const std::string& text : o.keep) {
    INK_ASSIGN_OR_RETURN(Pin pin, ParsePin(text));
    recipe.pins.push_back(std::move(pin));
  }
  return recipe;
}

Result<CompressOptions> MakeOptions(const CompressCommandOptions& o) {
  const std::string& source = o.source.empty() ? o.positional_source : o.source;
  if (source.empty())
    return InvalidArgument("expected a model to compress: inkstone compress SRC -o OUT.gguf --preset int8");
  if (o.type.empty() && o.preset.empty() && o.size == 0 && o.bits == 0) {
    return InvalidArgument("expected a size (--preset deep, --size 2.4GiB or --bits 4.6) or --type TYPE");
  }
  CompressOptions options;
  INK_ASSIGN_OR_RETURN(options.source, ResolveModel(source));
  const std::string calibration = o.calibration == "default" ? "" : o.calibration;
  if (!o.dry_run) {
    INK_RETURN_IF_ERROR(
        CheckOutputFiles({{"--output", o.output}, {"--report", o.report}, {"--save-imatrix", o.save_importance}},
                         {{"--imatrix", o.importance}, {"--calibration", calibration}}));
    INK_ASSIGN_OR_RETURN(options.output, OutputTarget(o.output));
  }
  for (const std::string& path : {o.report, o.save_importance}) {
    if (!path.empty()) options.side_outputs.push_back(path);
  }
  INK_ASSIGN_OR_RETURN(options.recipe, MakeRecipe(o));
  options.importance = o.importance;
  options.threads = o.threads;
  options.allow_nonfinite = o.allow_nonfinite;
  options.dry_run = o.dry_run;
  options.resume = o.resume;
  return options;
}

// What asks for a look at the model at work; nullopt where nothing does.
Result<std::optional<CalibratedOptions>> MakeCalibration(const CompressCommandOptions& o, CompressOptions compress) {
  CalibratedOptions options;
  if (o.size > 0) options.size = o.size;
  if (o.bits > 0) options.bits_per_weight = o.bits;
  if (!o.preset.empty()) {
    INK_ASSIGN_OR_RETURN(const Preset preset, FindPreset(o.preset));
    if (preset.share_of_16_bit > 0) options.share_of_16_bit = preset.share_of_16_bit;
  }
  const bool sized = options.size || options.bits_per_weight || options.share_of_16_bit;
  if (!sized && o.calibration.empty() && o.prune.empty() && o.save_importance.empty()) {
    return std::optional<CalibratedOptions>();
  }
  if (!o.importance.empty()) {
    return InvalidArgument(
        "--imatrix gives weights of columns only; a size or --prune needs text to measure on: use "
        "--calibration");
  }
  if (!o.prune.empty()) options.prune = PruneOptions{o.prune == "auto" ? -1 : std::stoi(o.prune), o.prune_loss};
  if (o.calibration.empty() || o.calibration == "default") {
    options.text = MixCalibrationTexts(DefaultCalibrationTexts());
    options.text_name = "default";
  } else {
    INK_ASSIGN_OR_RETURN(options.text, ReadText(o.calibration));
    options.text_name = o.calibration;
  }
  options.compress = std::move(compress);
  options.tokens = o.calibration_tokens;
  options.feedback = !o.no_feedback;
  options.save_importance = o.save_importance;
  options.cpu = o.cpu;
  return std::optional<CalibratedOptions>(std::move(options));
}

Result<CalibratedReport> RunStages(const CalibratedOptions& options) {
  std::optional<ProgressBar> bar;
  std::string stage;
  return CompressCalibrated(options, [&](const StageProgress& p) {
    if (stage != p.stage) {
      stage = p.stage;
      bar.emplace(p.stage, stage == "Compressing");
    }
    bar->Update(p.done, p.total);
  });
}

// What the user asked for, as the report names it.
std::vector<StoryFact> Asked(const CompressCommandOptions& o) {
  std::vector<StoryFact> facts;
  const auto add = [&](const char* name, const std::string& value) {
    if (!value.empty()) facts.push_back({name, value});
  };
  add("preset", o.preset);
  add("type", o.type);
  if (o.size > 0) add("size", FormatBytes(o.size));
  if (o.bits > 0) add("bits per weight", std::to_string(o.bits));
  for (const std::string& keep : o.keep) add("keep", keep);
  add("importance", o.importance);
  add("calibration", o.calibration);
  add("prune", o.prune);
  if (o.no_feedback) add("error feedback", "off");
  return facts;
}

// Quality is measured on what calibration has left of the text; on the program's own when that is nothing.
Status WriteReport(const CompressCommandOptions& o, const CompressOptions& options, const CalibratedOptions* calibrated,
                   const CalibratedReport& report, double seconds) {
  StoryOptions story{options.source, o.output, "", "", Asked(o), o.threads, o.cpu, seconds};
  if (calibrated != nullptr) {
    story.text = calibrated->text.substr(report.text_bytes);
    story.text_name = calibrated->text_name + ", the part that calibration has not seen";
  } else {
    story.text = MixCalibrationTexts(DefaultCalibrationTexts());
    story.text_name = "default";
  }
  ProgressBar bar("Measuring");
  INK_ASSIGN_OR_RETURN(const CompressionStory told,
                       TellStory(story, report, [&](uint64_t done, uint64_t total) { bar.Update(done, total); }));
  return WriteHtmlReport(o.report, told);
}

Status Run(const CompressCommandOptions& o) {
  const auto start = std::chrono::steady_clock::now();
  INK_ASSIGN_OR_RETURN(CompressOptions options, MakeOptions(o));
  INK_ASSIGN_OR_RETURN(const std::optional<CalibratedOptions> calibrated, MakeCalibration(o, options));
  CalibratedReport report;
  if (calibrated) {
    INK_ASSIGN_OR_RETURN(report, RunStages(*calibrated));
  } else {
    ProgressBar bar("Compressing", !o.dry_run);
    INK_ASSIGN_OR_RETURN(report.file,
                         Compress(options, [&](const Progress& p) { bar.Update(p.bytes_done, p.bytes_total); }));
  }
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
  if (!o.report.empty()) {
    INK_RETURN_IF_ERROR(WriteReport(o, options, calibrated ? &*calibrated : nullptr, report, elapsed.count()));
  }
  PrintReport(report.file, calibrated ? &report : nullptr, o);
  return Status::Ok();
}

}  // namespace

void AddCompressCommand(CLI::App* app, CommandBody* body) {
  AddCommand<CompressCommandOptions>(app, body, "compress", "Convert and quantize a model to a GGUF file", Declare,
                                     Run);
}

}  // namespace inkstone
