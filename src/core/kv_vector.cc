#include "core/kv_vector.h"

namespace inkstone {
namespace {

std::optional<DType> KvTypeFromName(std::string_view name) {
  const auto type = DTypeFromName(name);
  return type && IsKvType(*type) ? type : std::nullopt;
}

}  // namespace

std::string KvTypesName(KvTypes types) {
  std::string name(Info(types.k).name);
  if (types.v != types.k) name += "/" + std::string(Info(types.v).name);
  return name;
}

std::optional<KvTypes> KvTypesFromName(std::string_view name) {
  const size_t slash = name.find('/');
  const auto k = KvTypeFromName(name.substr(0, slash));
  const auto v = slash == std::string_view::npos ? k : KvTypeFromName(name.substr(slash + 1));
  if (!k || !v) return std::nullopt;
  return KvTypes{*k, *v};
}

}  // namespace inkstone
