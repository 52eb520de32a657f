#include "engine/page_identity.h"

#include <xxhash.h>

#include <algorithm>
#include <sstream>

namespace inkstone {
namespace {

constexpr int kNumericsVersion = 1;     // raised when kernels give other bits
constexpr size_t kHeadBytes = 8 << 20;  // of each file: all of its description, as a rule
constexpr size_t kSamples = 1024;       // from the whole file
constexpr size_t kSampleBytes = 4096;

void Write(std::ostream& out, std::span<const std::byte> bytes) {
  const XXH128_hash_t hash = XXH3_128bits(bytes.data(), bytes.size());
  out << ' ' << hash.high64 << ' ' << hash.low64;
}

void WriteRope(std::ostream& out, const RopeConfig& rope) {
  out << "\nrope " << rope.theta << ' ' << rope.head_dim << ' ' << rope.interleaved << ' ' << rope.linear_factor << ' '
      << rope.yarn_factor << ' ' << rope.yarn_original_context << ' ' << rope.yarn_beta_fast << ' '
      << rope.yarn_beta_slow << ' ' << rope.yarn_truncate << ' ' << rope.attention_factor;
  Write(out, std::as_bytes(std::span(rope.frequency_factors)));
}

}  // namespace

std::string PageIdentity(const Checkpoint& checkpoint, const ModelConfig& config, const KvLayout& layout,
                         const AttentionWindow& window, std::string_view backend) {
  std::ostringstream out;
  out.precision(17);
  out << "numerics " << kNumericsVersion << ' ' << backend << "\nmodel " << config.architecture << ' ' << config.layers
      << ' ' << config.hidden << ' ' << config.intermediate << ' ' << config.heads << ' ' << config.kv_heads << ' '
      << config.head_dim << ' ' << config.vocab << ' ' << config.rms_eps;
  WriteRope(out, config.rope);
  out << "\ncache " << KvTypesName(layout.types) << ' ' << layout.page_tokens << ' ' << layout.page_bytes();
  if (window.on()) out << "\nwindow " << window.tokens << ' ' << window.sinks << ' ' << window.step;
  for (const TensorInfo& tensor : checkpoint.tensors()) {
    out << '\n' << tensor.name << ' ' << Info(tensor.dtype).name;
    for (const int64_t n : tensor.shape) out << ' ' << n;
  }
  for (const MappedFile& file : checkpoint.files()) {
    const auto bytes = file.bytes();
    out << "\nfile " << bytes.size();
    Write(out, bytes.first(std::min(kHeadBytes, bytes.size())));
    for (size_t i = 0; i < kSamples && bytes.size() > kSampleBytes; ++i) {
      Write(out, bytes.subspan((bytes.size() - kSampleBytes) / kSamples * i, kSampleBytes));
    }
  }
  return out.str();
}

}  // namespace inkstone
