// inkstone eval: perplexity over texts, and divergence from a reference model.
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <optional>
#include <utility>

#include "cli/command.h"
#include "cli/eval_report.h"
#include "cli/model_path.h"
#include "cli/output_files.h"
#include "cli/progress_bar.h"
#include "cli/text_file.h"
#include "compress/comparison_plot.h"
#include "compress/evaluate.h"
#include "core/atomic_file.h"
#include "core/printable.h"
#include "tokenizer/tokenizer.h"

namespace inkstone {
namespace {

struct EvalOptions : ComputeOptions {
  std::vector<std::string> compare;
  std::vector<std::string> texts;
  std::string reference;
  std::string reference_logits;
  std::string plot;
  int64_t context = 512;
  int64_t windows = 0;
  std::string reference_cpu;
  bool decode = false;
  std::optional<KvTypes> kv_types = {};  // unset: F16

  bool HasReference() const { return !reference.empty() || !reference_logits.empty(); }
};

constexpr char kExamples[] =
    "Examples:\n"
    "  inkstone eval qwen3-4b-q4.gguf --text notes.txt --reference Qwen3-4B/\n"
    "  inkstone eval --compare q8.gguf q5.gguf q4.gguf --reference Qwen3-4B/ --text notes.txt --text code.txt --plot "
    "cost.svg\n"
    "  inkstone eval q4.gguf --text notes.txt --reference Qwen3-4B/ --reference-logits notes.logits  # writes them\n"
    "  inkstone eval q3.gguf --text notes.txt --reference-logits notes.logits  # without loading the reference\n"
    "  inkstone eval tiny.gguf --text notes.txt --reference tiny.gguf --reference-cpu ref  # what fast arithmetic "
    "costs";

void DeclareReference(CLI::App* command, EvalOptions* o) {
  CLI::Option* reference =
      command->add_option("--reference", o->reference, "Model to measure the divergence from, usually the 16-bit one");
  command->add_option("--reference-logits", o->reference_logits,
                      "File that keeps the reference's logits for these texts: written once (an interrupted run is "
                      "continued), then read instead of running the reference");
  command
      ->add_option("--reference-cpu", o->reference_cpu,
                   "Kernels that compute the reference; 'ref' is plain f32 arithmetic. Default: as --cpu")
      ->needs(reference);
}

void Declare(CLI::App* command, EvalOptions* o) {
  AddComputeOptions(command, o);
  command->get_option("MODEL")->required(false);
  CLI::Option* compare = command->add_option(
      "--compare", o->compare, "Models to measure one after the other, each loaded alone: a row for each, by size");
  command->add_option("--text", o->texts, "UTF-8 text to score; may be given several times")
      ->required()
      ->allow_extra_args(false)
      ->check(CLI::ExistingFile);
  DeclareReference(command, o);
  command->add_option("--plot", o->plot, "SVG file to write: size against divergence")->needs(compare);
  command->add_option("--context", o->context, "Tokens per window")
      ->capture_default_str()
      ->check(CLI::Range(2, 1 << 20));
  command->add_option("--windows", o->windows, "Score only the first N windows of each text; 0: all")
      ->capture_default_str()
      ->check(CLI::NonNegativeNumber);
  AddKvTypeOption(command, &o->kv_types, "f16");
  command->add_flag("--decode", o->decode, "Compute the model as generated tokens are, not as a prompt");
  command->footer(kExamples);
  command->parse_complete_callback([o] {
    if (o->model.empty() && o->compare.empty()) throw CLI::RequiredError("MODEL or --compare");
    if (!o->compare.empty() && !o->HasReference()) {
      throw CLI::ValidationError("--compare", "needs --reference or --reference-logits");
    }
  });
}

// The texts, as a model's tokenizer reads them.
Result<std::vector<EvaluationText>> Tokenize(const EvalOptions& o, const Checkpoint& checkpoint) {
  INK_ASSIGN_OR_RETURN(const auto tokenizer, Tokenizer::Load(checkpoint));
  std::vector<EvaluationText> texts;
  for (const std::string& path : o.texts) {
    INK_ASSIGN_OR_RETURN(const std::string text, ReadText(path));
    texts.push_back({path, tokenizer->Encode(text, SpecialText::kRecognize)});
  }
  return texts;
}

// What the models of one command share.
class Evaluator {
 public:
  static Result<std::unique_ptr<Evaluator>> Create(const EvalOptions& o, std::vector<std::string> paths) {
    std::unique_ptr<Evaluator> e(new Evaluator(o, std::move(paths)));
    INK_ASSIGN_OR_RETURN(e->runtime_, Runtime::Create({o.threads, o.cpu, o.pinning}));
    if (!o.reference_cpu.empty()) {
      INK_ASSIGN_OR_RETURN(e->its_runtime_, Runtime::Create({o.threads, o.reference_cpu, o.pinning}));
    }
    INK_ASSIGN_OR_RETURN(const Checkpoint first, Checkpoint::Open(e->paths_.front()));
    INK_ASSIGN_OR_RETURN(const ModelConfig config, Model::ReadConfig(first));
    INK_ASSIGN_OR_RETURN(auto texts, Tokenize(o, first));
    INK_ASSIGN_OR_RETURN(auto windows, EvaluationWindows::Cut(std::move(texts), o.context, o.windows));
    e->windows_.emplace(std::move(windows));
    e->content_ = ReferenceContent::Of(*e->windows_, config.vocab);
    e->total_ = e->windows_->rows() * static_cast<int64_t>(e->paths_.size());
    return e;
  }

  Result<EvalResults> Run() {
    EvalResults results;
    results.texts = o_.texts;
    results.kv_types = o_.kv_types.value_or(KvTypes{DType::kF16, DType::kF16});
    EvaluateOptions options;
    options.kv_types = results.kv_types;
    options.phase = o_.decode ? Phase::kDecode : Phase::kPrompt;
    LoadedModel beside;
    std::optional<ReferenceLogits> logits;
    if (!o_.compare.empty() || !o_.reference_logits.empty()) {
      INK_ASSIGN_OR_RETURN(ReferenceLogits made, MakeLogits());
      logits.emplace(std::move(made));
      options.reference = &*logits;
      results.reference = logits->identity().model;
    } else if (!o_.reference.empty()) {
      INK_ASSIGN_OR_RETURN(const std::string path, ResolveModel(o_.reference));
      INK_ASSIGN_OR_RETURN(beside, Load(path, ReferenceRuntime()));
      INK_ASSIGN_OR_RETURN(results.reference, DescribeCheckpoint(*beside.checkpoint));
      options.reference = &beside;
    }
    for (const std::string& path : paths_) {
      INK_ASSIGN_OR_RETURN(LoadedModel model, Load(path, *runtime_));
      INK_ASSIGN_OR_RETURN(CheckpointFacts facts, DescribeCheckpoint(*model.checkpoint));
      INK_ASSIGN_OR_RETURN(EvaluationReport report, Evaluate(*windows_, model, *runtime_, options, Progress()));
      results.models.push_back({std::move(facts), std::move(report)});
    }
    std::stable_sort(results.models.begin(), results.models.end(),
                     [](const auto& a, const auto& b) { return a.model.file_bytes < b.model.file_bytes; });
    return results;
  }

 private:
  Evaluator(const EvalOptions& o, std::vector<std::string> paths)
      : o_(o), paths_(std::move(paths)), progress_([this](int64_t rows) {
          done_ += rows;
          bar_.Update(static_cast<uint64_t>(done_), static_cast<uint64_t>(total_));
        }) {}

  Runtime& ReferenceRuntime() { return its_runtime_ != nullptr ? *its_runtime_ : *runtime_; }
  EvaluateProgress Progress() { return EvaluateProgress(progress_); }

  // Every model must read the texts alike.
  Result<LoadedModel> Load(const std::string& path, Runtime& runtime) {
    INK_ASSIGN_OR_RETURN(LoadedModel model, LoadModel(path, runtime, EvaluateLimits(windows_->window())));
    INK_ASSIGN_OR_RETURN(const auto texts, Tokenize(o_, *model.checkpoint));
    for (size_t i = 0; i < texts.size(); ++i) {
      if (texts[i].tokens == windows_->texts()[i].tokens) continue;
      return InvalidArgument(path + ": its tokenizer reads " + texts[i].name + " otherwise than that of " +
                             paths_.front() + " (" + std::to_string(texts[i].tokens.size()) + " tokens, expected " +
                             std::to_string(windows_->texts()[i].tokens.size()) + ", the same ones)");
    }
    return model;
  }

  // Complete logits of the reference: from the file, or computed now, with nothing else loaded.
  Result<ReferenceLogits> MakeLogits() {
    if (o_.reference.empty()) return ReferenceLogits::Open(o_.reference_logits, content_);
    INK_ASSIGN_OR_RETURN(const std::string path, ResolveModel(o_.reference));
    ReferenceIdentity identity;
    INK_ASSIGN_OR_RETURN(const Checkpoint checkpoint, Checkpoint::Open(path));
    INK_ASSIGN_OR_RETURN(identity.model, DescribeCheckpoint(checkpoint));
    identity.kernels = ReferenceRuntime().kernels().target;
    INK_ASSIGN_OR_RETURN(const ModelConfig config, Model::ReadConfig(checkpoint));
    if (config.vocab != content_.vocab) {
      return InvalidArgument("the reference has " + std::to_string(config.vocab) + " logits, the model " +
                             std::to_string(content_.vocab) + ": expected the same vocabulary");
    }
    INK_ASSIGN_OR_RETURN(ReferenceLogits logits,
                         o_.reference_logits.empty()
                             ? ReferenceLogits::CreateTemporary(TemporaryFolder(), content_, identity)
                             : ReferenceLogits::OpenOrCreate(o_.reference_logits, content_, identity));
    if (logits.complete()) return logits;
    total_ += windows_->rows() - windows_->windows()[static_cast<size_t>(logits.windows_done())].first_row;
    INK_ASSIGN_OR_RETURN(LoadedModel reference, Load(path, ReferenceRuntime()));
    INK_RETURN_IF_ERROR(RecordReference(*windows_, reference, ReferenceRuntime(), &logits, Progress()));
    return logits;
  }

  // Beside the plot, which the user wants to have; else where the system keeps such files.
  std::string TemporaryFolder() const {
    if (o_.plot.empty()) return std::filesystem::temp_directory_path().string();
    return std::filesystem::absolute(o_.plot).parent_path().string();
  }

  const EvalOptions& o_;
  std::vector<std::string> paths_;
  std::unique_ptr<Runtime> runtime_;
  std::unique_ptr<Runtime> its_runtime_;  // where the reference asks for other kernels
  std::optional<EvaluationWindows> windows_;
  ReferenceContent content_;
  ProgressBar bar_{"Evaluating"};
  int64_t done_ = 0;
  int64_t total_ = 0;  // positions, of all models that run
  std::function<void(int64_t)> progress_;
};

Status WritePlot(const std::string& path, const EvalResults& results) {
  std::vector<PlotPoint> points;
  for (const ModelResult& r : results.models) {
    const std::filesystem::path name = r.model.name;
    points.push_back({name.extension() == ".gguf" ? name.stem().string() : r.model.name, r.model.file_bytes,
                      r.report.all.divergence->kl});
  }
  const std::string subtitle = "against " + results.reference->name + " over " +
                               std::to_string(results.models.front().report.all.scored) +
                               " positions; bars: one standard error";
  const std::string svg = PlotComparison(points, "What compression costs", subtitle);
  INK_ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::Create(path));
  INK_RETURN_IF_ERROR(file.Write(svg.data(), svg.size()));
  return file.Commit();
}

Status Run(const EvalOptions& o) {
  std::vector<std::string> paths;
  std::vector<std::string> names = o.compare;
  if (!o.model.empty()) names.push_back(o.model);
  for (const std::string& name : names) {
    INK_ASSIGN_OR_RETURN(const std::string path, ResolveModel(name));
    if (std::find(paths.begin(), paths.end(), path) == paths.end()) paths.push_back(path);
  }
  std::vector<NamedFile> inputs;
  inputs.reserve(paths.size() + 2);
  for (const std::string& path : paths) inputs.push_back({"the model", path});
  inputs.push_back({"--reference", o.reference});
  inputs.push_back({"--reference-logits", o.reference_logits});
  INK_RETURN_IF_ERROR(CheckOutputFiles({{"--plot", o.plot}}, inputs));
  const Result<EvalResults> results = [&]() -> Result<EvalResults> {
    INK_ASSIGN_OR_RETURN(const auto evaluator, Evaluator::Create(o, paths));
    return evaluator->Run();
  }();  // with its progress bar
  if (!results.ok()) return results.status();
  if (!o.plot.empty()) INK_RETURN_IF_ERROR(WritePlot(o.plot, *results));
  if (o.json) {
    std::puts((o.compare.empty() ? ModelJson(*results) : ComparisonJson(*results)).c_str());
  } else {
    const std::string text = o.compare.empty() ? ModelText(*results) : ComparisonText(*results);
    std::fputs(Printable(text, TextShape::kText).c_str(), stdout);
  }
  return Status::Ok();
}

}  // namespace

void AddEvalCommand(CLI::App* app, CommandBody* body) {
  AddCommand<EvalOptions>(app, body, "eval", "Measure perplexity, and divergence from a reference model", Declare, Run);
}

}  // namespace inkstone
