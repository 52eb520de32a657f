#include "compress/disk_space.h"

#include <filesystem>
#include <system_error>

#include "core/units.h"

namespace inkstone {

Status CheckDiskSpace(const std::string& folder, uint64_t bytes) {
  std::error_code error;
  const std::filesystem::space_info space = std::filesystem::space(folder, error);
  if (error || space.available >= bytes) return Status::Ok();
  return ResourceExhausted(folder + ": the result takes " + FormatBytes(bytes) + ", the disk has " +
                           FormatBytes(space.available) + " free");
}

}  // namespace inkstone
