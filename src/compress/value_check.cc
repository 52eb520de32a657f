#include "compress/value_check.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdio>
#include <limits>

#include "quant/codec.h"

namespace inkstone {
namespace {

constexpr int64_t kPiece = 4096;  // a multiple of every block

std::string Number(float value) {
  char text[32];
  std::snprintf(text, sizeof text, "%g", static_cast<double>(value));
  return text;
}

// The first index whose value is beyond `limit`, or -1.
int64_t FirstBad(const TensorInfo& tensor, const std::byte* data, float limit, ThreadPool& threads) {
  const int64_t elements = tensor.rows() * tensor.cols();
  std::atomic<int64_t> first{std::numeric_limits<int64_t>::max()};
  threads.ParallelFor((elements + kPiece - 1) / kPiece, 16, [&](int64_t begin, int64_t end, int) {
    float values[kPiece];
    for (int64_t at = begin * kPiece; at < std::min(end * kPiece, elements); at += kPiece) {
      const int64_t count = std::min(kPiece, elements - at);
      DecodeRow(tensor.dtype, data + RowBytes(tensor.dtype, at), count, values);
      const int64_t bad = FirstBeyond(values, count, limit);
      if (bad < 0) continue;
      int64_t seen = first.load();
      while (at + bad < seen && !first.compare_exchange_weak(seen, at + bad)) {
      }
      return;
    }
  });
  return first.load() == std::numeric_limits<int64_t>::max() ? -1 : first.load();
}

float ValueAt(const TensorInfo& tensor, const std::byte* data, int64_t index) {
  float piece[kPiece];
  const int64_t begin = index / kPiece * kPiece;
  const int64_t count = std::min(kPiece, tensor.rows() * tensor.cols() - begin);
  DecodeRow(tensor.dtype, data + RowBytes(tensor.dtype, begin), count, piece);
  return piece[index - begin];
}

}  // namespace

Status BadValue(const Checkpoint& checkpoint, const std::string& tensor, int64_t cols, int64_t index, float value,
                const std::string& expected) {
  return DataLoss(checkpoint.path() + ": tensor '" + tensor + "': found " + Number(value) + " at index " +
                  std::to_string(index) + " (row " + std::to_string(index / cols) + ", column " +
                  std::to_string(index % cols) + "), expected " + expected);
}

std::string ExpectedWithinLimit(DType type) {
  return "at most " + Number(EncodeLimit(type)) + " for " + std::string(Info(type).name) +
         "; write the file as BF16 instead";
}

Status CheckValues(const Checkpoint& checkpoint, DType type, ThreadPool& threads) {
  for (const TensorInfo& tensor : checkpoint.tensors()) {
    const MappedFile& file = checkpoint.files()[static_cast<size_t>(tensor.file)];
    file.WillNeed(tensor.offset, tensor.bytes);
    const std::byte* data = checkpoint.Data(tensor).data();
    const float limit = EncodeLimit(tensor.shape.size() > 1 ? type : DType::kF32);
    const int64_t bad = FirstBad(tensor, data, limit, threads);
    if (bad >= 0) {
      const float value = ValueAt(tensor, data, bad);
      return BadValue(checkpoint, tensor.name, tensor.cols(), bad, value,
                      std::isfinite(value)
                          ? ExpectedWithinLimit(type)
                          : "finite values to calibrate on; allow non-finite values with a simple type "
                            "such as BF16, which writes them as 0, and compress that file");
    }
    file.DontNeed(tensor.offset, tensor.bytes);
  }
  return Status::Ok();
}

}  // namespace inkstone
