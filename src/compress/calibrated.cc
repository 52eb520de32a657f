#include "compress/calibrated.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>
#include <memory>
#include <system_error>
#include <utility>

#include "compress/calibration_journal.h"
#include "compress/checkpoint_facts.h"
#include "compress/hash64.h"
#include "compress/resume_journal.h"
#include "compress/value_check.h"
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

Result<CalibrationKey> MakeKey(const Checkpoint& checkpoint, const Texts& texts, bool measures,
                               const KernelTable& kernels) {
  INK_ASSIGN_OR_RETURN(const CheckpointFacts facts, DescribeCheckpoint(checkpoint));
  INK_ASSIGN_OR_RETURN(const std::vector<InputFile> inputs, InputFilesOf(checkpoint));
  CalibrationKey key = {{"model", std::to_string(facts.fingerprint)}};
  for (const InputFile& input : inputs) {
    key.emplace_back("file", input.path + " of " + std::to_string(input.bytes) + " bytes, changed at " +
                                 std::to_string(input.modified_ns));
  }
  const auto describe = [](const TextWindows& w) {
    return std::to_string(w.count()) + " windows of " + std::to_string(w.window) + " tokens with hash " +
           std::to_string(Hash64(std::as_bytes(std::span(w.tokens)), 0));
  };
  key.emplace_back("text", describe(texts.windows));
  key.emplace_back("sample", measures ? describe(texts.sample) : "none");
  key.emplace_back("kernels", kernels.target);
  return key;
}

class Job {
 public:
  Job(const CalibratedOptions& options, const Checkpoint& checkpoint, Runtime& runtime,
      FunctionRef<void(const StageProgress&)> progress)
      : options_(options), checkpoint_(checkpoint), runtime_(runtime), progress_(progress) {}

  Result<CalibratedReport> Run();

 private:
  Status RunStages();
  // Refuses what cannot end well: values, output, size.
  Status Check();
  Status OpenJournal();
  Status Calibrate();
  Status Prune();
  Status ChooseTypes();
  Status Compress();
  bool Removed(const std::string& tensor) const;
  Status AddItem(const TensorInfo& tensor);
  Result<CompressReport> DryRun();
  Result<uint64_t> BytesBesideMatrices();
  Result<uint64_t> LeastBytes();
  void AddMetadata();

  const CalibratedOptions& options_;
  const Checkpoint& checkpoint_;
  Runtime& runtime_;
  FunctionRef<void(const StageProgress&)> progress_;
  Texts texts_;
  std::unique_ptr<LayerPass> pass_;
  std::optional<CalibrationJournal> journal_;  // of what is not a dry run
  CompressPlan plan_;
  CalibratedReport report_;
};

Status Job::Calibrate() {
  INK_ASSIGN_OR_RETURN(pass_,
                       LayerPass::Create(checkpoint_, runtime_, std::max(texts_.windows.window, texts_.sample.window)));
  CalibrationOptions options;
  if (WantsSize(options_)) options.sample = texts_.sample;
  options.types.assign(kChoices.begin(), kChoices.end());
  options.journal = journal_ ? &*journal_ : nullptr;
  options.resume = options_.compress.resume;
  Result<Calibration> result =
      inkstone::Calibrate(checkpoint_, *pass_, runtime_, texts_.windows, options, [&](int64_t done, int64_t total) {
        progress_({"Calibrating", static_cast<uint64_t>(done), static_cast<uint64_t>(total)});
      });
  if (result.status().code() == StatusCode::kResourceExhausted) {
    return ResourceExhausted(result.status().message() + "; make room and run the same with --resume to go on");
  }
  INK_ASSIGN_OR_RETURN(Calibration calibration, std::move(result));
  plan_.importance = std::move(calibration.importance);
  report_.sensitivity = std::move(calibration.sensitivity);
  report_.influence = std::move(calibration.influence);
  report_.resumed_layers = calibration.resumed_layers;
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

Result<CompressReport> Job::DryRun() {
  CompressOptions options = options_.compress;
  options.dry_run = true;
  return CompressAs(options, checkpoint_, plan_, [](const Progress&) {});
}

// Header, vectors and padding: what the file has beside the matrices of the plan.
Result<uint64_t> Job::BytesBesideMatrices() {
  INK_ASSIGN_OR_RETURN(const CompressReport report, DryRun());
  uint64_t matrices = 0, count = 0;
  for (const TensorInfo& tensor : report.tensors) {
    if (tensor.shape.size() < 2) continue;
    matrices += tensor.bytes;
    ++count;
  }
  return report.file_bytes - matrices + count * kAlignment;
}

Status Job::ChooseTypes() {
  if (!WantsSize(options_)) return Status::Ok();
  AddSensitivity(report_.sensitivity, &plan_.metadata);
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

// The smallest type for every matrix that is not pinned.
Result<uint64_t> Job::LeastBytes() {
  INK_ASSIGN_OR_RETURN(uint64_t least, BytesBesideMatrices());
  for (const TensorInfo& tensor : checkpoint_.tensors()) {
    if (tensor.shape.size() < 2) continue;
    INK_ASSIGN_OR_RETURN(const std::optional<DType> pinned, PinnedType(options_.compress.recipe.pins, tensor.name));
    const DType largest = TypeThatFits(pinned.value_or(DType::kF16), tensor.cols());
    int64_t bytes = RowBytes(largest, tensor.rows() * tensor.cols());
    for (const DType choice : kChoices) {
      if (pinned || tensor.cols() % Info(choice).block_elements != 0) continue;
      bytes = std::min(bytes, RowBytes(choice, tensor.rows() * tensor.cols()));
    }
    least += static_cast<uint64_t>(bytes);
  }
  return least;
}

Status Job::Check() {
  uint64_t bytes = 0;
  if (WantsSize(options_)) {
    INK_ASSIGN_OR_RETURN(plan_.types,
                         PlanTypes(checkpoint_, {DType::kF16, nullptr, options_.compress.recipe.pins}, true));
    INK_ASSIGN_OR_RETURN(const uint64_t least, LeastBytes());
    bytes = FileBudget(options_, Parameters(checkpoint_));
    if (bytes < least && !options_.prune) {
      return ResourceExhausted("compress: a file of " + FormatBytes(bytes) + " is too small: " + FormatBytes(least) +
                               " are the least that this model can have");
    }
  } else {
    INK_ASSIGN_OR_RETURN(plan_.types, PlanTypes(checkpoint_, options_.compress.recipe, true));
    INK_ASSIGN_OR_RETURN(const CompressReport report, DryRun());
    bytes = report.file_bytes;
  }
  INK_RETURN_IF_ERROR(CheckOutput(options_.compress, bytes));
  return CheckValues(checkpoint_, WantsSize(options_) ? DType::kF16 : DType::kF32, runtime_.threads());
}

Status Job::OpenJournal() {
  const std::string& output = options_.compress.output;
  if (options_.compress.dry_run) return Status::Ok();
  if (!options_.compress.resume) {
    CalibrationJournal::Remove(output);
    ResumeJournal::Remove(output);
    std::error_code error;
    std::filesystem::remove(output + ".part", error);  // of an earlier run, useless without its journal
  }
  INK_ASSIGN_OR_RETURN(CalibrationKey key, MakeKey(checkpoint_, texts_, WantsSize(options_), runtime_.kernels()));
  journal_.emplace(output, std::move(key), options_.journal_interval);
  return Status::Ok();
}

Status Job::Compress() {
  CompressOptions options = options_.compress;
  // An interrupted calibration has left no tensors yet.
  options.resume = options.resume && ResumeJournal::Exists(options.output);
  std::unique_ptr<LayerFeedback> feedback;
  if (options_.feedback && !options.dry_run) {
    INK_ASSIGN_OR_RETURN(feedback, LayerFeedback::Create(*pass_, runtime_, texts_.windows));
    plan_.feedback = feedback.get();
  }
  INK_ASSIGN_OR_RETURN(report_.file, CompressAs(options, checkpoint_, plan_, [&](const Progress& p) {
                         progress_({"Compressing", p.bytes_done, p.bytes_total});
                       }));
  return Status::Ok();
}

Status Job::RunStages() {
  INK_RETURN_IF_ERROR(Check());
  INK_ASSIGN_OR_RETURN(texts_, MakeWindows(checkpoint_, options_));
  INK_RETURN_IF_ERROR(OpenJournal());
  INK_RETURN_IF_ERROR(Calibrate());
  INK_RETURN_IF_ERROR(Prune());
  AddMetadata();
  INK_RETURN_IF_ERROR(ChooseTypes());
  return Compress();
}

Result<CalibratedReport> Job::Run() {
  const Status status = RunStages();
  // What a full disk stopped can be resumed, and what could not even be resumed is not this run's to remove.
  const std::string& output = options_.compress.output;
  const bool keep = status.code() == StatusCode::kResourceExhausted || ResumeJournal::Exists(output) ||
                    (options_.compress.resume && report_.tokens == 0);
  if (journal_ && !keep) CalibrationJournal::Remove(output);
  if (!status.ok()) return status;
  return std::move(report_);
}

}  // namespace

Result<CalibratedReport> CompressCalibrated(const CalibratedOptions& options,
                                            FunctionRef<void(const StageProgress&)> progress) {
  INK_ASSIGN_OR_RETURN(const Checkpoint checkpoint, Checkpoint::Open(options.compress.source));
  INK_ASSIGN_OR_RETURN(const std::optional<OutputLock> claim, ClaimOutput(options.compress, checkpoint));
  // Unpinned: another thread writes the file meanwhile.
  INK_ASSIGN_OR_RETURN(const auto runtime, Runtime::Create({options.compress.threads, options.cpu, Pinning::kOff}));
  return Job(options, checkpoint, *runtime, progress).Run();
}

}  // namespace inkstone
