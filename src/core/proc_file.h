// A file of /proc or /sys that is read again and again: it stays open.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace inkstone {

class ProcFile {
 public:
  // A file that cannot be opened reads as empty, as on systems that do not have it.
  explicit ProcFile(const std::string& path);
  ProcFile(ProcFile&& other) noexcept;
  ProcFile(const ProcFile&) = delete;
  ProcFile& operator=(ProcFile&&) = delete;
  ProcFile& operator=(const ProcFile&) = delete;
  ~ProcFile();

  bool ok() const { return fd_ >= 0; }
  // What it says now, its first 8 KiB; valid until the next call.
  std::string_view Read();
  // The number it begins with; nothing for "max", or without a file.
  std::optional<uint64_t> ReadNumber();

 private:
  int fd_;
  std::array<char, 8192> buffer_;
};

// The number after `key` at the beginning of a line ("MemTotal:  123 kB", "inactive_file 45"); 0 when absent.
uint64_t NumberAfter(std::string_view text, std::string_view key);

}  // namespace inkstone
