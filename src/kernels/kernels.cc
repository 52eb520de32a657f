#include "kernels/kernels.h"

#include <string>

namespace inkstone {

Result<const KernelTable*> SelectKernels(std::string_view name, const CpuFeatures& features) {
  const auto available = AvailableKernels(features);
  if (name.empty()) return available.back();
  std::string names;
  for (const KernelTable* table : available) {
    if (table->target == name) return table;
    if (!names.empty()) names += ", ";
    names += table->target;
  }
  return InvalidArgument("CPU target '" + std::string(name) + "' is unknown or this CPU lacks it; possible: " + names);
}

}  // namespace inkstone
