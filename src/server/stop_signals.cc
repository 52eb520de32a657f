#include "server/stop_signals.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstring>
#include <string>

namespace inkstone {
namespace {

// What a handler may use.
std::atomic<int> event_descriptor{-1};
std::atomic<unsigned> limit_seconds{0};
std::atomic<bool> asked{false};
static_assert(std::atomic<int>::is_always_lock_free && std::atomic<bool>::is_always_lock_free);

constexpr int kEndBySignal = 128;  // and its number, as shells have it

void OnStop(int signal) {
  if (asked.exchange(true)) _exit(kEndBySignal + signal);
  const int error = errno;
  alarm(limit_seconds);
  const uint64_t one = 1;
  if (write(event_descriptor, &one, sizeof one) < 0) _exit(kEndBySignal + signal);  // nobody would hear of it
  errno = error;
}

void OnAlarm(int /*signal*/) { _exit(0); }

void Handle(int signal, void (*handler)(int)) {
  struct sigaction action {};
  action.sa_handler = handler;
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  sigaction(signal, &action, nullptr);
}

}  // namespace

Result<int> CatchStopSignals(std::chrono::seconds limit) {
  if (event_descriptor < 0) event_descriptor = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (event_descriptor < 0) return Unavailable(std::string("no descriptor for signals: ") + std::strerror(errno));
  limit_seconds = static_cast<unsigned>(std::max<int64_t>(1, limit.count()));
  asked = false;
  Handle(SIGALRM, OnAlarm);
  Handle(SIGINT, OnStop);
  Handle(SIGTERM, OnStop);
  Handle(SIGHUP, SIG_IGN);
  return event_descriptor.load();
}

}  // namespace inkstone
