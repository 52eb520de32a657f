// inkstone eval: perplexity over a text, and divergence from a reference model.
#include <cstdio>
#include <fstream>
#include <iterator>
#include <memory>

#include "cli/command.h"
#include "cli/model_path.h"
#include "cli/progress_bar.h"
#include "compress/evaluate.h"
#include "server/json_writer.h"
#include "tokenizer/tokenizer.h"

namespace inkstone {
namespace {

struct EvalOptions : ComputeOptions {
  std::string text;
  std::string reference;
  int64_t context = 512;
  int64_t windows = 0;
  std::string reference_cpu;
  bool decode = false;
  DType kv_type = DType::kF16;
};

void Declare(CLI::App* command, EvalOptions* o) {
  AddComputeOptions(command, o);
  command->add_option("--text", o->text, "UTF-8 text to score")->required()->check(CLI::ExistingFile);
  CLI::Option* reference =
      command->add_option("--reference", o->reference, "Model to measure the divergence from, usually the 16-bit one");
  command->add_option("--context", o->context, "Tokens per window")
      ->capture_default_str()
      ->check(CLI::Range(2, 1 << 20));
  command->add_option("--windows", o->windows, "Score only the first N windows; 0: all")
      ->capture_default_str()
      ->check(CLI::NonNegativeNumber);
  command
      ->add_option("--reference-cpu", o->reference_cpu,
                   "Kernels that compute the reference; 'ref' is plain f32 arithmetic. Default: as --cpu")
      ->needs(reference);
  AddKvTypeOption(command, &o->kv_type);
  command->add_flag("--decode", o->decode, "Compute the model as generated tokens are, not as a prompt");
  command->footer(
      "Examples:\n"
      "  inkstone eval qwen3-4b-q4.gguf --text notes.txt --reference Qwen3-4B/\n"
      "  inkstone eval tiny.gguf --text notes.txt --reference tiny.gguf --reference-cpu ref  # what fast arithmetic "
      "costs");
}

Result<std::string> ReadText(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::string text((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  if (!in.good() && !in.eof()) return NotFound(path + ": cannot read");
  return text;
}

void PrintJson(const Evaluation& e) {
  JsonWriter json;
  json.BeginObject().Field("perplexity", e.perplexity).Field("loss", e.loss).Field("tokens", e.scored);
  if (e.divergence) {
    json.Field("kld_mean", e.divergence->mean)
        .Field("kld_median", e.divergence->median)
        .Field("kld_p99", e.divergence->p99);
    json.Field("top1_agree", e.divergence->top1_agreement)
        .Field("reference_perplexity", e.divergence->reference_perplexity);
  }
  std::puts(json.EndObject().Take().c_str());
}

void PrintTable(const Evaluation& e) {
  std::printf("perplexity             %.4f  (%lld predictions)\n", e.perplexity, static_cast<long long>(e.scored));
  if (!e.divergence) return;
  std::printf("reference perplexity   %.4f\n", e.divergence->reference_perplexity);
  std::printf("KL divergence, mean    %.6f nats\n", e.divergence->mean);
  std::printf("             median    %.6f\n", e.divergence->median);
  std::printf("    99th percentile    %.6f\n", e.divergence->p99);
  std::printf("same first choice      %.2f %%\n", e.divergence->top1_agreement * 100);
}

Status Run(const EvalOptions& o) {
  INK_ASSIGN_OR_RETURN(const std::string path, ResolveModel(o.model));
  INK_ASSIGN_OR_RETURN(const std::string text, ReadText(o.text));
  INK_ASSIGN_OR_RETURN(const auto runtime, Runtime::Create({o.threads, o.cpu, o.pinning}));
  EvaluateOptions options;
  options.window = o.context;
  options.max_windows = o.windows;
  options.kv_type = o.kv_type;
  options.phase = o.decode ? Phase::kDecode : Phase::kPrompt;
  INK_ASSIGN_OR_RETURN(LoadedModel model, LoadModel(path, *runtime, EvaluateLimits(options)));
  std::unique_ptr<Runtime> reference_runtime;  // where the reference asks for other kernels
  LoadedModel reference;
  if (!o.reference.empty()) {
    INK_ASSIGN_OR_RETURN(const std::string reference_path, ResolveModel(o.reference));
    if (!o.reference_cpu.empty()) {
      INK_ASSIGN_OR_RETURN(reference_runtime, Runtime::Create({o.threads, o.reference_cpu, o.pinning}));
    }
    Runtime& its_runtime = reference_runtime != nullptr ? *reference_runtime : *runtime;
    INK_ASSIGN_OR_RETURN(reference, LoadModel(reference_path, its_runtime, EvaluateLimits(options)));
  }
  INK_ASSIGN_OR_RETURN(const auto tokenizer, Tokenizer::Load(*model.checkpoint));
  const std::vector<int32_t> tokens = tokenizer->Encode(text, SpecialText::kRecognize);
  ProgressBar bar("Evaluating");
  const auto progress = [&](int64_t done, int64_t total) {
    bar.Update(static_cast<uint64_t>(done), static_cast<uint64_t>(total));
  };
  INK_ASSIGN_OR_RETURN(const Evaluation result, Evaluate(tokens, model, o.reference.empty() ? nullptr : &reference,
                                                         *runtime, options, progress));
  o.json ? PrintJson(result) : PrintTable(result);
  return Status::Ok();
}

}  // namespace

void AddEvalCommand(CLI::App* app, CommandBody* body) {
  AddCommand<EvalOptions>(app, body, "eval", "Measure perplexity, and divergence from a reference model", Declare, Run);
}

}  // namespace inkstone
