#include "compress/calibration_journal.h"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <span>
#include <system_error>
#include <type_traits>

#include "compress/hash64.h"
#include "core/atomic_file.h"
#include "core/mapped_file.h"
#include "core/version.h"

namespace inkstone {
namespace {

constexpr uint64_t kMagic = 0x314c41434b4e49ff;  // "INKCAL1" after a byte that is in no text
constexpr int kShareOfTime = 20;

// Length, then bytes, for each field; a checksum at the end.
class StateWriter {
 public:
  explicit StateWriter(AtomicFile* file) : file_(*file) {}

  void Bytes(std::span<const std::byte> bytes) {
    const uint64_t size = bytes.size();
    Raw(std::as_bytes(std::span(&size, 1)));
    Raw(bytes);
  }
  template <typename T>
  void Number(T value) {
    static_assert(std::is_arithmetic_v<T>);
    Bytes(std::as_bytes(std::span(&value, 1)));
  }
  template <typename T>
  void Values(const std::vector<T>& values) {
    Bytes(std::as_bytes(std::span(values)));
  }
  void Text(std::string_view text) { Bytes(std::as_bytes(std::span(text.data(), text.size()))); }

  Status Finish() {
    const uint64_t hash = hash_;
    Raw(std::as_bytes(std::span(&hash, 1)));
    INK_RETURN_IF_ERROR(status_);
    return file_.Commit();
  }

 private:
  void Raw(std::span<const std::byte> bytes) {
    hash_ = Hash64(bytes, hash_);
    if (status_.ok()) status_ = file_.Write(bytes);
  }

  AtomicFile& file_;
  uint64_t hash_ = kMagic;
  Status status_;
};

// Reads what StateWriter wrote. After a field that is not as expected, all others are empty and ok() is false.
class StateReader {
 public:
  explicit StateReader(std::span<const std::byte> bytes) : rest_(bytes) {}

  bool ok() const { return ok_; }
  // Whether everything was read and the checksum is right.
  bool AtEnd() {
    const uint64_t expected = hash_;
    uint64_t found = 0;
    if (!ok_ || rest_.size() != sizeof found) return false;
    std::memcpy(&found, rest_.data(), sizeof found);
    return found == expected;
  }
  template <typename T>
  std::vector<T> Values() {
    const std::span<const std::byte> bytes = Bytes();
    if (bytes.size() % sizeof(T) != 0) ok_ = false;
    std::vector<T> values(ok_ ? bytes.size() / sizeof(T) : 0);
    if (!values.empty()) std::memcpy(values.data(), bytes.data(), bytes.size());
    return values;
  }
  template <typename T>
  T Number() {
    const std::span<const std::byte> bytes = Bytes();
    T value{};
    if (bytes.size() != sizeof(T)) ok_ = false;
    if (ok_) std::memcpy(&value, bytes.data(), sizeof(T));
    return value;
  }
  std::string Text() {
    const std::span<const std::byte> bytes = Bytes();
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }
  // How many fields follow that belong together; each takes 8 bytes at least.
  uint64_t Count() {
    const auto count = Number<uint64_t>();
    if (count > rest_.size() / sizeof(uint64_t)) ok_ = false;
    return ok_ ? count : 0;
  }

 private:
  std::span<const std::byte> Raw(uint64_t size) {
    if (size > rest_.size()) ok_ = false;
    if (!ok_) return {};
    const auto taken = rest_.first(size);
    hash_ = Hash64(taken, hash_);
    rest_ = rest_.subspan(size);
    return taken;
  }
  std::span<const std::byte> Bytes() {
    uint64_t size = 0;
    const auto length = Raw(sizeof size);
    if (!ok_) return {};
    std::memcpy(&size, length.data(), sizeof size);
    return Raw(size);
  }

  std::span<const std::byte> rest_;
  uint64_t hash_ = kMagic;
  bool ok_ = true;
};

void PutState(const CalibrationState& state, StateWriter* out) {
  out->Number(state.layers);
  out->Number(state.progress);
  out->Number(uint8_t{state.complete});
  out->Values(state.hidden);
  out->Values(state.sample);
  out->Values(state.probes);
  out->Number(uint64_t{state.sums.size()});
  for (const auto& [name, sums] : state.sums) {
    out->Text(name);
    out->Values(sums.squares);
    out->Number(sums.rows);
  }
  out->Values(state.influence);
  out->Number(uint64_t{state.table.tensors.size()});
  for (const std::string& tensor : state.table.tensors) out->Text(tensor);
  out->Values(state.table.types);
  out->Values(state.table.divergence);
  out->Number(state.table.tokens);
}

CalibrationState TakeState(StateReader* in) {
  CalibrationState state;
  state.layers = in->Number<int64_t>();
  state.progress = in->Number<int64_t>();
  state.complete = in->Number<uint8_t>() != 0;
  state.hidden = in->Values<float>();
  state.sample = in->Values<float>();
  state.probes = in->Values<float>();
  for (uint64_t i = 0, count = in->Count(); i < count && in->ok(); ++i) {
    ChannelSums& sums = state.sums[in->Text()];
    sums.squares = in->Values<double>();
    sums.rows = in->Number<int64_t>();
  }
  state.influence = in->Values<double>();
  for (uint64_t i = 0, count = in->Count(); i < count && in->ok(); ++i) state.table.tensors.push_back(in->Text());
  state.table.types = in->Values<DType>();
  state.table.divergence = in->Values<float>();
  state.table.tokens = in->Number<int64_t>();
  return state;
}

Status BeginAgain(const std::string& what) { return InvalidArgument(what + "; run without --resume to begin again"); }

}  // namespace

CalibrationJournal::CalibrationJournal(std::string output, CalibrationKey key, std::chrono::nanoseconds interval)
    : output_(std::move(output)), key_(std::move(key)), interval_(interval), due_(Clock::now() + interval) {
  key_.insert(key_.begin(), {"version", kVersion});
}

bool CalibrationJournal::Exists(const std::string& output) {
  std::error_code error;
  return std::filesystem::exists(PathFor(output), error);
}

void CalibrationJournal::Remove(const std::string& output) {
  std::error_code error;
  std::filesystem::remove(PathFor(output), error);
  std::filesystem::remove(PathFor(output) + ".part", error);  // of a run that was killed while it wrote
}

Status CalibrationJournal::Write(const CalibrationState& state) {
  const Clock::time_point start = Clock::now();
  INK_ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::Create(PathFor(output_)));
  StateWriter out(&file);
  out.Number(kMagic);
  out.Number(uint64_t{key_.size()});
  for (const auto& [name, value] : key_) {
    out.Text(name);
    out.Text(value);
  }
  PutState(state, &out);
  INK_RETURN_IF_ERROR(out.Finish());
  const Clock::time_point end = Clock::now();
  due_ = end + std::max(interval_, kShareOfTime * (end - start));
  if (interval_ == Clock::duration::zero()) due_ = end;
  return Status::Ok();
}

Status CalibrationJournal::WriteIfDue(const CalibrationState& state) {
  if (Clock::now() < due_) return Status::Ok();
  Status status = Write(state);
  if (status.code() != StatusCode::kResourceExhausted) return status;
  due_ = Clock::time_point::max();
  return Status::Ok();
}

Result<CalibrationState> CalibrationJournal::Read() const {
  const std::string path = PathFor(output_);
  const Result<MappedFile> file = MappedFile::Open(path);
  if (!file.ok()) {
    return NotFound(path + ": nothing to go on with (" + file.status().message() + "); run without --resume");
  }
  const Status damaged = DataLoss(path + ": expected what an unfinished 'inkstone compress' of version " + kVersion +
                                  " writes; run without --resume to begin again");
  StateReader in(file->bytes());
  if (in.Number<uint64_t>() != kMagic) return damaged;
  const uint64_t count = in.Count();
  for (uint64_t i = 0; i < count && in.ok(); ++i) {
    const std::string name = in.Text(), value = in.Text();
    if (!in.ok()) break;
    if (i >= key_.size() || name != key_[i].first) return BeginAgain("cannot resume: " + path + " is of other inputs");
    if (value != key_[i].second) {
      return BeginAgain("cannot resume: the calibration so far was made with the " + name + " " + value +
                        ", expected " + key_[i].second);
    }
  }
  if (!in.ok() || count != key_.size()) return damaged;
  CalibrationState state = TakeState(&in);
  if (!in.AtEnd()) return damaged;
  return state;
}

}  // namespace inkstone
