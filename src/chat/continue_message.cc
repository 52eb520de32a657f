#include "chat/continue_message.h"

namespace inkstone {

Result<std::string> CutAfterMessage(std::string rendered, std::string_view message) {
  constexpr std::string_view kSpace = " \t\r\n\f\v";
  const size_t first = message.find_first_not_of(kSpace);
  const std::string_view from_text = first == std::string_view::npos ? std::string_view() : message.substr(first);
  const std::string_view bare = from_text.substr(0, from_text.find_last_not_of(kSpace) + 1);
  const size_t at = bare.empty() ? std::string::npos : rendered.rfind(bare);
  if (at == std::string::npos) {
    return InvalidArgument(
        "continue_final_message: the chat template does not write the last message as it is, so there is no place to "
        "go on from; expected a text without <think> tags and not only of spaces");
  }
  const bool whole = std::string_view(rendered).substr(at).starts_with(from_text);
  rendered.resize(at + (whole ? from_text.size() : bare.size()));
  return rendered;
}

}  // namespace inkstone
