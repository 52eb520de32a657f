#include <algorithm>
#include <array>

#include "compress/synth.h"

namespace inkstone {
namespace {

struct Named {
  std::string_view name;
  SynthShape shape;
};

// From the models' config.json, in the order of SynthShape's members.
const std::array<Named, 10>& Shapes() {
  static const std::array<Named, 10> kShapes = {{
      {"qwen3-4b", {"qwen3", 2560, 36, 32, 8, 128, 9728, 151936, true, 5e6, "", 262144, 1e-6}},
      {"qwen3-0.6b", {"qwen3", 1024, 28, 16, 8, 128, 3072, 151936, true, 1e6, "", 40960, 1e-6}},
      {"qwen3-1.7b", {"qwen3", 2048, 28, 16, 8, 128, 6144, 151936, true, 1e6, "", 40960, 1e-6}},
      {"qwen3-8b", {"qwen3", 4096, 36, 32, 8, 128, 12288, 151936, false, 1e6, "", 40960, 1e-6}},
      {"qwen2.5-0.5b", {"qwen2", 896, 24, 14, 2, 64, 4864, 151936, true, 1e6, "", 32768, 1e-6}},
      {"qwen2.5-3b", {"qwen2", 2048, 36, 16, 2, 128, 11008, 151936, true, 1e6, "", 32768, 1e-6}},
      {"smollm2-135m", {"llama", 576, 30, 9, 3, 64, 1536, 49152, true, 1e5, "", 8192, 1e-5}},
      {"qwen3-tiny", {"qwen3", 128, 3, 4, 2, 64, 320, 512, true, 1e6, "", 2048, 1e-6}},
      {"qwen2-tiny", {"qwen2", 128, 3, 4, 2, 32, 320, 512, true, 1e6, "", 2048, 1e-6}},
      {"llama-tiny", {"llama", 128, 3, 8, 4, 16, 320, 512, false, 1e4, "", 2048, 1e-5}},
  }};
  return kShapes;
}

}  // namespace

std::span<const std::string_view> ShapeNames() {
  static const std::array<std::string_view, 10> kNames = [] {
    std::array<std::string_view, 10> names;
    std::transform(Shapes().begin(), Shapes().end(), names.begin(), [](const Named& n) { return n.name; });
    return names;
  }();
  return kNames;
}

Result<SynthShape> NamedShape(std::string_view name) {
  for (const Named& named : Shapes()) {
    if (named.name == name) return named.shape;
  }
  std::string known;
  for (const Named& named : Shapes()) known += (known.empty() ? "" : ", ") + std::string(named.name);
  return NotFound("no shape named '" + std::string(name) + "', expected one of " + known);
}

}  // namespace inkstone
