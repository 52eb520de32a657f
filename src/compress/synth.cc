#include "compress/synth.h"

#include <algorithm>
#include <bit>
#include <cstdio>
#include <filesystem>
#include <optional>
#include <system_error>
#include <utility>
#include <vector>

#include "compress/disk_space.h"
#include "compress/synth_files.h"
#include "compress/write_queue.h"
#include "core/atomic_file.h"
#include "core/cpu_topology.h"
#include "quant/codec.h"

namespace inkstone {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kPiece = 4096;              // elements made at once, in the first-level cache
constexpr int64_t kSlice = int64_t{4} << 20;  // elements of one buffer: 8 or 16 MiB
constexpr int kBuffers = 3;
constexpr int64_t kMaxDimension = 1 << 24;  // keeps every product far from overflow
constexpr int64_t kMaxLayers = 1024;
constexpr uint64_t kTextReserve = 64u << 20;  // config, tokenizer and headers

// SplitMix64's output function (Steele, Lea, Flood 2014): a bijection that turns a counter into noise.
uint64_t Mix(uint64_t z) {
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

uint64_t TensorKey(uint64_t seed, const std::string& name) {
  uint64_t hash = 0xcbf29ce484222325u;  // FNV-1a
  for (unsigned char c : name) hash = (hash ^ c) * 0x100000001b3u;
  return Mix(hash ^ Mix(seed));
}

// Elements [begin, begin + count) of a tensor: the sum of four 16-bit uniforms, which is close to normal. Element i
// depends on key and i only.
void FillNoise(uint64_t key, int64_t begin, int64_t count, float mean, float deviation, float* values) {
  const float unit = deviation / 37837.2f;  // 65536 / sqrt(3): the deviation of the sum
  constexpr int32_t kMiddle = 2 * 65535;
  for (int64_t i = 0; i < count; ++i) {
    const uint64_t bits = Mix(key + static_cast<uint64_t>(begin + i) * 0x9e3779b97f4a7c15u);
    const uint64_t pairs = (bits & 0x0000ffff0000ffffu) + ((bits >> 16) & 0x0000ffff0000ffffu);
    const int32_t sum = static_cast<int32_t>((pairs & 0xffffffffu) + (pairs >> 32));
    values[i] = mean + static_cast<float>(sum - kMiddle) * unit;
  }
}

std::vector<SynthTensor> ListTensors(const SynthShape& s, DType type) {
  std::vector<SynthTensor> tensors;
  const auto matrix = [&](const std::string& name, int64_t rows, int64_t cols) {
    tensors.push_back({name + ".weight", {rows, cols}});
  };
  const auto norm = [&](const std::string& name, int64_t size) { tensors.push_back({name + ".weight", {size}, 1.0f}); };
  const int64_t q = s.heads * s.head_dim;
  const int64_t kv = s.kv_heads * s.head_dim;
  matrix("model.embed_tokens", s.vocab, s.hidden);
  for (int64_t layer = 0; layer < s.layers; ++layer) {
    const std::string prefix = "model.layers." + std::to_string(layer) + ".";
    norm(prefix + "input_layernorm", s.hidden);
    for (const auto& [name, rows] : {std::pair{"q_proj", q}, std::pair{"k_proj", kv}, std::pair{"v_proj", kv}}) {
      matrix(prefix + "self_attn." + name, rows, s.hidden);
      if (s.architecture == "qwen2") tensors.push_back({prefix + "self_attn." + name + ".bias", {rows}});
    }
    if (s.architecture == "qwen3") {
      norm(prefix + "self_attn.q_norm", s.head_dim);
      norm(prefix + "self_attn.k_norm", s.head_dim);
    }
    matrix(prefix + "self_attn.o_proj", s.hidden, q);
    norm(prefix + "post_attention_layernorm", s.hidden);
    matrix(prefix + "mlp.gate_proj", s.intermediate, s.hidden);
    matrix(prefix + "mlp.up_proj", s.intermediate, s.hidden);
    matrix(prefix + "mlp.down_proj", s.hidden, s.intermediate);
  }
  norm("model.norm", s.hidden);
  if (!s.tied) matrix("lm_head", s.vocab, s.hidden);
  for (SynthTensor& tensor : tensors) tensor.bytes = static_cast<uint64_t>(RowBytes(type, tensor.elements()));
  return tensors;
}

Status CheckShape(const SynthOptions& options) {
  const SynthShape& s = options.shape;
  if (!IsFloat(options.type)) {
    return InvalidArgument("synth: type: expected BF16, F16 or F32, found " + std::string(Info(options.type).name));
  }
  if (s.architecture != "qwen3" && s.architecture != "qwen2" && s.architecture != "llama") {
    return InvalidArgument("shape: architecture: expected qwen3, qwen2 or llama, found '" + s.architecture + "'");
  }
  const std::pair<const char*, int64_t> dimensions[] = {{"hidden", s.hidden},
                                                        {"heads", s.heads},
                                                        {"kv_heads", s.kv_heads},
                                                        {"head_dim", s.head_dim},
                                                        {"intermediate", s.intermediate},
                                                        {"vocab", s.vocab}};
  for (const auto& [name, value] : dimensions) {
    if (value < 1 || value > kMaxDimension) {
      return InvalidArgument("shape: " + std::string(name) + ": expected 1 to " + std::to_string(kMaxDimension) +
                             ", found " + std::to_string(value));
    }
  }
  if (s.layers < 1 || s.layers > kMaxLayers) {
    return InvalidArgument("shape: layers: expected 1 to " + std::to_string(kMaxLayers) + ", found " +
                           std::to_string(s.layers));
  }
  if (s.heads % s.kv_heads != 0 || s.head_dim % 2 != 0 || s.heads * s.head_dim > kMaxDimension) {
    return InvalidArgument("shape: expected kv_heads to divide heads and an even head_dim, found " +
                           std::to_string(s.heads) + " heads, " + std::to_string(s.kv_heads) + " KV heads, head_dim " +
                           std::to_string(s.head_dim));
  }
  if (!(s.rope_theta > 0) || !(s.rms_eps > 0) || s.max_position < 1) {
    return InvalidArgument("shape: rope_theta, rms_eps and max_position must be positive");
  }
  return Status::Ok();
}

bool IsModelFile(const fs::path& path) {
  const std::string name = path.filename().string();
  return name.ends_with(".safetensors") || name == "model.safetensors.index.json" || name == "config.json";
}

// Creates the folder; removes an earlier model, config.json included, so that it is no model until the new one is.
Status PrepareFolder(const SynthOptions& options) {
  std::error_code error;
  fs::create_directories(options.output, error);
  if (options.output.empty() || error || !fs::is_directory(options.output, error)) {
    return InvalidArgument("'" + options.output + "': cannot create the output folder: " + error.message());
  }
  if (!options.overwrite && !fs::is_empty(options.output, error)) {
    return InvalidArgument(options.output + ": the folder is not empty; choose another one, or allow overwriting");
  }
  std::vector<fs::path> stale;
  for (const fs::directory_entry& entry : fs::directory_iterator(options.output, error)) {
    if (!IsModelFile(entry.path())) continue;
    if (!entry.is_regular_file(error)) {
      return InvalidArgument(entry.path().string() + ": expected a regular file, found another thing; remove it");
    }
    stale.push_back(entry.path());
  }
  for (const fs::path& path : stale) {
    if (!fs::remove(path, error)) return Internal(path.string() + ": cannot remove: " + error.message());
  }
  return Status::Ok();
}

Status WriteText(const std::string& folder, const TextFile& file) {
  INK_ASSIGN_OR_RETURN(AtomicFile out, AtomicFile::Create(folder + "/" + file.name));
  INK_RETURN_IF_ERROR(out.Write(file.text.data(), file.text.size()));
  return out.Commit();
}

// Shard number of each tensor, from 0.
std::vector<size_t> AssignShards(const std::vector<SynthTensor>& tensors, uint64_t max_bytes) {
  std::vector<size_t> shards;
  size_t shard = 0;
  uint64_t bytes = 0;
  for (const SynthTensor& tensor : tensors) {
    if (bytes > 0 && bytes + tensor.bytes > max_bytes) {
      ++shard;
      bytes = 0;
    }
    bytes += tensor.bytes;
    shards.push_back(shard);
  }
  return shards;
}

std::string ShardName(size_t shard, size_t count) {
  if (count == 1) return "model.safetensors";
  char name[64];
  std::snprintf(name, sizeof name, "model-%05zu-of-%05zu.safetensors", shard + 1, count);
  return name;
}

class ShardWriter {
 public:
  ShardWriter(const SynthOptions& options, uint64_t total, FunctionRef<void(const Progress&)> progress)
      : options_(options),
        pool_(options.threads > 0 ? options.threads : DefaultThreads()),
        progress_(progress),
        total_(total) {}

  Status Write(const std::string& name, const SynthTensor* begin, const SynthTensor* end) {
    INK_ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::Create(options_.output + "/" + name));
    const std::string header = SafetensorsHeader(options_.type, begin, end);
    INK_RETURN_IF_ERROR(file.Write(header.data(), header.size()));
    {
      WriteQueue queue(kBuffers, [&](std::span<const std::byte> bytes) { return file.Write(bytes); });
      for (const SynthTensor* tensor = begin; tensor != end; ++tensor) {
        INK_RETURN_IF_ERROR(WriteTensor(*tensor, &queue));
      }
      INK_RETURN_IF_ERROR(queue.Drain());
    }
    return file.Commit();
  }

 private:
  Status WriteTensor(const SynthTensor& tensor, WriteQueue* queue) {
    const uint64_t key = TensorKey(options_.seed, tensor.name);
    const DType type = options_.type;
    const int64_t elements = tensor.elements();
    for (int64_t begin = 0; begin < elements; begin += kSlice) {
      const int64_t end = std::min(begin + kSlice, elements);
      INK_ASSIGN_OR_RETURN(std::vector<std::byte> buffer,
                           queue->Acquire(static_cast<size_t>(RowBytes(type, end - begin))));
      pool_.ParallelFor((end - begin + kPiece - 1) / kPiece, 16, [&](int64_t first, int64_t last, int) {
        float values[kPiece];
        for (int64_t p = first; p < last; ++p) {
          const int64_t from = begin + p * kPiece;
          const int64_t count = std::min(kPiece, end - from);
          FillNoise(key, from, count, tensor.mean, options_.deviation, values);
          EncodeRow(type, values, count, buffer.data() + RowBytes(type, from - begin));
        }
      });
      done_ += buffer.size();
      queue->Submit(std::move(buffer));
      progress_({tensor.name, done_, total_});
    }
    return Status::Ok();
  }

  const SynthOptions& options_;
  ThreadPool pool_;
  FunctionRef<void(const Progress&)> progress_;
  const uint64_t total_;
  uint64_t done_ = 0;
};

Status WriteWeights(const SynthOptions& options, const std::vector<SynthTensor>& tensors,
                    FunctionRef<void(const Progress&)> progress) {
  const std::vector<size_t> shards = AssignShards(tensors, options.max_shard_bytes);
  const size_t count = shards.back() + 1;
  uint64_t total = 0;
  std::vector<std::string> names;
  for (size_t i = 0; i < tensors.size(); ++i) {
    total += tensors[i].bytes;
    names.push_back(ShardName(shards[i], count));
  }
  INK_RETURN_IF_ERROR(CheckDiskSpace(options.output, total + kTextReserve));
  ShardWriter writer(options, total, progress);
  for (size_t begin = 0; begin < tensors.size();) {
    size_t end = begin;
    while (end < tensors.size() && shards[end] == shards[begin]) ++end;
    INK_RETURN_IF_ERROR(writer.Write(names[begin], tensors.data() + begin, tensors.data() + end));
    begin = end;
  }
  if (count == 1) return Status::Ok();
  return WriteText(options.output, {"model.safetensors.index.json", IndexJson(tensors, names)});
}

}  // namespace

Status Synth(const SynthOptions& options, FunctionRef<void(const Progress&)> progress) {
  INK_RETURN_IF_ERROR(CheckShape(options));
  SynthTokenizer tokenizer = ByteTokenizer();
  if (!options.tokenizer_from.empty()) {
    INK_ASSIGN_OR_RETURN(tokenizer, CopiedTokenizer(options.tokenizer_from, options.shape.vocab));
  } else if (options.shape.vocab <= tokenizer.stops.front()) {
    return InvalidArgument("shape: vocab: expected at least " + std::to_string(tokenizer.stops.front() + 1) +
                           " for the byte tokenizer, found " + std::to_string(options.shape.vocab));
  }
  INK_ASSIGN_OR_RETURN(std::string config, ConfigJson(options.shape, options.type, tokenizer));
  INK_RETURN_IF_ERROR(PrepareFolder(options));
  for (const TextFile& file : tokenizer.files) INK_RETURN_IF_ERROR(WriteText(options.output, file));
  INK_RETURN_IF_ERROR(WriteText(options.output, {"generation_config.json", GenerationConfigJson(tokenizer)}));
  INK_RETURN_IF_ERROR(WriteWeights(options, ListTensors(options.shape, options.type), progress));
  return WriteText(options.output, {"config.json", std::move(config)});
}

}  // namespace inkstone
