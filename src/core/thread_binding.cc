#include "core/thread_binding.h"

#include <sched.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>

namespace inkstone {
namespace {

constexpr size_t kBits = 8 * sizeof(unsigned long);
constexpr size_t kMaxCpus = size_t{1} << 16;

// The kernel's form of a set, of any length; cpu_set_t ends at 1,024 CPUs.
using Words = std::vector<unsigned long>;

cpu_set_t* AsCpuSet(Words& words) { return reinterpret_cast<cpu_set_t*>(words.data()); }

}  // namespace

std::vector<int> ThreadCpus() {
  std::vector<int> cpus;
  Words words(1024 / kBits);
  while (sched_getaffinity(0, words.size() * sizeof(words[0]), AsCpuSet(words)) != 0) {
    if (errno != EINVAL || words.size() * kBits >= kMaxCpus) return cpus;
    words.resize(words.size() * 2);  // the kernel knows more CPUs than there was room for
  }
  for (size_t cpu = 0; cpu < words.size() * kBits; ++cpu) {
    if (((words[cpu / kBits] >> (cpu % kBits)) & 1u) != 0) cpus.push_back(static_cast<int>(cpu));
  }
  return cpus;
}

bool SetThreadCpus(std::span<const int> cpus) {
  if (cpus.empty()) return false;
  const auto [least, greatest] = std::minmax_element(cpus.begin(), cpus.end());
  if (*least < 0 || static_cast<size_t>(*greatest) >= kMaxCpus) return false;
  Words words(static_cast<size_t>(*greatest) / kBits + 1);
  for (const int cpu : cpus) words[static_cast<size_t>(cpu) / kBits] |= 1ul << (static_cast<size_t>(cpu) % kBits);
  return sched_setaffinity(0, words.size() * sizeof(words[0]), AsCpuSet(words)) == 0;
}

ThreadBinding::ThreadBinding(std::span<const int> cpus) {
  if (cpus.empty()) return;
  before_ = ThreadCpus();
  if (!SetThreadCpus(cpus)) before_.clear();
}

ThreadBinding::~ThreadBinding() {
  if (!before_.empty()) SetThreadCpus(before_);
}

}  // namespace inkstone
