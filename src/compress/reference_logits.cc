#include "compress/reference_logits.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <utility>

#include "compress/disk_space.h"
#include "compress/hash64.h"
#include "compress/logit_row.h"
#include "core/units.h"

namespace inkstone {
namespace {

constexpr std::array<char, 8> kMagic = {'I', 'N', 'K', 'L', 'O', 'G', 'I', 'T'};
constexpr uint32_t kVersion = 1;
constexpr uint64_t kRecordsAt = 512;  // bytes from the start of the file
constexpr size_t kRecordHead = sizeof(uint64_t) + sizeof(double);

// As in the file, little-endian.
struct Header {
  std::array<char, 8> magic = kMagic;
  uint32_t version = kVersion;
  uint32_t exact_logits = kExactLogits;
  int64_t vocab = 0;
  int64_t window = 0;
  int64_t windows = 0;
  int64_t rows = 0;
  uint64_t tokens_hash = 0;
  uint64_t fingerprint = 0;
  uint64_t file_bytes = 0;
  uint64_t tensor_bytes = 0;
  uint64_t parameters = 0;
  std::array<char, 32> kernels{};
  std::array<char, 256> name{};
  uint64_t checksum = 0;  // of all before
};
static_assert(sizeof(Header) == 384);

// After the header; the only part that changes.
struct Counter {
  int64_t windows_done = 0;
  int64_t inverted = ~int64_t{0};
};
static_assert(sizeof(Header) + sizeof(Counter) <= kRecordsAt);

uint64_t Checksum(const Header& header) {
  return Hash64(std::as_bytes(std::span(&header, 1)).first(offsetof(Header, checksum)), 0);
}

template <size_t n>
void Store(const std::string& text, std::array<char, n>* field) {
  std::copy_n(text.begin(), std::min(text.size(), n - 1), field->begin());
}

// Shown in messages, so only what prints.
template <size_t n>
std::string Load(const std::array<char, n>& field) {
  std::string text(field.begin(), std::find(field.begin(), field.end(), '\0'));
  for (char& c : text) c = static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? '?' : c;
  return text;
}

Status WriteAt(int fd, const std::string& path, uint64_t offset, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      return ResourceExhausted(path + ": cannot write at " + std::to_string(offset) + ": " + std::strerror(errno));
    }
    offset += static_cast<uint64_t>(n);
    bytes = bytes.subspan(static_cast<size_t>(n));
  }
  return Status::Ok();
}

Status ReadAt(int fd, const std::string& path, uint64_t offset, std::span<std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::pread(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return DataLoss(path + ": cannot read at " + std::to_string(offset) + ": " + std::strerror(errno));
    if (n == 0) return DataLoss(path + ": ends at " + std::to_string(offset) + ", where logits were expected");
    offset += static_cast<uint64_t>(n);
    bytes = bytes.subspan(static_cast<size_t>(n));
  }
  return Status::Ok();
}

template <typename T>
std::span<std::byte> BytesOf(T* value) {
  return std::as_writable_bytes(std::span(value, 1));
}

Status Differs(const std::string& path, const std::string& what, const std::string& expected,
               const std::string& found) {
  return InvalidArgument(path + ": these reference logits are of another " + what + ": expected " + expected +
                         ", found " + found + "; remove the file or name another one");
}

std::string Describe(const CheckpointFacts& model) {
  char fingerprint[20];
  std::snprintf(fingerprint, sizeof(fingerprint), "%016llx", static_cast<unsigned long long>(model.fingerprint));
  return model.name + " (" + FormatBytes(model.file_bytes) + ", fingerprint " + fingerprint + ")";
}

}  // namespace

ReferenceContent ReferenceContent::Of(const EvaluationWindows& windows, int64_t vocab) {
  ReferenceContent content;
  content.vocab = vocab;
  content.window = windows.window();
  content.windows = static_cast<int64_t>(windows.windows().size());
  content.rows = windows.rows();
  content.tokens_hash = windows.hash();
  return content;
}

ReferenceLogits::Scratch::Scratch(int64_t vocab) : record(RecordBytes(vocab)), logits(static_cast<size_t>(vocab)) {}

size_t ReferenceLogits::RecordBytes(int64_t vocab) { return kRecordHead + EncodedLogitBytes(vocab); }

uint64_t ReferenceLogits::RecordAt(int64_t row) const {
  return kRecordsAt + static_cast<uint64_t>(row) * RecordBytes(content_.vocab);
}

ReferenceLogits::ReferenceLogits(ReferenceLogits&& other) noexcept
    : path_(std::move(other.path_)),
      fd_(std::exchange(other.fd_, -1)),
      content_(other.content_),
      identity_(std::move(other.identity_)),
      seed_(other.seed_),
      windows_done_(other.windows_done_) {}

ReferenceLogits& ReferenceLogits::operator=(ReferenceLogits&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(fd_, other.fd_);
  std::swap(content_, other.content_);
  std::swap(identity_, other.identity_);
  std::swap(seed_, other.seed_);
  std::swap(windows_done_, other.windows_done_);
  return *this;
}

ReferenceLogits::~ReferenceLogits() {
  if (fd_ >= 0) ::close(fd_);
}

Result<ReferenceLogits> ReferenceLogits::OpenFile(const std::string& path, int flags) {
  const int fd = ::open(path.c_str(), flags | O_CLOEXEC | O_NONBLOCK, 0644);
  if (fd < 0) return NotFound(path + ": cannot open: " + std::strerror(errno));
  ReferenceLogits logits(path, fd);
  struct stat info {};
  if (::fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) return InvalidArgument(path + ": expected a regular file");
  return logits;
}

Result<ReferenceLogits> ReferenceLogits::Open(const std::string& path, const ReferenceContent& content) {
  INK_ASSIGN_OR_RETURN(ReferenceLogits logits, OpenFile(path, O_RDONLY));
  INK_RETURN_IF_ERROR(logits.ReadHeader());
  INK_RETURN_IF_ERROR(logits.CheckContent(content));
  if (!logits.complete()) {
    return InvalidArgument(path + ": has " + std::to_string(logits.windows_done_) + " of " +
                           std::to_string(content.windows) + " windows; name the reference again to complete it");
  }
  return logits;
}

Result<ReferenceLogits> ReferenceLogits::OpenOrCreate(const std::string& path, const ReferenceContent& content,
                                                      const ReferenceIdentity& identity) {
  INK_ASSIGN_OR_RETURN(ReferenceLogits logits, OpenFile(path, O_RDWR | O_CREAT));
  if (::flock(logits.fd_, LOCK_EX | LOCK_NB) != 0) {
    return Unavailable(path + ": another process writes it; wait for it or name another file");
  }
  struct stat info {};
  ::fstat(logits.fd_, &info);
  if (info.st_size == 0) {
    const Status written = logits.WriteHeader(content, identity);
    if (!written.ok()) {
      ::unlink(path.c_str());
      return written;
    }
    return logits;
  }
  INK_RETURN_IF_ERROR(logits.ReadHeader());
  INK_RETURN_IF_ERROR(logits.CheckContent(content));
  INK_RETURN_IF_ERROR(logits.CheckIdentity(identity));
  return logits;
}

Result<ReferenceLogits> ReferenceLogits::CreateTemporary(const std::string& folder, const ReferenceContent& content,
                                                         const ReferenceIdentity& identity) {
  std::string path = folder + "/inkstone-reference-XXXXXX";
  const int fd = ::mkostemp(path.data(), O_CLOEXEC);
  if (fd < 0) return InvalidArgument(path + ": cannot create: " + std::strerror(errno));
  ::unlink(path.c_str());
  ReferenceLogits logits(path, fd);
  INK_RETURN_IF_ERROR(logits.WriteHeader(content, identity));
  return logits;
}

Status ReferenceLogits::WriteHeader(const ReferenceContent& content, const ReferenceIdentity& identity) {
  content_ = content;
  identity_ = identity;
  const std::string folder = std::filesystem::absolute(path_).parent_path().string();
  INK_RETURN_IF_ERROR(CheckDiskSpace(folder, RecordAt(content.rows)));
  Header header;
  header.vocab = content.vocab;
  header.window = content.window;
  header.windows = content.windows;
  header.rows = content.rows;
  header.tokens_hash = content.tokens_hash;
  header.fingerprint = identity.model.fingerprint;
  header.file_bytes = identity.model.file_bytes;
  header.tensor_bytes = identity.model.tensor_bytes;
  header.parameters = identity.model.parameters;
  Store(identity.kernels, &header.kernels);
  Store(identity.model.name, &header.name);
  seed_ = header.checksum = Checksum(header);
  Counter counter;
  std::array<std::byte, sizeof(header) + sizeof(counter)> bytes;
  std::memcpy(bytes.data(), &header, sizeof(header));
  std::memcpy(bytes.data() + sizeof(header), &counter, sizeof(counter));
  return WriteAt(fd_, path_, 0, bytes);
}

Status ReferenceLogits::ReadHeader() {
  Header header;
  Counter counter;
  INK_RETURN_IF_ERROR(ReadAt(fd_, path_, 0, BytesOf(&header)));
  if (header.magic != kMagic) return DataLoss(path_ + ": expected reference logits, found another kind of file");
  if (header.version != kVersion || header.exact_logits != kExactLogits) {
    return Unimplemented(path_ + ": expected version " + std::to_string(kVersion) + " of the format, found " +
                         std::to_string(header.version));
  }
  if (header.checksum != Checksum(header)) return DataLoss(path_ + ": the header is damaged (its checksum differs)");
  INK_RETURN_IF_ERROR(ReadAt(fd_, path_, sizeof(header), BytesOf(&counter)));
  if (counter.inverted != ~counter.windows_done || counter.windows_done < 0 || counter.windows_done > header.windows) {
    return DataLoss(path_ + ": expected a count of at most " + std::to_string(header.windows) + " windows, found " +
                    std::to_string(counter.windows_done));
  }
  content_ = {header.vocab, header.window, header.windows, header.rows, header.tokens_hash};
  identity_.model.name = Load(header.name);
  identity_.model.fingerprint = header.fingerprint;
  identity_.model.file_bytes = header.file_bytes;
  identity_.model.tensor_bytes = header.tensor_bytes;
  identity_.model.parameters = header.parameters;
  identity_.kernels = Load(header.kernels);
  seed_ = header.checksum;
  windows_done_ = counter.windows_done;
  return Status::Ok();
}

Status ReferenceLogits::CheckContent(const ReferenceContent& expected) const {
  const auto check = [&](const char* what, int64_t want, int64_t found) {
    return want == found ? Status::Ok() : Differs(path_, what, std::to_string(want), std::to_string(found));
  };
  INK_RETURN_IF_ERROR(check("vocabulary size", expected.vocab, content_.vocab));
  INK_RETURN_IF_ERROR(check("window length", expected.window, content_.window));
  INK_RETURN_IF_ERROR(check("number of windows", expected.windows, content_.windows));
  INK_RETURN_IF_ERROR(check("number of positions", expected.rows, content_.rows));
  if (expected.tokens_hash == content_.tokens_hash) return Status::Ok();
  char want[20];
  char found[20];
  std::snprintf(want, sizeof(want), "%016llx", static_cast<unsigned long long>(expected.tokens_hash));
  std::snprintf(found, sizeof(found), "%016llx", static_cast<unsigned long long>(content_.tokens_hash));
  return Differs(path_, "text or tokenizer", std::string("tokens with hash ") + want, found);
}

Status ReferenceLogits::CheckIdentity(const ReferenceIdentity& expected) const {
  if (expected.model.fingerprint != identity_.model.fingerprint) {
    return Differs(path_, "model", Describe(expected.model), Describe(identity_.model));
  }
  if (expected.kernels != identity_.kernels)
    return Differs(path_, "kernel target", expected.kernels, identity_.kernels);
  return Status::Ok();
}

Status ReferenceLogits::Write(int64_t row, double loss, std::span<const float> logits, Scratch& scratch) {
  const std::span<std::byte> record(scratch.record);
  std::memcpy(record.data() + sizeof(uint64_t), &loss, sizeof(loss));
  EncodeLogits(logits, scratch.logits, record.subspan(kRecordHead));
  const uint64_t checksum = Hash64(record.subspan(sizeof(uint64_t)), seed_ + static_cast<uint64_t>(row));
  std::memcpy(record.data(), &checksum, sizeof(checksum));
  return WriteAt(fd_, path_, RecordAt(row), record);
}

Status ReferenceLogits::FinishWindow() {
  ++windows_done_;
  Counter counter{windows_done_, ~windows_done_};
  return WriteAt(fd_, path_, sizeof(Header), BytesOf(&counter));
}

Status ReferenceLogits::Read(int64_t row, Scratch& scratch, double* loss) const {
  const std::span<std::byte> record(scratch.record);
  INK_RETURN_IF_ERROR(ReadAt(fd_, path_, RecordAt(row), record));
  uint64_t checksum;
  std::memcpy(&checksum, record.data(), sizeof(checksum));
  std::memcpy(loss, record.data() + sizeof(uint64_t), sizeof(*loss));
  const std::string where = path_ + ": position " + std::to_string(row) + ": ";
  if (checksum != Hash64(record.subspan(sizeof(uint64_t)), seed_ + static_cast<uint64_t>(row))) {
    return DataLoss(where + "damaged (its checksum differs); remove the file to compute it again");
  }
  if (!std::isfinite(*loss)) return DataLoss(where + "expected a finite loss, found " + std::to_string(*loss));
  const Status status = DecodeLogits(record.subspan(kRecordHead), scratch.logits);
  return status.ok() ? status : DataLoss(where + status.message());
}

}  // namespace inkstone
