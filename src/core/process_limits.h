// How much of the address space the C library takes, for processes that run under a limit of it (RLIMIT_AS).
#pragma once

namespace inkstone {

// To be called first of all, before threads start: two malloc arenas instead of eight for each core (64 MiB of
// addresses each), stacks of 2 MiB instead of 8, and blocks from 256 KiB on that go back to the system when freed.
void KeepAddressSpaceSmall();

}  // namespace inkstone
