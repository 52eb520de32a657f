#include "cli/log_sink.h"

#include <poll.h>
#include <spdlog/pattern_formatter.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <climits>
#include <condition_variable>
#include <deque>
#include <string_view>
#include <thread>
#include <utility>

#include "core/printable.h"

namespace inkstone {
namespace {

constexpr int kPollMs = 200;
constexpr auto kFarewell = std::chrono::milliseconds(500);
constexpr size_t kWriteBytes = PIPE_BUF;  // what a pipe that is ready takes without waiting

const char* ColorOf(spdlog::level::level_enum level) {
  switch (level) {
    case spdlog::level::info:
      return "\033[32m";
    case spdlog::level::warn:
      return "\033[33m\033[1m";
    case spdlog::level::err:
    case spdlog::level::critical:
      return "\033[31m\033[1m";
    default:
      return "";
  }
}

}  // namespace

struct LogSink::Queue {
  void Push(std::string line);
  void Stop();
  // The thread's.
  void Run();

  explicit Queue(int descriptor) : fd(descriptor) {}

 private:
  bool Take(std::string* line);
  bool Write(std::string_view text);
  bool WaitUntilReady();

  const int fd;
  std::mutex mutex;
  std::condition_variable changed;
  std::deque<std::string> lines;
  size_t bytes = 0;
  size_t dropped = 0;
  bool stopping = false;
  bool done = false;
};

void LogSink::Queue::Push(std::string line) {
  const std::lock_guard lock(mutex);
  bytes += line.size();
  lines.push_back(std::move(line));
  while (bytes > kMostBytes && !lines.empty()) {
    bytes -= lines.front().size();
    lines.pop_front();
    ++dropped;
  }
  changed.notify_all();
}

void LogSink::Queue::Stop() {
  std::unique_lock lock(mutex);
  stopping = true;
  changed.notify_all();
  changed.wait_for(lock, kFarewell, [this] { return done; });
}

// The next line; false when there is none and none will come. What was dropped is told before the lines after it.
bool LogSink::Queue::Take(std::string* line) {
  std::unique_lock lock(mutex);
  changed.wait(lock, [this] { return stopping || dropped > 0 || !lines.empty(); });
  if (dropped > 0) {
    *line = "(" + std::to_string(std::exchange(dropped, 0)) + " lines of the log are lost: nobody read it)\n";
    return true;
  }
  if (lines.empty()) return false;
  bytes -= lines.front().size();
  *line = std::move(lines.front());
  lines.pop_front();
  return true;
}

// False when the sink is gone and the reader does not read.
bool LogSink::Queue::WaitUntilReady() {
  while (true) {
    pollfd ready{fd, POLLOUT, 0};
    if (::poll(&ready, 1, kPollMs) > 0) return true;
    const std::lock_guard lock(mutex);
    if (stopping) return false;
  }
}

// False when there is nobody to write to any more.
bool LogSink::Queue::Write(std::string_view text) {
  while (!text.empty()) {
    if (!WaitUntilReady()) return false;
    const ssize_t count = ::write(fd, text.data(), std::min(text.size(), kWriteBytes));
    if (count < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (count < 0) return true;  // the reader is gone or the disk is full: this line is lost, a later one may not be
    text.remove_prefix(static_cast<size_t>(count));
  }
  return true;
}

void LogSink::Queue::Run() {
  std::string line;
  while (Take(&line) && Write(line)) {
  }
  const std::lock_guard lock(mutex);
  done = true;
  changed.notify_all();
}

LogSink::LogSink(int fd, bool colors)
    : formatter_(std::make_unique<spdlog::pattern_formatter>()), queue_(std::make_shared<Queue>(fd)), colors_(colors) {
  std::thread([queue = queue_] { queue->Run(); }).detach();
}

LogSink::~LogSink() { queue_->Stop(); }

void LogSink::log(const spdlog::details::log_msg& message) {
  const std::string payload = Printable({message.payload.data(), message.payload.size()});
  spdlog::details::log_msg safe = message;
  safe.payload = payload;
  spdlog::memory_buf_t text;
  {
    const std::lock_guard lock(mutex_);
    formatter_->format(safe, text);
  }
  std::string line(text.data(), text.size());
  if (colors_ && safe.color_range_end > safe.color_range_start) {
    line.insert(safe.color_range_end, "\033[m");
    line.insert(safe.color_range_start, ColorOf(safe.level));
  }
  queue_->Push(std::move(line));
}

void LogSink::set_pattern(const std::string& pattern) {
  set_formatter(std::make_unique<spdlog::pattern_formatter>(pattern));
}

void LogSink::set_formatter(std::unique_ptr<spdlog::formatter> formatter) {
  const std::lock_guard lock(mutex_);
  formatter_ = std::move(formatter);
}

}  // namespace inkstone
