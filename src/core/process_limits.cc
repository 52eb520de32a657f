#include "core/process_limits.h"

#include <malloc.h>
#include <pthread.h>

namespace inkstone {

void KeepAddressSpaceSmall() {
  constexpr int kArenas = 2;
  constexpr int kMapFrom = 256 << 10;
  constexpr size_t kStackBytes = 2 << 20;
  ::mallopt(M_ARENA_MAX, kArenas);
  ::mallopt(M_MMAP_THRESHOLD, kMapFrom);
  pthread_attr_t attributes;
  if (::pthread_attr_init(&attributes) != 0) return;
  ::pthread_attr_setstacksize(&attributes, kStackBytes);
  ::pthread_setattr_default_np(&attributes);
  ::pthread_attr_destroy(&attributes);
}

}  // namespace inkstone
