// A file that keeps a reference model's logits, so that candidates are compared without loading it again.
//
// Layout: a header (what the logits are of, with a checksum), a counter of finished windows, then for each scored
// position a record of fixed size: checksum, loss of the token that follows (f64, exact), encoded logits (logit_row.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "compress/checkpoint_facts.h"
#include "compress/evaluation_windows.h"
#include "core/status.h"

namespace inkstone {

// What a file must have been made of.
struct ReferenceContent {
  int64_t vocab = 0;
  int64_t window = 0;  // tokens of the longest
  int64_t windows = 0;
  int64_t rows = 0;
  uint64_t tokens_hash = 0;
  static ReferenceContent Of(const EvaluationWindows& windows, int64_t vocab);
};

// Whose logits they are.
struct ReferenceIdentity {
  CheckpointFacts model;
  std::string kernels;  // that computed them
};

class ReferenceLogits {
 public:
  // Buffers of one thread.
  struct Scratch {
    explicit Scratch(int64_t vocab);
    std::vector<std::byte> record;
    std::vector<float> logits;  // (vocab)
  };

  // A file to read. kInvalidArgument when it was made of something else, or is not complete; kDataLoss when it is no
  // such file, or damaged. Both name expected and found.
  static Result<ReferenceLogits> Open(const std::string& path, const ReferenceContent& content);
  // A file of this model and these kernels, complete or to be continued; creates it where there is none.
  // kUnavailable while another process writes it, kResourceExhausted when the disk is too small.
  static Result<ReferenceLogits> OpenOrCreate(const std::string& path, const ReferenceContent& content,
                                              const ReferenceIdentity& identity);
  // A file that vanishes with this object, or with the process.
  static Result<ReferenceLogits> CreateTemporary(const std::string& folder, const ReferenceContent& content,
                                                 const ReferenceIdentity& identity);

  ReferenceLogits(ReferenceLogits&& other) noexcept;
  ReferenceLogits& operator=(ReferenceLogits&& other) noexcept;
  ReferenceLogits(const ReferenceLogits&) = delete;
  ReferenceLogits& operator=(const ReferenceLogits&) = delete;
  ~ReferenceLogits();

  static size_t RecordBytes(int64_t vocab);

  const std::string& path() const { return path_; }
  const ReferenceContent& content() const { return content_; }
  const ReferenceIdentity& identity() const { return identity_; }
  int64_t windows_done() const { return windows_done_; }
  bool complete() const { return windows_done_ == content_.windows; }

  // Rows may be written and read from several threads, each with its own scratch. `logits` is (vocab), finite.
  Status Write(int64_t row, double loss, std::span<const float> logits, Scratch& scratch);
  // All rows of the next window have been written.
  Status FinishWindow();
  // Fills scratch.logits, and `loss`. kDataLoss when the record is damaged.
  Status Read(int64_t row, Scratch& scratch, double* loss) const;

 private:
  ReferenceLogits(std::string path, int fd) : path_(std::move(path)), fd_(fd) {}
  static Result<ReferenceLogits> OpenFile(const std::string& path, int flags);
  Status WriteHeader(const ReferenceContent& content, const ReferenceIdentity& identity);
  Status ReadHeader();
  Status CheckContent(const ReferenceContent& expected) const;
  Status CheckIdentity(const ReferenceIdentity& expected) const;
  uint64_t RecordAt(int64_t row) const;

  std::string path_;
  int fd_ = -1;
  ReferenceContent content_;
  ReferenceIdentity identity_;
  uint64_t seed_ = 0;  // of the records' checksums: the header's own
  int64_t windows_done_ = 0;
};

}  // namespace inkstone
