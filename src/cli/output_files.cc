#include "cli/output_files.h"

#include <filesystem>
#include <system_error>

#include "core/locked_file.h"

namespace inkstone {
namespace {

namespace fs = std::filesystem;

bool SameFile(const std::string& a, const std::string& b) {
  std::error_code error;
  if (fs::equivalent(a, b, error)) return true;
  return fs::weakly_canonical(a, error) == fs::weakly_canonical(b, error);
}

Status CheckAgainst(const NamedFile& output, const NamedFile& other) {
  if (other.path.empty() || !SameFile(output.path, other.path)) return Status::Ok();
  return InvalidArgument(output.option + ": " + output.path + " is the file of " + other.option +
                         " too, choose another one");
}

}  // namespace

Status CheckOutputFiles(const std::vector<NamedFile>& outputs, const std::vector<NamedFile>& inputs) {
  for (size_t i = 0; i < outputs.size(); ++i) {
    if (outputs[i].path.empty()) continue;
    INK_RETURN_IF_ERROR(OutputTarget(outputs[i].path).status());
    for (size_t j = 0; j < i; ++j) INK_RETURN_IF_ERROR(CheckAgainst(outputs[i], outputs[j]));
    for (const NamedFile& input : inputs) INK_RETURN_IF_ERROR(CheckAgainst(outputs[i], input));
  }
  return Status::Ok();
}

}  // namespace inkstone
