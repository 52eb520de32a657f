#include "cli/model_path.h"

#include <cstdlib>
#include <filesystem>

namespace inkstone {
namespace fs = std::filesystem;
namespace {

std::string Environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

}  // namespace

std::string ModelFolder() {
  if (std::string folder = Environment("INKSTONE_MODELS"); !folder.empty()) return folder;
  if (const std::string data = Environment("XDG_DATA_HOME"); !data.empty()) return data + "/inkstone/models";
  return Environment("HOME") + "/.local/share/inkstone/models";
}

Result<std::string> ResolveModel(const std::string& name) {
  std::error_code ignored;
  if (fs::exists(name, ignored)) return name;
  const fs::path folder = ModelFolder();
  for (const fs::path& candidate : {folder / name, folder / (name + ".gguf")}) {
    if (fs::exists(candidate, ignored)) return candidate.string();
  }
  std::string known;
  for (const auto& entry : fs::directory_iterator(folder, ignored)) known += " " + entry.path().stem().string();
  return NotFound(name + ": no such file or folder, and no model of that name in " + folder.string() +
                  (known.empty() ? " (which has none)" : "; there are:" + known));
}

}  // namespace inkstone
