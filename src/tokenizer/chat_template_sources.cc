#include "tokenizer/chat_template_sources.h"

#include <filesystem>
#include <system_error>
#include <utility>
#include <vector>

#include "formats/tensor_layout.h"

namespace inkstone {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kDefault = "default";
constexpr std::string_view kKey = "tokenizer.chat_template";
constexpr std::string_view kNamesKey = "tokenizer.chat_templates";
constexpr size_t kMaxTemplates = 64;
constexpr size_t kMaxFileBytes = 1 << 20;

Status ReadTemplate(const fs::path& path, std::string name, ChatTemplateSources* sources) {
  INK_ASSIGN_OR_RETURN(std::string text, ReadTextInput(path.string(), "a chat template", kMaxFileBytes));
  sources->insert_or_assign(std::move(name), std::move(text));
  return Status::Ok();
}

}  // namespace

std::string_view MainTemplate(const ChatTemplateSources& sources) {
  if (const auto found = sources.find(kDefault); found != sources.end()) return found->second;
  return sources.size() == 1 ? std::string_view(sources.begin()->second) : std::string_view();
}

Result<ChatTemplateSources> TemplatesOfFolder(const std::string& folder) {
  ChatTemplateSources sources;
  std::error_code error;
  const fs::path main = fs::path(folder) / "chat_template.jinja";
  if (fs::exists(main, error)) INK_RETURN_IF_ERROR(ReadTemplate(main, std::string(kDefault), &sources));
  fs::directory_iterator files(fs::path(folder) / "additional_chat_templates", error);
  for (; !error && files != fs::directory_iterator(); files.increment(error)) {
    const fs::path& path = files->path();
    if (path.extension() != ".jinja") continue;
    if (sources.size() == kMaxTemplates) {
      return DataLoss(path.parent_path().string() + ": expected at most " + std::to_string(kMaxTemplates) +
                      " chat templates");
    }
    INK_RETURN_IF_ERROR(ReadTemplate(path, path.stem().string(), &sources));
  }
  return sources;
}

Result<ChatTemplateSources> TemplatesOfMetadata(const Metadata& metadata) {
  ChatTemplateSources sources;
  INK_ASSIGN_OR_RETURN(const std::string_view main, metadata.GetStringOr(kKey, ""));
  if (!main.empty()) sources.emplace(kDefault, main);
  std::vector<std::string> names = {std::string(kToolUseTemplate)};  // is taken also where no list names it
  if (metadata.Find(kNamesKey) != nullptr) {
    INK_ASSIGN_OR_RETURN(const auto listed, metadata.GetStrings(kNamesKey));
    for (const std::string_view name : listed.subspan(0, std::min(listed.size(), kMaxTemplates)))
      names.emplace_back(name);
  }
  for (const std::string& name : names) {
    INK_ASSIGN_OR_RETURN(const std::string_view text, metadata.GetStringOr(std::string(kKey) + "." + name, ""));
    if (!text.empty()) sources.emplace(name, text);
  }
  return sources;
}

void ExportTemplates(const ChatTemplateSources& sources, Metadata* metadata) {
  std::vector<std::string> names;
  for (const auto& [name, text] : sources) {
    if (name == kDefault) {
      metadata->SetString(kKey, text);
    } else {
      names.push_back(name);
      metadata->SetString(std::string(kKey) + "." + name, text);
    }
  }
  if (!names.empty()) metadata->SetStrings(kNamesKey, names);
}

}  // namespace inkstone
