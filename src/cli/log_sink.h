// The log of `inkstone serve`: lines go to a descriptor that nobody may be reading, and nobody waits for it.
#pragma once

#include <spdlog/formatter.h>
#include <spdlog/sinks/sink.h>

#include <cstddef>
#include <memory>
#include <mutex>
#include <string>

namespace inkstone {

// Lines wait for a thread of the sink's own, which writes them as the reader takes them. When kMostBytes wait, the
// oldest are dropped, and a line says how many as soon as there is room. What a line says is escaped by Printable, so
// that a request cannot forge a second line or speak to the terminal.
class LogSink : public spdlog::sinks::sink {
 public:
  static constexpr size_t kMostBytes = 256 << 10;

  // The descriptor stays the caller's. `colors`: levels in the colors of a terminal.
  explicit LogSink(int fd, bool colors = false);
  // Gives what waits a moment to be written; then it is lost.
  ~LogSink() override;

  void log(const spdlog::details::log_msg& message) override;
  void flush() override {}  // lines are on their way as soon as they are logged
  void set_pattern(const std::string& pattern) override;
  void set_formatter(std::unique_ptr<spdlog::formatter> formatter) override;

 private:
  struct Queue;

  std::mutex mutex_;  // of the formatter
  std::unique_ptr<spdlog::formatter> formatter_;
  std::shared_ptr<Queue> queue_;  // the thread's too, which may outlive the sink while it is stuck in a write
  bool colors_;
};

}  // namespace inkstone
