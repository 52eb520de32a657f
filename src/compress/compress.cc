#include "compress/compress.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <limits>
#include <memory>
#include <system_error>
#include <utility>

#include "compress/disk_space.h"
#include "compress/output_plan.h"
#include "compress/resume_journal.h"
#include "compress/value_check.h"
#include "compress/write_queue.h"
#include "core/cpu_topology.h"
#include "formats/checkpoint.h"
#include "formats/gguf_writer.h"
#include "model/tensor_loader.h"
#include "quant/codec.h"
#include "tokenizer/tokenizer.h"

namespace inkstone {
namespace {

// One piece is decoded, checked and encoded while it is in the first-level cache. A multiple of every block.
constexpr int64_t kPiece = 4096;
// Elements of one buffer on its way to the writer: 4 to 16 MiB.
constexpr int64_t kSlice = int64_t{4} << 20;
constexpr int kBuffers = 3;

// What the encoding threads found in one slice.
struct SliceFindings {
  std::atomic<int64_t> first_bad{std::numeric_limits<int64_t>::max()};  // index in the result
  std::atomic<int64_t> replaced{0};

  void AddBad(int64_t index) {
    int64_t seen = first_bad.load();
    while (index < seen && !first_bad.compare_exchange_weak(seen, index)) {
    }
  }
};

class Compressor {
 public:
  Compressor(const CompressOptions& options, const Checkpoint& checkpoint, ThreadPool* pool, WriteQueue* queue)
      : options_(options), checkpoint_(checkpoint), pool_(*pool), queue_(*queue) {}

  // `importance`: (columns) or null. Adds to *replaced before the last slice goes to the queue.
  Status WriteTensor(const PlannedTensor& tensor, const float* importance, int64_t* replaced,
                     FunctionRef<void(uint64_t bytes)> written);
  // The same with error feedback, for a matrix that `feedback` covers.
  Status WriteWithFeedback(const PlannedTensor& tensor, const float* importance, const LayerFeedback& feedback,
                           int64_t* replaced, FunctionRef<void(uint64_t bytes)> written);

 private:
  struct Piece {
    int64_t begin = 0;  // elements of the result
    int64_t end = 0;
  };
  int64_t LoadChecked(const PlannedTensor& tensor, Piece piece, float* values, SliceFindings* findings) const;
  void EncodePiece(const PlannedTensor& tensor, Piece piece, const float* importance, std::byte* dst,
                   SliceFindings* findings) const;
  void Load(const PlannedTensor& tensor, int64_t begin, int64_t end, float* values) const;
  void AdviseSlice(const PlannedTensor& tensor, int64_t begin, int64_t end, bool need) const;
  Status Describe(const PlannedTensor& tensor, int64_t index) const;

  const CompressOptions& options_;
  const Checkpoint& checkpoint_;
  ThreadPool& pool_;
  WriteQueue& queue_;
};

// Decodes elements [begin, end) of the result; begin is a multiple of kPiece.
void Compressor::Load(const PlannedTensor& tensor, int64_t begin, int64_t end, float* values) const {
  if (tensor.source == nullptr) {
    std::copy(tensor.values.begin() + begin, tensor.values.begin() + end, values);
    return;
  }
  const DType type = tensor.source->dtype;
  const std::byte* data = checkpoint_.Data(*tensor.source).data();
  if (tensor.interleaved_heads == 0) {
    DecodeRow(type, data + RowBytes(type, begin), end - begin, values);
    return;
  }
  // Row by row. Rows are whole blocks, so a row's parts begin at blocks as pieces do.
  const int64_t cols = tensor.elements() / tensor.output.shape[0];
  for (int64_t at = begin; at < end;) {
    const int64_t count = std::min(end - at, cols - at % cols);
    DecodeRow(type, data + RowBytes(type, tensor.SourceIndex(at)), count, values + (at - begin));
    at += count;
  }
}

// Values of a piece as they can be written. Returns how many were replaced by 0; -1 where `findings` says that one
// cannot be written.
int64_t Compressor::LoadChecked(const PlannedTensor& tensor, Piece piece, float* values,
                                SliceFindings* findings) const {
  const float limit = EncodeLimit(tensor.output.dtype);
  const auto [begin, end] = piece;
  const int64_t count = end - begin;
  Load(tensor, begin, end, values);
  int64_t replaced = 0;
  for (int64_t at = 0;; ++at) {
    const int64_t step = FirstBeyond(values + at, count - at, limit);
    if (step < 0) break;
    at += step;
    if (!options_.allow_nonfinite || std::isfinite(values[at])) {
      findings->AddBad(begin + at);
      return -1;
    }
    values[at] = 0.0f;
    ++replaced;
  }
  findings->replaced += replaced;
  return replaced;
}

void Compressor::EncodePiece(const PlannedTensor& tensor, Piece piece, const float* importance, std::byte* dst,
                             SliceFindings* findings) const {
  const DType type = tensor.output.dtype;
  const int64_t begin = piece.begin, count = piece.end - piece.begin;
  float values[kPiece];
  const int64_t replaced = LoadChecked(tensor, piece, values, findings);
  if (replaced < 0) return;
  const bool same = tensor.source != nullptr && tensor.source->dtype == type && tensor.interleaved_heads == 0;
  if (same && replaced == 0) {
    const std::byte* data = checkpoint_.Data(*tensor.source).data() + RowBytes(type, begin);
    std::memcpy(dst, data, static_cast<size_t>(RowBytes(type, count)));
  } else if (importance != nullptr) {
    const int64_t cols = tensor.output.cols();
    float weights[kPiece];
    for (int64_t at = 0; at < count; ++at) weights[at] = importance[(begin + at) % cols];
    EncodeRow(type, values, count, dst, weights);
  } else {
    EncodeRow(type, values, count, dst);
  }
}

// The whole tensor where its rows change order.
void Compressor::AdviseSlice(const PlannedTensor& tensor, int64_t begin, int64_t end, bool need) const {
  if (tensor.source == nullptr || begin >= end) return;
  const TensorInfo& source = *tensor.source;
  const MappedFile& file = checkpoint_.files()[static_cast<size_t>(source.file)];
  uint64_t offset = source.offset;
  uint64_t bytes = source.bytes;
  if (tensor.interleaved_heads == 0) {
    offset += static_cast<uint64_t>(RowBytes(source.dtype, begin));
    bytes = static_cast<uint64_t>(RowBytes(source.dtype, end - begin));
  } else if (need ? begin > 0 : end < tensor.elements()) {
    return;
  }
  if (need) {
    file.WillNeed(offset, bytes);
  } else {
    file.DontNeed(offset, bytes);
  }
}

Status Compressor::Describe(const PlannedTensor& tensor, int64_t index) const {
  float piece[kPiece];
  const int64_t begin = index / kPiece * kPiece;
  Load(tensor, begin, std::min(begin + kPiece, tensor.elements()), piece);
  const float value = piece[index - begin];
  return BadValue(checkpoint_, tensor.output.name, tensor.output.cols(), tensor.SourceIndex(index), value,
                  std::isfinite(value) ? ExpectedWithinLimit(tensor.output.dtype)
                                       : "finite values; allow non-finite values to have them written as 0");
}

Status Compressor::WriteTensor(const PlannedTensor& tensor, const float* importance, int64_t* replaced,
                               FunctionRef<void(uint64_t bytes)> written) {
  const int64_t elements = tensor.elements();
  const DType type = tensor.output.dtype;
  for (int64_t begin = 0; begin < elements; begin += kSlice) {
    const int64_t end = std::min(begin + kSlice, elements);
    if (begin == 0) AdviseSlice(tensor, begin, end, true);
    AdviseSlice(tensor, end, std::min(end + kSlice, elements), true);
    INK_ASSIGN_OR_RETURN(std::vector<std::byte> buffer,
                         queue_.Acquire(static_cast<size_t>(RowBytes(type, end - begin))));
    SliceFindings findings;
    const int64_t pieces = (end - begin + kPiece - 1) / kPiece;
    pool_.ParallelFor(pieces, 16, [&](int64_t first, int64_t last, int) {
      for (int64_t p = first; p < last; ++p) {
        const int64_t from = begin + p * kPiece;
        EncodePiece(tensor, {from, std::min(from + kPiece, end)}, importance,
                    buffer.data() + RowBytes(type, from - begin), &findings);
      }
    });
    const int64_t bad = findings.first_bad.load();
    if (bad != std::numeric_limits<int64_t>::max()) return Describe(tensor, bad);
    *replaced += findings.replaced.load();
    AdviseSlice(tensor, begin, end, false);
    const uint64_t bytes = buffer.size();
    queue_.Submit(std::move(buffer));
    written(bytes);
  }
  return Status::Ok();
}

Status Compressor::WriteWithFeedback(const PlannedTensor& tensor, const float* importance,
                                     const LayerFeedback& feedback, int64_t* replaced,
                                     FunctionRef<void(uint64_t bytes)> written) {
  const int64_t rows = tensor.output.rows(), cols = tensor.output.cols();
  const DType type = tensor.output.dtype;
  std::vector<float> values(static_cast<size_t>(std::min(rows, LayerFeedback::kRows) * cols));
  for (int64_t row = 0; row < rows; row += LayerFeedback::kRows) {
    const int64_t count = std::min(LayerFeedback::kRows, rows - row);
    SliceFindings findings;
    const int64_t begin = row * cols, end = begin + count * cols;
    pool_.ParallelFor((end - begin + kPiece - 1) / kPiece, 16, [&](int64_t first, int64_t last, int) {
      for (int64_t p = first; p < last; ++p) {
        const int64_t from = p * kPiece;
        LoadChecked(tensor, {begin + from, std::min(begin + from + kPiece, end)}, values.data() + from, &findings);
      }
    });
    const int64_t bad = findings.first_bad.load();
    if (bad != std::numeric_limits<int64_t>::max()) return Describe(tensor, bad);
    *replaced += findings.replaced.load();
    INK_ASSIGN_OR_RETURN(std::vector<std::byte> buffer,
                         queue_.Acquire(static_cast<size_t>(RowBytes(type, end - begin))));
    const Rows x{values.data(), count, cols, cols};
    feedback.Encode(tensor.source->name, {type, x, importance, {}, buffer.data()});
    const uint64_t bytes = buffer.size();
    queue_.Submit(std::move(buffer));
    written(bytes);
  }
  AdviseSlice(tensor, 0, tensor.elements(), false);
  return Status::Ok();
}

// The part file and its journal.
class PartFile {
 public:
  struct Content {
    ResumeJournal journal;  // the inputs; progress is filled in
    Metadata metadata;
    std::vector<TensorInfo> tensors;
  };

  // Begins anew, or goes on with what is there when options.resume.
  static Result<PartFile> Open(const CompressOptions& options, const Content& content);

  // On the writer thread. `replaced` has for each tensor how many values were replaced up to its end.
  Status Append(std::span<const std::byte> bytes, std::span<const int64_t> replaced);
  // Gives the file its name.
  Status Finish();
  // To be called instead of Finish: removes everything, or keeps it for another run after a full disk.
  Status Fail(Status status);

  const ResumeJournal& journal() const { return journal_; }

 private:
  PartFile(const CompressOptions& options, GgufWriter writer, ResumeJournal journal)
      : options_(options), writer_(std::move(writer)), journal_(std::move(journal)), noted_(writer_.position()) {}

  const CompressOptions& options_;
  GgufWriter writer_;
  ResumeJournal journal_;  // as it is on the disk
  uint64_t noted_;         // position when it was written
};

Result<PartFile> PartFile::Open(const CompressOptions& options, const Content& content) {
  if (!options.resume) {
    ResumeJournal::Remove(options.output);
    INK_ASSIGN_OR_RETURN(GgufWriter writer, GgufWriter::Create(options.output, content.metadata, content.tensors));
    INK_RETURN_IF_ERROR(writer.Sync());
    INK_RETURN_IF_ERROR(content.journal.Write(options.output));
    return PartFile(options, std::move(writer), content.journal);
  }
  INK_ASSIGN_OR_RETURN(ResumeJournal journal, ResumeJournal::Read(options.output));
  INK_RETURN_IF_ERROR(journal.CheckSameInputs(content.journal));
  Result<GgufWriter> writer =
      GgufWriter::Resume(options.output, content.metadata, content.tensors, journal.complete_tensors);
  if (!writer.ok()) {
    return Status(StatusCode::kInvalidArgument,
                  "cannot resume: " + writer.status().message() + "; run without --resume to begin again");
  }
  return PartFile(options, std::move(writer).value(), std::move(journal));
}

Status PartFile::Append(std::span<const std::byte> bytes, std::span<const int64_t> replaced) {
  INK_RETURN_IF_ERROR(writer_.Append(bytes));
  const size_t complete = writer_.complete_tensors();
  if (complete == journal_.complete_tensors || complete == replaced.size()) return Status::Ok();
  if (writer_.position() - noted_ < options_.resume_step) return Status::Ok();
  INK_RETURN_IF_ERROR(writer_.Sync());
  ResumeJournal now = journal_;
  now.complete_tensors = complete;
  now.nonfinite_replaced = replaced[complete - 1];
  INK_RETURN_IF_ERROR(now.Write(options_.output));
  journal_ = std::move(now);
  noted_ = writer_.position();
  return Status::Ok();
}

Status PartFile::Finish() {
  INK_RETURN_IF_ERROR(writer_.Finish());
  ResumeJournal::Remove(options_.output);
  return Status::Ok();
}

Status PartFile::Fail(Status status) {
  if (status.code() == StatusCode::kResourceExhausted) {
    writer_.KeepPart();
    return ResourceExhausted(status.message() + "; make room and run the same with --resume to go on");
  }
  ResumeJournal::Remove(options_.output);
  return status;
}

Status AddTokenizer(const Checkpoint& checkpoint, Metadata* metadata) {
  INK_ASSIGN_OR_RETURN(const std::unique_ptr<Tokenizer> tokenizer, Tokenizer::Load(checkpoint));
  INK_ASSIGN_OR_RETURN(const TensorInfo* embedding, checkpoint.Require("token_embd.weight"));
  return tokenizer->ExportMetadata(static_cast<int32_t>(embedding->rows()), metadata);
}

std::string Folder(const std::string& path) {
  const std::string parent = std::filesystem::path(path).parent_path().string();
  return parent.empty() ? "." : parent;
}

// Every quantized matrix has weights of its columns; llama.cpp measures none for embedding and output.
Status CheckImportance(const CompressOptions& options, const Importance& importance, const OutputPlan& plan) {
  if (importance.empty()) return Status::Ok();
  const std::string where = options.importance.empty() ? "importance" : options.importance;
  for (const PlannedTensor& tensor : plan.tensors) {
    if (tensor.source == nullptr) continue;
    const std::string& name = tensor.source->name;
    if (tensor.output.shape.size() < 2 || IsFloat(tensor.output.dtype)) continue;
    const auto entry = importance.find(name);
    if (entry == importance.end()) {
      if (name == "token_embd.weight" || name == "output.weight") continue;
      return DataLoss(where + ": expected an entry for tensor '" + name + "', found none among " +
                      std::to_string(importance.size()) + "; is it of another model?");
    }
    const auto found = static_cast<int64_t>(entry->second.mean_square.size());
    if (found != tensor.output.cols()) {
      return DataLoss(where + ": entry of tensor '" + name + "': expected " + std::to_string(tensor.output.cols()) +
                      " columns, found " + std::to_string(found));
    }
  }
  return Status::Ok();
}

const float* WeightsFor(const PlannedTensor& tensor, const Importance& importance) {
  const auto entry = importance.find(tensor.source == nullptr ? tensor.output.name : tensor.source->name);
  return entry == importance.end() || tensor.output.shape.size() < 2 || IsFloat(tensor.output.dtype)
             ? nullptr
             : entry->second.mean_square.data();
}

// "ffn_up.weight" of "blk.3.ffn_up.weight".
std::string KindOf(const std::string& name) {
  if (!name.starts_with("blk.")) return name;
  const size_t dot = name.find('.', 4);
  return dot == std::string::npos ? name : name.substr(dot + 1);
}

void AddToGroup(const PlannedTensor& tensor, const std::string& kind, std::vector<TensorGroup>* groups) {
  const DType type = tensor.output.dtype;
  auto group = std::find_if(groups->begin(), groups->end(),
                            [&](const TensorGroup& g) { return g.kind == kind && g.type == type; });
  if (group == groups->end()) group = groups->insert(groups->end(), TensorGroup{kind, type});
  ++group->tensors;
  group->elements += tensor.elements();
  group->bytes += tensor.output.bytes;
}

CompressReport Summarize(const Checkpoint& checkpoint, const OutputPlan& output, const TypePlan& types) {
  CompressReport report;
  report.parameters = output.parameters;
  report.source_bytes = checkpoint.tensor_bytes();
  report.tensor_bytes = output.tensor_bytes;
  report.file_type = types.file_type;
  report.fallbacks = types.fallbacks;
  for (const PlannedTensor& tensor : output.tensors) {
    report.tensors.push_back(tensor.output);
    AddToGroup(tensor, KindOf(tensor.output.name), &report.groups);
    AddToGroup(tensor, "", &report.types);
  }
  std::stable_sort(report.types.begin(), report.types.end(),
                   [](const TensorGroup& a, const TensorGroup& b) { return a.bytes > b.bytes; });
  return report;
}

Result<Metadata> MakeMetadata(const CompressOptions& options, const Checkpoint& checkpoint, const CompressPlan& plan) {
  Metadata metadata = PlanMetadata(checkpoint, plan.types, plan.removed_layers);
  if (checkpoint.kind() == CheckpointKind::kHuggingFace && !options.skip_tokenizer) {
    INK_RETURN_IF_ERROR(AddTokenizer(checkpoint, &metadata));
  }
  for (const Metadata::Entry& entry : plan.metadata.entries()) metadata.SetView(entry.key, entry.value);
  return metadata;
}

Result<ResumeJournal> DescribeInputs(const CompressOptions& options, const Checkpoint& checkpoint,
                                     const Importance& importance) {
  ResumeJournal journal;
  INK_ASSIGN_OR_RETURN(journal.inputs, InputFilesOf(checkpoint));
  journal.importance = Fingerprint(importance);
  journal.allow_nonfinite = options.allow_nonfinite;
  return journal;
}

// Whether error feedback encodes the tensor; brings it to the tensor's layer.
Result<bool> CoveredByFeedback(const PlannedTensor& tensor, LayerFeedback* feedback) {
  if (feedback == nullptr || tensor.source == nullptr || IsFloat(tensor.output.dtype)) return false;
  const int layer = LayerOf(tensor.source->name);
  if (layer < 0) return false;
  if (layer > feedback->layer()) INK_RETURN_IF_ERROR(feedback->Advance(layer));
  return feedback->Covers(tensor.source->name);
}

// Encodes the tensors that `part` lacks. Returns how many values were written as 0 in all of them.
Result<int64_t> WriteTensors(const CompressOptions& options, const Checkpoint& checkpoint, const CompressPlan& plan,
                             const OutputPlan& output, PartFile* part, FunctionRef<void(const Progress&)> progress) {
  const size_t first = part->journal().complete_tensors;
  uint64_t done = 0;
  for (size_t i = 0; i < first; ++i) done += output.tensors[i].output.bytes;
  std::vector<int64_t> replaced(output.tensors.size(), part->journal().nonfinite_replaced);
  ThreadPool pool(options.threads > 0 ? options.threads : DefaultThreads());
  WriteQueue queue(kBuffers, [&](std::span<const std::byte> bytes) { return part->Append(bytes, replaced); });
  Compressor compressor(options, checkpoint, &pool, &queue);
  for (size_t i = first; i < output.tensors.size(); ++i) {
    const PlannedTensor& tensor = output.tensors[i];
    if (i > 0) replaced[i] = replaced[i - 1];
    const auto written = [&](uint64_t bytes) {
      done += bytes;
      progress({tensor.output.name, done, output.tensor_bytes});
    };
    const float* weights = WeightsFor(tensor, plan.importance);
    INK_ASSIGN_OR_RETURN(const bool covered, CoveredByFeedback(tensor, plan.feedback));
    INK_RETURN_IF_ERROR(covered ? compressor.WriteWithFeedback(tensor, weights, *plan.feedback, &replaced[i], written)
                                : compressor.WriteTensor(tensor, weights, &replaced[i], written));
  }
  INK_RETURN_IF_ERROR(queue.Drain());
  return replaced.back();
}

// Room for what is not there yet.
Status CheckRoom(const CompressOptions& options, uint64_t file_bytes) {
  std::error_code error;
  const uint64_t there = options.resume ? std::filesystem::file_size(options.output + ".part", error) : 0;
  return CheckDiskSpace(Folder(options.output), file_bytes - std::min(file_bytes, error ? 0 : there));
}

}  // namespace

bool IsOfModel(const Checkpoint& checkpoint, const std::string& path) {
  namespace fs = std::filesystem;
  std::error_code error;
  const auto same = [&](const fs::path& file) { return fs::equivalent(path, file, error); };
  for (const MappedFile& file : checkpoint.files()) {
    if (same(file.path())) return true;
  }
  if (checkpoint.kind() != CheckpointKind::kHuggingFace) return false;
  for (const char* name :
       {"config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja",
        "special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt", "model.safetensors.index.json"}) {
    if (same(fs::path(checkpoint.path()) / name)) return true;
  }
  return false;
}

Result<std::optional<OutputLock>> ClaimOutput(const CompressOptions& options, const Checkpoint& checkpoint) {
  if (options.dry_run) return std::optional<OutputLock>();
  if (options.output.empty()) return InvalidArgument("compress: no output file given");
  for (const std::string& path : options.side_outputs) {
    if (IsOfModel(checkpoint, path)) return InvalidArgument(path + ": is of the source, choose another file");
  }
  if (IsOfModel(checkpoint, options.output)) {
    return InvalidArgument(options.output + ": is the source itself, choose another output file");
  }
  INK_ASSIGN_OR_RETURN(OutputLock lock, OutputLock::Take(options.output));
  return std::optional<OutputLock>(std::move(lock));
}

Status CheckOutput(const CompressOptions& options, uint64_t file_bytes) {
  return options.dry_run ? Status::Ok() : CheckRoom(options, file_bytes);
}

Result<CompressReport> CompressAs(const CompressOptions& options, const Checkpoint& checkpoint,
                                  const CompressPlan& plan, FunctionRef<void(const Progress&)> progress) {
  INK_ASSIGN_OR_RETURN(const OutputPlan output, PlanOutput(checkpoint, plan.types, plan.removed_layers));
  INK_RETURN_IF_ERROR(CheckImportance(options, plan.importance, output));
  CompressReport report = Summarize(checkpoint, output, plan.types);
  PartFile::Content content;
  INK_ASSIGN_OR_RETURN(content.journal, DescribeInputs(options, checkpoint, plan.importance));
  INK_ASSIGN_OR_RETURN(content.metadata, MakeMetadata(options, checkpoint, plan));
  content.tensors = report.tensors;
  INK_ASSIGN_OR_RETURN(report.file_bytes, GgufWriter::FileBytes(content.metadata, content.tensors));
  INK_RETURN_IF_ERROR(CheckOutput(options, report.file_bytes));
  if (options.dry_run) return report;
  INK_ASSIGN_OR_RETURN(PartFile part, PartFile::Open(options, content));
  for (size_t i = 0; i < part.journal().complete_tensors; ++i) report.resumed_bytes += report.tensors[i].bytes;
  const Result<int64_t> replaced = WriteTensors(options, checkpoint, plan, output, &part, progress);
  Status status = replaced.ok() ? part.Finish() : replaced.status();
  if (!status.ok()) return part.Fail(std::move(status));
  report.nonfinite_replaced = *replaced;
  return report;
}

Result<CompressReport> Compress(const CompressOptions& options, FunctionRef<void(const Progress&)> progress) {
  INK_ASSIGN_OR_RETURN(const Checkpoint checkpoint, Checkpoint::Open(options.source));
  INK_ASSIGN_OR_RETURN(const std::optional<OutputLock> claim, ClaimOutput(options, checkpoint));
  CompressPlan plan;
  if (!options.importance.empty()) {
    INK_ASSIGN_OR_RETURN(plan.importance, ReadImportance(options.importance));
  }
  INK_ASSIGN_OR_RETURN(plan.types, PlanTypes(checkpoint, options.recipe, !plan.importance.empty()));
  return CompressAs(options, checkpoint, plan, progress);
}

}  // namespace inkstone
