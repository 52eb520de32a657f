#include "compress/compress.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <limits>
#include <memory>
#include <system_error>
#include <utility>

#include "compress/disk_space.h"
#include "compress/output_plan.h"
#include "compress/write_queue.h"
#include "core/cpu_topology.h"
#include "formats/checkpoint.h"
#include "formats/gguf_writer.h"
#include "quant/codec.h"
#include "tokenizer/tokenizer.h"

namespace inkstone {
namespace {

// One piece is decoded, checked and encoded while it is in the first-level cache. A multiple of every block.
constexpr int64_t kPiece = 4096;
// Elements of one buffer on its way to the writer: 4 to 16 MiB.
constexpr int64_t kSlice = int64_t{4} << 20;
constexpr int kBuffers = 3;
// Header and metadata: a large vocabulary with its merges takes about 8 MB.
constexpr uint64_t kHeaderReserve = 16u << 20;

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

  Status WriteTensor(const PlannedTensor& tensor, FunctionRef<void(uint64_t bytes)> written);
  int64_t replaced() const { return replaced_; }

 private:
  void EncodePiece(const PlannedTensor& tensor, int64_t begin, int64_t end, std::byte* dst, SliceFindings* findings);
  void Load(const PlannedTensor& tensor, int64_t begin, int64_t end, float* values) const;
  void AdviseSlice(const PlannedTensor& tensor, int64_t begin, int64_t end, bool need) const;
  Status Describe(const PlannedTensor& tensor, int64_t index) const;

  const CompressOptions& options_;
  const Checkpoint& checkpoint_;
  ThreadPool& pool_;
  WriteQueue& queue_;
  int64_t replaced_ = 0;
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

void Compressor::EncodePiece(const PlannedTensor& tensor, int64_t begin, int64_t end, std::byte* dst,
                             SliceFindings* findings) {
  const DType type = tensor.output.dtype;
  const float limit = EncodeLimit(type);
  const int64_t count = end - begin;
  float values[kPiece];
  Load(tensor, begin, end, values);
  int64_t replaced = 0;
  for (int64_t at = 0;; ++at) {
    const int64_t step = FirstBeyond(values + at, count - at, limit);
    if (step < 0) break;
    at += step;
    if (!options_.allow_nonfinite || std::isfinite(values[at])) return findings->AddBad(begin + at);
    values[at] = 0.0f;
    ++replaced;
  }
  findings->replaced += replaced;
  const bool same = tensor.source != nullptr && tensor.source->dtype == type && tensor.interleaved_heads == 0;
  if (same && replaced == 0) {
    const std::byte* data = checkpoint_.Data(*tensor.source).data() + RowBytes(type, begin);
    std::memcpy(dst, data, static_cast<size_t>(RowBytes(type, count)));
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
  const int64_t at = tensor.SourceIndex(index);
  const int64_t cols = tensor.output.cols();
  char text[32];
  std::snprintf(text, sizeof text, "%g", static_cast<double>(value));
  const std::string where = checkpoint_.path() + ": tensor '" + tensor.output.name + "': found " + text + " at index " +
                            std::to_string(at) + " (row " + std::to_string(at / cols) + ", column " +
                            std::to_string(at % cols) + ")";
  if (!std::isfinite(value)) {
    return DataLoss(where + ", expected finite values; allow non-finite values to have them written as 0");
  }
  std::snprintf(text, sizeof text, "%g", static_cast<double>(EncodeLimit(tensor.output.dtype)));
  return DataLoss(where + ", expected at most " + text + " for " + std::string(Info(tensor.output.dtype).name) +
                  "; write the file as BF16 instead");
}

Status Compressor::WriteTensor(const PlannedTensor& tensor, FunctionRef<void(uint64_t bytes)> written) {
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
        EncodePiece(tensor, from, std::min(from + kPiece, end), buffer.data() + RowBytes(type, from - begin),
                    &findings);
      }
    });
    const int64_t bad = findings.first_bad.load();
    if (bad != std::numeric_limits<int64_t>::max()) return Describe(tensor, bad);
    replaced_ += findings.replaced.load();
    AdviseSlice(tensor, begin, end, false);
    const uint64_t bytes = buffer.size();
    queue_.Submit(std::move(buffer));
    written(bytes);
  }
  return Status::Ok();
}

Status CheckOutput(const CompressOptions& options, const Checkpoint& checkpoint) {
  namespace fs = std::filesystem;
  std::error_code error;
  if (options.output.empty()) return InvalidArgument("compress: no output file given");
  if (fs::is_directory(options.output, error)) {
    return InvalidArgument(options.output + ": is a folder, expected the name of a GGUF file");
  }
  for (const MappedFile& file : checkpoint.files()) {
    if (fs::equivalent(options.output, file.path(), error)) {
      return InvalidArgument(options.output + ": is the source itself, choose another output file");
    }
  }
  return Status::Ok();
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

}  // namespace

Result<CompressReport> Compress(const CompressOptions& options, FunctionRef<void(const Progress&)> progress) {
  if (!CanEncode(options.type)) {
    return InvalidArgument("compress: cannot write " + std::string(Info(options.type).name) +
                           ", expected F32, F16, BF16, Q8_0, Q4_0 or Q4_1");
  }
  INK_ASSIGN_OR_RETURN(const Checkpoint checkpoint, Checkpoint::Open(options.source));
  INK_RETURN_IF_ERROR(CheckOutput(options, checkpoint));
  INK_ASSIGN_OR_RETURN(const OutputPlan plan, PlanOutput(checkpoint, options.type));
  INK_RETURN_IF_ERROR(CheckDiskSpace(Folder(options.output), plan.tensor_bytes + kHeaderReserve));
  Metadata metadata = PlanMetadata(checkpoint, options.type);
  if (checkpoint.kind() == CheckpointKind::kHuggingFace && !options.skip_tokenizer) {
    INK_RETURN_IF_ERROR(AddTokenizer(checkpoint, &metadata));
  }
  std::vector<TensorInfo> tensors;
  for (const PlannedTensor& tensor : plan.tensors) tensors.push_back(tensor.output);
  INK_ASSIGN_OR_RETURN(GgufWriter writer, GgufWriter::Create(options.output, metadata, std::move(tensors)));

  CompressReport report;
  {
    ThreadPool pool(options.threads > 0 ? options.threads : DefaultThreads());
    WriteQueue queue(kBuffers, [&](std::span<const std::byte> bytes) { return writer.Append(bytes); });
    Compressor compressor(options, checkpoint, &pool, &queue);
    uint64_t done = 0;
    for (const PlannedTensor& tensor : plan.tensors) {
      INK_RETURN_IF_ERROR(compressor.WriteTensor(tensor, [&](uint64_t bytes) {
        done += bytes;
        progress({tensor.output.name, done, plan.tensor_bytes});
      }));
    }
    INK_RETURN_IF_ERROR(queue.Drain());
    report.nonfinite_replaced = compressor.replaced();
  }
  INK_RETURN_IF_ERROR(writer.Finish());
  report.parameters = plan.parameters;
  report.source_bytes = checkpoint.tensor_bytes();
  report.tensor_bytes = plan.tensor_bytes;
  report.file_bytes = writer.total_bytes();
  report.kept_f16 = plan.kept_f16;
  return report;
}

Result<DType> PresetType(std::string_view preset) {
  if (preset == "int8") return DType::kQ8_0;
  return InvalidArgument("unknown preset '" + std::string(preset) + "', expected int8");
}

}  // namespace inkstone
