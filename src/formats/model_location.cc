#include "formats/model_location.h"

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <fstream>
#include <string_view>
#include <system_error>
#include <vector>

namespace inkstone {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMostEntries = 10'000;  // of a folder that are looked at
constexpr size_t kMostNamed = 12;        // in a message
constexpr std::string_view kHubPrefix = "models--";

bool IsFolder(const fs::path& path) {
  std::error_code error;
  return fs::is_directory(path, error);
}
bool Exists(const fs::path& path) {
  std::error_code error;
  return fs::exists(path, error);
}

bool HasTensors(const fs::path& folder) {
  return Exists(folder / "model.safetensors") || Exists(folder / "model.safetensors.index.json");
}

// "-00002-of-00003.gguf" and so on: a part that is opened with its first.
bool IsLaterPart(const std::string& name) {
  constexpr size_t kSuffix = std::string_view("-00002-of-00003.gguf").size();
  if (name.size() <= kSuffix) return false;
  const std::string_view suffix = std::string_view(name).substr(name.size() - kSuffix);
  return suffix.substr(6, 4) == "-of-" && suffix.front() == '-' && suffix.substr(1, 5) != "00001";
}

// Names of the folder's entries that `wanted` accepts, sorted.
template <typename Wanted>
std::vector<std::string> Entries(const fs::path& folder, Wanted wanted) {
  std::vector<std::string> names;
  std::error_code error;
  size_t seen = 0;
  for (auto it = fs::directory_iterator(folder, error); !error && it != fs::directory_iterator(); it.increment(error)) {
    if (++seen > kMostEntries) break;
    if (wanted(*it)) names.push_back(it->path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

std::vector<std::string> GgufModels(const fs::path& folder) {
  return Entries(folder, [](const fs::directory_entry& entry) {
    std::error_code error;
    const std::string name = entry.path().filename().string();
    const bool vision = name.starts_with("mmproj");  // goes beside a model of text
    return entry.path().extension() == ".gguf" && entry.is_regular_file(error) && !IsLaterPart(name) && !vision;
  });
}

std::vector<std::string> Folders(const fs::path& folder, std::string_view prefix) {
  return Entries(folder, [prefix](const fs::directory_entry& entry) {
    std::error_code error;
    return entry.is_directory(error) && entry.path().filename().string().starts_with(prefix);
  });
}

Status Several(const fs::path& folder, const std::string& what, const std::vector<std::string>& names) {
  std::string list;
  for (size_t i = 0; i < std::min(names.size(), kMostNamed); ++i) list += (i == 0 ? "" : ", ") + names[i];
  if (names.size() > kMostNamed) list += ", ...";
  return InvalidArgument(folder.string() + ": expected one model, found " + std::to_string(names.size()) + " " + what +
                         ": " + list + "; name one of them, such as " + (folder / names.front()).string());
}

// The snapshot of a folder of the hub's cache.
Result<std::string> Snapshot(const fs::path& hub) {
  const fs::path snapshots = hub / "snapshots";
  std::ifstream in(hub / "refs" / "main");
  std::string main(64, '\0');  // a commit has 40 digits
  in.read(main.data(), static_cast<std::streamsize>(main.size()));
  main.resize(static_cast<size_t>(std::max<std::streamsize>(in.gcount(), 0)));
  main.erase(
      std::find_if(main.begin(), main.end(), [](char c) { return std::isalnum(static_cast<unsigned char>(c)) == 0; }),
      main.end());
  if (!main.empty() && IsFolder(snapshots / main)) return (snapshots / main).string();
  const std::vector<std::string> all = Folders(snapshots, "");
  if (all.size() == 1) return (snapshots / all[0]).string();
  if (all.empty()) return NotFound(snapshots.string() + ": expected a snapshot of the model, found none");
  return Several(snapshots, "snapshots", all);
}

Result<std::string> LocateInFolder(const fs::path& folder, int depth) {
  if (depth == 0 || HasTensors(folder)) return folder.string();
  const std::vector<std::string> files = GgufModels(folder);
  if (files.size() == 1) return (folder / files[0]).string();
  if (!files.empty()) return Several(folder, "GGUF models", files);
  if (IsFolder(folder / "snapshots")) {
    INK_ASSIGN_OR_RETURN(const std::string snapshot, Snapshot(folder));
    return LocateInFolder(snapshot, depth - 1);
  }
  if (Exists(folder / "config.json")) return folder.string();
  const std::vector<std::string> cached = Folders(folder, kHubPrefix);
  if (cached.size() == 1) return LocateInFolder(folder / cached[0], depth - 1);
  if (!cached.empty()) return Several(folder, "models of the Hugging Face cache", cached);
  std::vector<std::string> below = Folders(folder, "");
  std::erase_if(below, [&](const std::string& name) { return !HasTensors(folder / name); });
  if (below.size() == 1) return (folder / below[0]).string();
  if (!below.empty()) return Several(folder, "folders with models", below);
  return folder.string();
}

}  // namespace

Result<std::string> LocateModel(const std::string& path) {
  if (!IsFolder(path)) return path;
  constexpr int kDepth = 4;  // cache, model, snapshot, file
  return LocateInFolder(path, kDepth);
}

std::string ModelNameOf(const std::string& path) {
  std::error_code error;
  const fs::path full = fs::weakly_canonical(path, error);
  if (error) return path;
  const std::string hub = full.parent_path().parent_path().filename().string();
  if (full.parent_path().filename() == "snapshots" && hub.starts_with(kHubPrefix)) {
    const size_t last = hub.rfind("--");
    return last + 2 < hub.size() ? hub.substr(last + 2) : hub;
  }
  return full.filename().string();
}

}  // namespace inkstone
