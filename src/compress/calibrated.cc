#include "compress/calibrated.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <memory>
#include <utility>

#include "core/units.h"
#include "model/tensor_loader.h"
#include "tokenizer/tokenizer.h"

namespace inkstone {
namespace {

constexpr int64_t kWindow = 512;
constexpr int64_t kLeastWindow = 32;
constexpr int64_t kSampleWindow = 128;
// Arithmetic that measuring sensitivity may cost, in FLOP; it bounds the tokens of the sample.
constexpr double kProbeBudget = 3e13;
constexpr int64_t kMaxSample = 512;
constexpr uint64_t kAlignment = 32;  // of tensors in a file
// What a size may be spent on beside 16 bits, which count as without loss.
constexpr std::array<DType, 12> kChoices = {DType::kQ2_K, DType::kQ3_K, DType::kIQ4_XS, DType::kIQ4_NL,
                                            DType::kQ4_0, DType::kQ4_K, DType::kQ4_1,   DType::kQ5_0,
                                            DType::kQ5_K, DType::kQ5_1, DType::kQ6_K,   DType::kQ8_0};

struct Texts {
  size_t bytes = 0;  // of the text, up to the end of what is used
  TextWindows windows;
  TextWindows sample;  // what follows the windows, or where nothing follows a part of them
};

int64_t Matrices(const Checkpoint& checkpoint) {
  return std::count_if(checkpoint.tensors().begin(), checkpoint.tensors().end(),
                       [](const TensorInfo& t) { return t.shape.size() > 1; });
}

double Parameters(const Checkpoint& checkpoint) {
  double sum = 0;
  for (const TensorInfo& t : checkpoint.tensors()) sum += static_cast<double>(t.rows() * t.cols());
  return sum;
}

Result<Texts> MakeWindows(const Checkpoint& checkpoint, const CalibratedOptions& options) {
  INK_ASSIGN_OR_RETURN(const std::unique_ptr<Tokenizer> tokenizer, Tokenizer::Load(checkpoint));
  std::vector<int32_t> tokens = tokenizer->Encode(options.text, SpecialText::kPlain);
  const int64_t count = static_cast<int64_t>(tokens.size());
  if (count < 2 * kLeastWindow) {
    return InvalidArgument((options.text_name.empty() ? "calibration text" : options.text_name) +
                           ": expected at least " + std::to_string(2 * kLeastWindow) +
                           " tokens to calibrate on, found " + std::to_string(count));
  }
  // Each probe runs half the model on average.
  const double cost = static_cast<double>(Matrices(checkpoint)) * Parameters(checkpoint);
  const int64_t affordable = static_cast<int64_t>(kProbeBudget / cost) / kSampleWindow * kSampleWindow;
  const int64_t sample_window = std::min(kSampleWindow, count / 4);
  const int64_t sample = std::clamp(affordable, sample_window, std::min(kMaxSample, count / 4));
  Texts texts;
  texts.sample.window = sample_window;
  texts.windows.window = std::min(kWindow, count - sample);
  const int64_t used = std::min(std::max(options.tokens, texts.windows.window), count - sample) / texts.windows.window *
                       texts.windows.window;
  texts.windows.tokens.assign(tokens.begin(), tokens.begin() + used);
  texts.sample.tokens.assign(tokens.begin() + used, tokens.begin() + used + sample / sample_window * sample_window);
  const auto seen = std::span(tokens).first(texts.windows.tokens.size() + texts.sample.tokens.size());
  for (const int32_t token : seen) texts.bytes += tokenizer->TokenBytes(token).size();
  return texts;
}

bool WantsSize(const CalibratedOptions& o) { return o.size || o.bits_per_weight || o.share_of_16_bit; }

// Bytes that the file may have; `parameters` are those of the result.
uint64_t FileBudget(const CalibratedOptions& o, double parameters) {
  if (o.size) return *o.size;
  const double bits = o.bits_per_weight ? *o.bits_per_weight : 16 * *o.share_of_16_bit;
  return static_cast<uint64_t>(parameters * bits / 8);
}

class Job {
 public:
  Job(const CalibratedOptions& options, const Checkpoint& checkpoint, Runtime& runtime,
      FunctionRef<void(const StageProgress&)> progress)
      : options_(options), checkpoint_(checkpoint), runtime_(runtime), progress_(progress) {}

  Result<CalibratedReport> Run();

 private:
  Status Calibrate();
  Status Prune();
  Status ChooseTypes();
  bool Removed(const std::string& tensor) const;
  Status AddItem(const TensorInfo& tensor);
  Result<uint64_t> BytesBesideMatrices();
  void AddMetadata();

  const CalibratedOptions& options_;
  const Checkpoint& checkpoint_;
  Runtime& runtime_;
  FunctionRef<void(const StageProgress&)> progress_;
  Texts texts_;
  std::unique_ptr<LayerPass> pass_;
  CompressPlan plan_;
  CalibratedReport report_;
};

Status Job::Calibrate() {
  INK_ASSIGN_OR_RETURN(texts_, MakeWindows(checkpoint_, options_));
  INK_ASSIGN_OR_RETURN(pass_,
                       LayerPass::Create(checkpoint_, runtime_, std::max(texts_.windows.window, texts_.sample.window)));
  CalibrationOptions options;
  if (WantsSize(options_)) options.sample = texts_.sample;
  options.types.assign(kChoices.begin(), kChoices.end());
  INK_ASSIGN_OR_RETURN(
      Calibration calibration,
      inkstone::Calibrate(checkpoint_, *pass_, runtime_, texts_.windows, options, [&](int64_t done, int64_t total) {
        progress_({"Calibrating", static_cast<uint64_t>(done), static_cast<uint64_t>(total)});
      }));
  plan_.importance = std::move(calibration.importance);
  report_.sensitivity = std::move(calibration.sensitivity);
  report_.influence = std::move(calibration.influence);
  report_.tokens = static_cast<int64_t>(texts_.windows.tokens.size());
  report_.text_bytes = std::min(texts_.bytes, options_.text.size());
  if (options_.save_importance.empty()) return Status::Ok();
  return WriteImportance(options_.save_importance, plan_.importance, options_.text_name);
}

Status Job::Prune() {
  if (!options_.prune) return Status::Ok();
  INK_ASSIGN_OR_RETURN(report_.prune, PlanPrune(*pass_, runtime_, texts_.sample, report_.influence, *options_.prune));
  plan_.removed_layers = report_.prune->removed;
  return Status::Ok();
}

bool Job::Removed(const std::string& tensor) const {
  return std::binary_search(plan_.removed_layers.begin(), plan_.removed_layers.end(), LayerOf(tensor));
}

// The types that fit the tensor, with the loss that each costs.
Status Job::AddItem(const TensorInfo& tensor) {
  AllocationItem item{tensor.name, {}};
  const auto add = [&](DType type, double loss) {
    item.choices.push_back({type, static_cast<uint64_t>(RowBytes(type, tensor.rows() * tensor.cols())), loss});
  };
  INK_ASSIGN_OR_RETURN(const std::optional<DType> pinned, PinnedType(options_.compress.recipe.pins, tensor.name));
  const SensitivityTable& table = report_.sensitivity;
  const auto row = std::find(table.tensors.begin(), table.tensors.end(), tensor.name);
  if (pinned) {
    add(TypeThatFits(*pinned, tensor.cols()), 0);
  } else if (row != table.tensors.end() && !Removed(tensor.name)) {
    for (size_t t = 0; t < table.types.size(); ++t) {
      const float loss = table.at(static_cast<size_t>(row - table.tensors.begin()), t);
      if (std::isfinite(loss)) add(table.types[t], static_cast<double>(loss));
    }
  }
  if (!pinned) add(DType::kF16, 0);
  report_.items.push_back(std::move(item));
  return Status::Ok();
}

// Header, vectors and padding: what the file has beside the matrices of the plan.
Result<uint64_t> Job::BytesBesideMatrices() {
  CompressOptions options = options_.compress;
  options.dry_run = true;
  INK_ASSIGN_OR_RETURN(const CompressReport report, CompressAs(options, checkpoint_, plan_, [](const Progress&) {}));
  uint64_t matrices = 0, count = 0;
  for (const TensorInfo& tensor : report.tensors) {
    if (tensor.shape.size() < 2) continue;
    matrices += tensor.bytes;
    ++count;
  }
  return report.file_bytes - matrices + count * kAlignment;
}

Status Job::ChooseTypes() {
  const auto& pins = options_.compress.recipe.pins;
  if (!WantsSize(options_)) {
    INK_ASSIGN_OR_RETURN(plan_.types, PlanTypes(checkpoint_, options_.compress.recipe, true));
    return Status::Ok();
  }
  AddSensitivity(report_.sensitivity, &plan_.metadata);
  INK_ASSIGN_OR_RETURN(plan_.types, PlanTypes(checkpoint_, Recipe{DType::kF16, nullptr, pins}, true));
  INK_ASSIGN_OR_RETURN(const uint64_t beside, BytesBesideMatrices());
  double parameters = 0;
  std::vector<size_t> present;  // items of matrices that stay
  for (const TensorInfo& tensor : checkpoint_.tensors()) {
    if (!Removed(tensor.name)) parameters += static_cast<double>(tensor.rows() * tensor.cols());
    if (tensor.shape.size() < 2) continue;
    if (!Removed(tensor.name)) present.push_back(report_.items.size());
    INK_RETURN_IF_ERROR(AddItem(tensor));
  }
  std::vector<AllocationItem> items;
  items.reserve(present.size());
  for (const size_t i : present) items.push_back(report_.items[i]);
  const uint64_t budget = FileBudget(options_, parameters);
  if (budget <= beside) {
    return ResourceExhausted("compress: a file of " + FormatBytes(budget) + " is too small: " + FormatBytes(beside) +
                             " are taken by what is not in matrices");
  }
  INK_ASSIGN_OR_RETURN(const Allocation allocation, Allocate(items, budget - beside));
  report_.predicted_divergence = allocation.loss;
  // Matrices of removed layers need a type in the plan too, though none is written.
  std::map<std::string, size_t, std::less<>> chosen;
  for (size_t i = 0; i < present.size(); ++i) chosen[items[i].tensor] = allocation.chosen[i];
  Allocation all = allocation;
  all.chosen.clear();
  for (const AllocationItem& item : report_.items) {
    const auto found = chosen.find(item.tensor);
    all.chosen.push_back(found == chosen.end() ? 0 : found->second);
  }
  INK_ASSIGN_OR_RETURN(plan_.types, PlanTypes(checkpoint_, report_.items, all));
  return Status::Ok();
}

void Job::AddMetadata() {
  plan_.metadata.SetString("inkstone.calibration.text", options_.text_name);
  plan_.metadata.SetU32("inkstone.calibration.tokens", static_cast<uint32_t>(report_.tokens));
  plan_.metadata.SetBool("inkstone.calibration.feedback", options_.feedback);
  if (plan_.removed_layers.empty()) return;
  const std::vector<int32_t> removed(plan_.removed_layers.begin(), plan_.removed_layers.end());
  plan_.metadata.SetI32s("inkstone.pruned_layers", removed);
}

Result<CalibratedReport> Job::Run() {
  INK_RETURN_IF_ERROR(Calibrate());
  INK_RETURN_IF_ERROR(Prune());
  AddMetadata();
  INK_RETURN_IF_ERROR(ChooseTypes());
  std::unique_ptr<LayerFeedback> feedback;
  if (options_.feedback && !options_.compress.dry_run) {
    INK_ASSIGN_OR_RETURN(feedback, LayerFeedback::Create(*pass_, runtime_, texts_.windows));
    plan_.feedback = feedback.get();
  }
  INK_ASSIGN_OR_RETURN(report_.file, CompressAs(options_.compress, checkpoint_, plan_, [&](const Progress& p) {
                         progress_({"Compressing", p.bytes_done, p.bytes_total});
                       }));
  return std::move(report_);
}

}  // namespace

Result<CalibratedReport> CompressCalibrated(const CalibratedOptions& options,
                                            FunctionRef<void(const StageProgress&)> progress) {
  INK_ASSIGN_OR_RETURN(const Checkpoint checkpoint, Checkpoint::Open(options.compress.source));
  // Unpinned: another thread writes the file meanwhile.
  INK_ASSIGN_OR_RETURN(const auto runtime, Runtime::Create({options.compress.threads, options.cpu, Pinning::kOff}));
  return Job(options, checkpoint, *runtime, progress).Run();
}

}  // namespace inkstone
