#include "compress/checkpoint_facts.h"

#include <algorithm>
#include <filesystem>
#include <span>
#include <vector>

#include "compress/hash64.h"
#include "formats/tensor_layout.h"

namespace inkstone {
namespace {

constexpr size_t kSampleBytes = 64;

std::string LastPart(const std::string& path) {
  const std::filesystem::path whole = std::filesystem::absolute(path).lexically_normal();
  return whole.has_filename() ? whole.filename().string() : whole.parent_path().filename().string();
}

// First, middle and last bytes.
uint64_t HashSamples(std::span<const std::byte> data, uint64_t seed) {
  const size_t count = std::min(kSampleBytes, data.size());
  uint64_t hash = Hash64(data.first(count), seed);
  hash = Hash64(data.subspan((data.size() - count) / 2, count), hash);
  return Hash64(data.last(count), hash);
}

}  // namespace

Result<CheckpointFacts> DescribeCheckpoint(const Checkpoint& checkpoint) {
  if (checkpoint.tensors().empty()) return DataLoss(checkpoint.path() + ": has no tensors");
  CheckpointFacts facts;
  facts.name = LastPart(checkpoint.path());
  facts.tensor_bytes = checkpoint.tensor_bytes();
  std::vector<uint64_t> header_bytes;
  for (const MappedFile& file : checkpoint.files()) {
    facts.file_bytes += file.size();
    header_bytes.push_back(file.size());
  }
  uint64_t hash = 0;
  for (const TensorInfo& tensor : checkpoint.tensors()) {
    uint64_t elements = 1;
    for (const int64_t n : tensor.shape) elements *= static_cast<uint64_t>(n);
    facts.parameters += elements;
    uint64_t& header = header_bytes[static_cast<size_t>(tensor.file)];
    header = std::min(header, tensor.offset);
    hash = HashSamples(checkpoint.Data(tensor), hash);
  }
  for (size_t i = 0; i < header_bytes.size(); ++i) {
    hash = Hash64(checkpoint.files()[i].bytes().first(header_bytes[i]), hash);
  }
  if (checkpoint.kind() == CheckpointKind::kHuggingFace) {  // whose configuration lies beside the tensors
    INK_ASSIGN_OR_RETURN(
        const std::string config,
        ReadTextInput(checkpoint.path() + "/config.json", "the config of a Hugging Face model", kMaxConfigBytes));
    hash = Hash64(std::as_bytes(std::span(config)), hash);
  }
  facts.fingerprint = hash;
  return facts;
}

}  // namespace inkstone
