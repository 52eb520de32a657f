#include "core/proc_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <utility>

namespace inkstone {

ProcFile::ProcFile(const std::string& path) : fd_(::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {}

ProcFile::ProcFile(ProcFile&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}

ProcFile::~ProcFile() {
  if (fd_ >= 0) ::close(fd_);
}

std::string_view ProcFile::Read() {
  if (fd_ < 0) return {};
  const ssize_t bytes = ::pread(fd_, buffer_.data(), buffer_.size(), 0);
  return {buffer_.data(), bytes > 0 ? static_cast<size_t>(bytes) : 0};
}

std::optional<uint64_t> ProcFile::ReadNumber() {
  const std::string_view text = Read();
  uint64_t value = 0;
  if (std::from_chars(text.data(), text.data() + text.size(), value).ec != std::errc()) return std::nullopt;
  return value;
}

uint64_t NumberAfter(std::string_view text, std::string_view key) {
  for (size_t at = text.find(key); at != std::string_view::npos; at = text.find(key, at + 1)) {
    std::string_view rest = text.substr(at + key.size());
    const bool whole = (at == 0 || text[at - 1] == '\n') && !rest.empty() && (rest[0] == ' ' || rest[0] == ':');
    if (!whole) continue;
    rest.remove_prefix(std::min(rest.find_first_of("0123456789"), rest.size()));
    uint64_t value = 0;
    std::from_chars(rest.data(), rest.data() + rest.size(), value);
    return value;
  }
  return 0;
}

}  // namespace inkstone
