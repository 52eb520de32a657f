#include "core/mapping_faults.h"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <csignal>
#include <cstdint>
#include <cstring>
#include <string_view>

#include "core/printable.h"

namespace inkstone {
namespace {

constexpr size_t kPathBytes = 512;

enum class SlotState : int { kFree, kBeingFilled, kInUse };

// The handler reads these at any moment, so a slot is filled before its state says so.
struct Slot {
  std::atomic<SlotState> state{SlotState::kFree};
  std::atomic<uintptr_t> begin{0};
  std::atomic<uintptr_t> end{0};
  std::array<char, kPathBytes> path{};
  size_t path_bytes = 0;
};
static_assert(std::atomic<SlotState>::is_always_lock_free && std::atomic<uintptr_t>::is_always_lock_free);

std::array<Slot, kMostMappings> g_slots;

const Slot* FindSlot(uintptr_t address) {
  for (const Slot& slot : g_slots) {
    if (slot.state.load(std::memory_order_acquire) != SlotState::kInUse) continue;
    if (address >= slot.begin.load(std::memory_order_relaxed) && address < slot.end.load(std::memory_order_relaxed)) {
      return &slot;
    }
  }
  return nullptr;
}

// Standard error may be a pipe that nobody reads: then the sentence is lost, and the process ends all the same.
void Say(const Slot& slot) {
  constexpr std::string_view kBefore = "inkstone: ";
  constexpr std::string_view kAfter =
      ": the file was cut or overwritten while it was in use, and what was read of it is gone; start again, and "
      "replace "
      "model files by renaming the new one over them\n";
  std::array<char, kBefore.size() + kPathBytes + kAfter.size()> line;
  char* end = std::copy(kBefore.begin(), kBefore.end(), line.data());
  end = std::copy_n(slot.path.data(), slot.path_bytes, end);
  end = std::copy(kAfter.begin(), kAfter.end(), end);
  pollfd ready{STDERR_FILENO, POLLOUT, 0};
  if (::poll(&ready, 1, 1000) != 1) return;
  if (::write(STDERR_FILENO, line.data(), static_cast<size_t>(end - line.data())) < 0) return;
}

void OnFault(int signal, siginfo_t* info, void*) {
  if (info->si_code == BUS_ADRERR) {
    if (const Slot* slot = FindSlot(reinterpret_cast<uintptr_t>(info->si_addr)); slot != nullptr) {
      Say(*slot);
      ::_exit(1);
    }
  }
  ::signal(signal, SIG_DFL);
  ::raise(signal);  // takes effect when this handler returns
}

}  // namespace

void InstallMappingFaultHandler() {
  struct sigaction action {};
  action.sa_sigaction = OnFault;
  action.sa_flags = SA_SIGINFO;
  ::sigemptyset(&action.sa_mask);
  ::sigaction(SIGBUS, &action, nullptr);
}

void NoteMapping(const void* begin, size_t bytes, const std::string& path) {
  const std::string shown = Printable(path);
  for (Slot& slot : g_slots) {
    SlotState expected = SlotState::kFree;
    if (!slot.state.compare_exchange_strong(expected, SlotState::kBeingFilled)) continue;
    const auto address = reinterpret_cast<uintptr_t>(begin);
    slot.begin.store(address, std::memory_order_relaxed);
    slot.end.store(address + bytes, std::memory_order_relaxed);
    // The end of a long path says more than its beginning.
    slot.path_bytes = std::min(shown.size(), kPathBytes);
    std::memcpy(slot.path.data(), shown.data() + (shown.size() - slot.path_bytes), slot.path_bytes);
    slot.state.store(SlotState::kInUse, std::memory_order_release);
    return;
  }
}

void ForgetMapping(const void* begin) {
  for (Slot& slot : g_slots) {
    if (slot.state.load(std::memory_order_acquire) != SlotState::kInUse) continue;
    if (slot.begin.load(std::memory_order_relaxed) != reinterpret_cast<uintptr_t>(begin)) continue;
    slot.state.store(SlotState::kFree, std::memory_order_release);
    return;
  }
}

}  // namespace inkstone
