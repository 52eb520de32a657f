// What happens when a mapped file is cut while it is in use: the process ends with a sentence that names the file.
#pragma once

#include <cstddef>
#include <string>

namespace inkstone {

// Installs the handler of SIGBUS, for the whole process. Touching a page of a noted mapping that its file no longer has
// writes one line to standard error and ends the process with status 1; every other SIGBUS does what it always did.
void InstallMappingFaultHandler();

// MappedFile's: so that the handler knows what it was that was touched. Thread-safe. Beyond kMostMappings at a time,
// mappings are not noted.
inline constexpr size_t kMostMappings = 512;
void NoteMapping(const void* begin, size_t bytes, const std::string& path);
void ForgetMapping(const void* begin);

}  // namespace inkstone
