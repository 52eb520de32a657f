#include "cli/compress_story.h"

#include <algorithm>
#include <future>
#include <utility>

#include "compress/evaluate.h"
#include "engine/session.h"
#include "model/tensor_loader.h"
#include "tokenizer/tokenizer.h"

namespace inkstone {
namespace {

constexpr int64_t kWindow = 512;
constexpr int64_t kWindows = 8;
constexpr int64_t kAnswerTokens = 96;
constexpr int kCurvePoints = 24;
constexpr const char* kPrompts[] = {
    "Explain in three sentences why the sky is blue.",
    "请用两三句话介绍一下砚台的用途。",
    "Write a Python function that returns the n-th Fibonacci number.",
};

// Which layer of the source layer `layer` of the result was.
int SourceLayer(int layer, const std::vector<int>& removed) {
  for (const int gone : removed) layer += gone <= layer ? 1 : 0;
  return layer;
}

void AddTensors(const Checkpoint& source, const CalibratedReport& report, CompressionStory* story) {
  const std::vector<int> removed = report.prune ? report.prune->removed : std::vector<int>();
  for (const TensorInfo& tensor : report.file.tensors) {
    std::string name = tensor.name;
    if (const int layer = LayerOf(name); layer >= 0) {
      name = BlockTensor(SourceLayer(layer, removed), name.c_str() + BlockTensor(layer, "").size());
    }
    const TensorInfo* from = source.Find(name);
    if (from == nullptr) continue;  // made by the conversion
    story->tensors.push_back({tensor.name, from->dtype, from->bytes, tensor.dtype, tensor.bytes});
  }
}

// The best predicted loss at sizes from the smallest to the largest that the types allow.
void AddCurve(const CalibratedReport& report, CompressionStory* story) {
  if (!report.predicted_divergence) return;
  uint64_t smallest = 0, largest = 0, other = story->result_bytes;
  for (const AllocationItem& item : report.items) {
    const auto [low, high] = std::minmax_element(item.choices.begin(), item.choices.end(),
                                                 [](const auto& a, const auto& b) { return a.bytes < b.bytes; });
    smallest += low->bytes;
    largest += high->bytes;
  }
  for (const StoryTensor& tensor : story->tensors) {
    const bool chosen = std::any_of(report.items.begin(), report.items.end(),
                                    [&](const AllocationItem& item) { return item.tensor == tensor.name; });
    if (chosen) other -= tensor.bytes;
  }
  for (int i = 0; i <= kCurvePoints; ++i) {
    const uint64_t budget = smallest + (largest - smallest) * static_cast<uint64_t>(i) / kCurvePoints;
    const Result<Allocation> best = Allocate(report.items, budget);
    if (best.ok() && best->loss > 0) story->frontier.push_back({"", best->bytes + other, best->loss});
  }
  for (const DType type : {DType::kQ2_K, DType::kQ3_K, DType::kIQ4_XS, DType::kQ4_K, DType::kQ4_0, DType::kQ5_K,
                           DType::kQ5_0, DType::kQ6_K, DType::kQ8_0}) {
    StoryPoint point{std::string(Info(type).name), other, 0};
    const bool fits = std::all_of(report.items.begin(), report.items.end(), [&](const AllocationItem& item) {
      const auto found = std::find_if(item.choices.begin(), item.choices.end(),
                                      [&](const TypeChoice& choice) { return choice.type == type; });
      if (found == item.choices.end()) return false;
      point.bytes += found->bytes;
      point.divergence += found->loss;
      return true;
    });
    if (fits) story->uniform.push_back(std::move(point));
  }
  story->predicted_divergence = report.predicted_divergence;
}

Status AddQuality(const StoryOptions& options, FunctionRef<void(uint64_t, uint64_t)> progress,
                  CompressionStory* story) {
  INK_ASSIGN_OR_RETURN(const auto runtime, Runtime::Create({options.threads, options.cpu}));
  INK_ASSIGN_OR_RETURN(LoadedModel source, LoadModel(options.source, *runtime, EvaluateLimits(kWindow)));
  INK_ASSIGN_OR_RETURN(LoadedModel result, LoadModel(options.result, *runtime, EvaluateLimits(kWindow)));
  INK_ASSIGN_OR_RETURN(const auto tokenizer, Tokenizer::Load(*source.checkpoint));
  std::vector<EvaluationText> texts(1);
  texts[0] = {options.text_name, tokenizer->Encode(options.text, SpecialText::kPlain)};
  if (texts[0].tokens.size() < 2) return Status::Ok();  // nothing is left that calibration has not seen
  INK_ASSIGN_OR_RETURN(const EvaluationWindows windows, EvaluationWindows::Cut(std::move(texts), kWindow, kWindows));
  EvaluateOptions evaluate;
  evaluate.reference = &source;
  uint64_t done = 0;
  INK_ASSIGN_OR_RETURN(const EvaluationReport report, Evaluate(windows, result, *runtime, evaluate, [&](int64_t rows) {
                         done += static_cast<uint64_t>(rows);
                         progress(done, static_cast<uint64_t>(windows.rows()));
                       }));
  const Evaluation& all = report.all;
  const Divergence& d = *all.divergence;
  story->quality.push_back({options.text_name, all.scored, d.ReferencePerplexity().mean, all.Perplexity().mean,
                            d.kl.mean, d.kl.error, d.median, d.p99, d.top1_agreement.mean});
  return Status::Ok();
}

Result<std::string> Answer(Session& session, const std::string& prompt) {
  ChatPrompt chat;
  chat.messages.push_back({.role = "user", .content = prompt});
  GenerationRequest request;
  INK_ASSIGN_OR_RETURN(request.prompt, session.info().has_chat_template
                                           ? session.EncodeChat(chat)
                                           : Result(session.tokenizer().Encode(prompt, SpecialText::kPlain)));
  request.sampling.temperature = 0;
  request.max_tokens = kAnswerTokens;
  std::string text;
  std::promise<Status> done;
  auto finished = done.get_future();
  INK_ASSIGN_OR_RETURN([[maybe_unused]] const RequestId id,
                       session.engine().Submit(std::move(request), [&](GenerationEvent&& event) {
                         text += event.text;
                         if (event.finish) done.set_value(event.status);
                       }));
  INK_RETURN_IF_ERROR(finished.get());
  return text;
}

// One model after the other, so that only one is resident.
Status AddAnswers(const StoryOptions& options, CompressionStory* story) {
  for (const char* prompt : kPrompts) story->answers.push_back({prompt, "", ""});
  for (const bool source : {true, false}) {
    SessionOptions session_options;
    session_options.model = source ? options.source : options.result;
    session_options.threads = options.threads;
    session_options.cpu = options.cpu;
    session_options.context = 512;
    session_options.max_sequences = 1;
    INK_ASSIGN_OR_RETURN(const auto session, Session::Open(session_options));
    if (source) story->model = session->info().model_name;
    for (StoryAnswer& answer : story->answers) {
      INK_ASSIGN_OR_RETURN((source ? answer.source : answer.result), Answer(*session, answer.prompt));
    }
  }
  return Status::Ok();
}

}  // namespace

Result<CompressionStory> TellStory(const StoryOptions& options, const CalibratedReport& report,
                                   FunctionRef<void(uint64_t, uint64_t)> progress) {
  INK_ASSIGN_OR_RETURN(const Checkpoint source, Checkpoint::Open(options.source));
  CompressionStory story;
  story.output = options.result;
  story.parameters = report.file.parameters;
  story.source_bytes = report.file.source_bytes;
  story.result_bytes = report.file.tensor_bytes;
  story.sensitivity = report.sensitivity;
  story.options = options.asked;
  story.calibration_tokens = report.tokens;
  story.seconds = options.seconds;
  AddTensors(source, report, &story);
  AddCurve(report, &story);
  INK_RETURN_IF_ERROR(AddQuality(options, progress, &story));
  INK_RETURN_IF_ERROR(AddAnswers(options, &story));
  return story;
}

}  // namespace inkstone
