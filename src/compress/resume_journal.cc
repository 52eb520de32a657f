#include "compress/resume_journal.h"

#include <sys/stat.h>

#include <boost/json.hpp>
#include <filesystem>
#include <system_error>
#include <utility>

#include "core/atomic_file.h"
#include "core/mapped_file.h"
#include "core/version.h"

namespace inkstone {
namespace {

namespace json = boost::json;

constexpr size_t kMaxBytes = 16u << 20;

json::array InputsToJson(const std::vector<InputFile>& inputs) {
  json::array out;
  for (const InputFile& input : inputs) {
    out.push_back(json::object{{"path", input.path}, {"bytes", input.bytes}, {"modified_ns", input.modified_ns}});
  }
  return out;
}

template <typename T>
bool Take(const json::object& object, std::string_view key, T* out) {
  const json::value* value = object.if_contains(key);
  if (value == nullptr) return false;
  json::result<T> converted = json::try_value_to<T>(*value);
  if (!converted) return false;
  *out = std::move(*converted);
  return true;
}

bool TakeInputs(const json::object& object, std::vector<InputFile>* inputs) {
  const json::value* value = object.if_contains("inputs");
  if (value == nullptr || !value->is_array()) return false;
  for (const json::value& entry : value->get_array()) {
    InputFile input;
    if (!entry.is_object()) return false;
    const json::object& fields = entry.get_object();
    if (!Take(fields, "path", &input.path) || !Take(fields, "bytes", &input.bytes) ||
        !Take(fields, "modified_ns", &input.modified_ns)) {
      return false;
    }
    inputs->push_back(std::move(input));
  }
  return true;
}

}  // namespace

Result<InputFile> InputFile::Of(const std::string& path) {
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0) return NotFound(path + ": cannot look up its size and age");
  const int64_t modified = int64_t{info.st_mtim.tv_sec} * 1'000'000'000 + info.st_mtim.tv_nsec;
  return InputFile{path, static_cast<uint64_t>(info.st_size), modified};
}

Result<std::vector<InputFile>> InputFilesOf(const Checkpoint& checkpoint) {
  std::vector<InputFile> inputs;
  for (const MappedFile& file : checkpoint.files()) {
    INK_ASSIGN_OR_RETURN(InputFile input, InputFile::Of(std::filesystem::absolute(file.path()).lexically_normal()));
    inputs.push_back(std::move(input));
  }
  return inputs;
}

std::string Fingerprint(const Importance& importance) {
  if (importance.empty()) return "";
  uint64_t hash = 0xcbf29ce484222325;
  const auto mix = [&](const void* data, size_t bytes) {
    for (size_t i = 0; i < bytes; ++i) hash = (hash ^ static_cast<const unsigned char*>(data)[i]) * 0x100000001b3;
  };
  for (const auto& [name, channels] : importance) {
    mix(name.c_str(), name.size() + 1);
    mix(channels.mean_square.data(), channels.mean_square.size() * sizeof(float));
  }
  return std::to_string(hash);
}

Status ResumeJournal::Write(const std::string& output) const {
  const json::object object{{"version", kVersion},
                            {"inputs", InputsToJson(inputs)},
                            {"importance", importance},
                            {"allow_nonfinite", allow_nonfinite},
                            {"complete_tensors", complete_tensors},
                            {"nonfinite_replaced", nonfinite_replaced}};
  const std::string text = json::serialize(object) + "\n";
  INK_ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::Create(PathFor(output)));
  INK_RETURN_IF_ERROR(file.Write(text.data(), text.size()));
  return file.Commit();
}

Result<ResumeJournal> ResumeJournal::Read(const std::string& output) {
  const std::string path = PathFor(output);
  const Result<MappedFile> file = MappedFile::Open(path);
  if (!file.ok()) {
    return NotFound(path + ": nothing to go on with (" + file.status().message() + "); run without --resume");
  }
  const Status malformed = DataLoss(path + ": expected what an unfinished 'inkstone compress' of version " + kVersion +
                                    " writes; run without --resume to begin again");
  if (file->size() > kMaxBytes) return malformed;
  boost::system::error_code error;
  const json::value value = json::parse({reinterpret_cast<const char*>(file->bytes().data()), file->size()}, error);
  if (error || !value.is_object()) return malformed;
  const json::object& object = value.get_object();
  ResumeJournal journal;
  std::string version;
  if (!Take(object, "version", &version) || version != kVersion || !TakeInputs(object, &journal.inputs) ||
      !Take(object, "importance", &journal.importance) || !Take(object, "allow_nonfinite", &journal.allow_nonfinite) ||
      !Take(object, "complete_tensors", &journal.complete_tensors) ||
      !Take(object, "nonfinite_replaced", &journal.nonfinite_replaced)) {
    return malformed;
  }
  return journal;
}

bool ResumeJournal::Exists(const std::string& output) {
  std::error_code error;
  return std::filesystem::exists(PathFor(output), error);
}

void ResumeJournal::Remove(const std::string& output) {
  std::error_code error;
  std::filesystem::remove(PathFor(output), error);
  std::filesystem::remove(PathFor(output) + ".part", error);  // of a run that was killed while it wrote
}

Status ResumeJournal::CheckSameInputs(const ResumeJournal& now) const {
  const auto changed = [](const std::string& what) {
    return InvalidArgument("cannot resume: " + what + "; run without --resume to begin again");
  };
  if (inputs.size() != now.inputs.size()) {
    return changed("the unfinished result was made from " + std::to_string(inputs.size()) + " files, found " +
                   std::to_string(now.inputs.size()));
  }
  for (size_t i = 0; i < inputs.size(); ++i) {
    const InputFile& then = inputs[i];
    const InputFile& found = now.inputs[i];
    if (then.path != found.path) return changed("it was made from " + then.path + ", not from " + found.path);
    if (then.bytes != found.bytes || then.modified_ns != found.modified_ns) return changed(found.path + " has changed");
  }
  if (importance != now.importance) return changed("it was made with another importance of the columns");
  if (allow_nonfinite != now.allow_nonfinite) return changed("--allow-nonfinite was given only once");
  return Status::Ok();
}

}  // namespace inkstone
