// Which logical CPUs a thread may run on. Numbers are the system's.
#pragma once

#include <span>
#include <vector>

namespace inkstone {

// Those of the calling thread, ascending; empty when the system does not tell.
std::vector<int> ThreadCpus();

// Keeps the calling thread, and every thread that it starts, on these CPUs. False, with nothing changed, when the
// system refuses.
bool SetThreadCpus(std::span<const int> cpus);

// Keeps the thread that makes it on some CPUs until it goes, which must happen on the same thread: then the thread may
// run again where it could before. When the system refuses, nothing is changed: that costs only speed.
class [[nodiscard]] ThreadBinding {
 public:
  // No CPUs: leaves the thread alone.
  explicit ThreadBinding(std::span<const int> cpus);
  ~ThreadBinding();
  ThreadBinding(const ThreadBinding&) = delete;
  ThreadBinding& operator=(const ThreadBinding&) = delete;

 private:
  std::vector<int> before_;  // empty: nothing to restore
};

}  // namespace inkstone
