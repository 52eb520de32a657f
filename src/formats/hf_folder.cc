#include "formats/hf_folder.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <filesystem>
#include <limits>
#include <tuple>
#include <unordered_map>
#include <utility>

#include "formats/model_location.h"
#include "formats/safetensors.h"
#include "formats/tensor_layout.h"

namespace inkstone {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxIndexBytes = 64 << 20;
constexpr int64_t kAfterBlocks = std::numeric_limits<int64_t>::max();

struct ModuleName {
  std::string_view hf;
  std::string_view gguf;
  bool may_have_bias;
};

// In the order in which a block computes.
constexpr std::array<ModuleName, 11> kBlockModules = {{
    {"input_layernorm", "attn_norm", false},
    {"self_attn.q_proj", "attn_q", true},
    {"self_attn.k_proj", "attn_k", true},
    {"self_attn.v_proj", "attn_v", true},
    {"self_attn.q_norm", "attn_q_norm", false},
    {"self_attn.k_norm", "attn_k_norm", false},
    {"self_attn.o_proj", "attn_output", true},
    {"post_attention_layernorm", "ffn_norm", false},
    {"mlp.gate_proj", "ffn_gate", false},
    {"mlp.up_proj", "ffn_up", false},
    {"mlp.down_proj", "ffn_down", false},
}};

bool IsRotaryBuffer(std::string_view hf_name) { return hf_name.ends_with("rotary_emb.inv_freq"); }

Result<HfConfig> ReadConfig(const fs::path& folder) {
  const std::string config_path = (folder / "config.json").string();
  INK_ASSIGN_OR_RETURN(const std::string config,
                       ReadTextInput(config_path, "the config of a Hugging Face model", kMaxConfigBytes));
  if (config.empty()) return InvalidArgument(config_path + ": the file is empty");
  HfConfigText text;
  text.config = config;
  std::string generation;
  std::error_code error;
  if (fs::exists(folder / "generation_config.json", error)) {
    INK_ASSIGN_OR_RETURN(generation, ReadTextInput((folder / "generation_config.json").string(), "generation settings",
                                                   kMaxConfigBytes));
    text.generation = generation;
  }
  return ParseHfConfig(text, folder.string(), ModelNameOf(folder.string()));
}

struct Shards {
  std::vector<MappedFile> files;
  std::vector<TensorInfo> tensors;  // Hugging Face names
};

Status AddShard(const fs::path& path, Shards* shards) {
  INK_ASSIGN_OR_RETURN(MappedFile file, OpenInput(path.string(), "tensors in safetensors format"));
  INK_ASSIGN_OR_RETURN(std::vector<TensorInfo> tensors, ParseSafetensors(file.bytes(), path.string()));
  for (TensorInfo& tensor : tensors) {
    tensor.file = static_cast<int>(shards->files.size());
    shards->tensors.push_back(std::move(tensor));
  }
  shards->files.push_back(std::move(file));
  return Status::Ok();
}

// Every tensor of the index must lie in the shard it names, and every tensor of a shard must be in the index.
Status CheckIndex(const ShardIndex& index, const std::string& name, const Shards& shards) {
  for (const TensorInfo& tensor : shards.tensors) {
    const std::string& shard = index.shards[static_cast<size_t>(tensor.file)];
    const auto it = index.tensors.find(tensor.name);
    if (it == index.tensors.end()) {
      return DataLoss(name + ": weight_map: expected an entry for " + Quote(tensor.name) + ", which " + shard +
                      " holds, found none");
    }
    if (it->second != static_cast<size_t>(tensor.file)) {
      return DataLoss(name + ": weight_map of " + Quote(tensor.name) + ": expected " + shard +
                      ", which holds it, found " + index.shards[it->second]);
    }
  }
  if (shards.tensors.size() == index.tensors.size()) return Status::Ok();
  std::unordered_map<std::string_view, size_t> held;
  for (const TensorInfo& tensor : shards.tensors) held.emplace(tensor.name, static_cast<size_t>(tensor.file));
  for (const auto& [tensor, shard] : index.tensors) {
    if (!held.contains(tensor)) {
      return DataLoss(name + ": weight_map of " + Quote(tensor) + ": expected it in " + index.shards[shard] +
                      ", found no such tensor there");
    }
  }
  return Status::Ok();
}

Result<Shards> OpenShards(const fs::path& folder) {
  Shards shards;
  std::error_code error;
  const fs::path single = folder / "model.safetensors";
  const fs::path index_path = folder / "model.safetensors.index.json";
  if (fs::exists(single, error)) {
    INK_RETURN_IF_ERROR(AddShard(single, &shards));
    return shards;
  }
  if (!fs::exists(index_path, error)) {
    return NotFound(folder.string() + ": expected model.safetensors or model.safetensors.index.json, found neither");
  }
  INK_ASSIGN_OR_RETURN(const std::string text,
                       ReadTextInput(index_path.string(), "the index of a sharded model", kMaxIndexBytes));
  INK_ASSIGN_OR_RETURN(const ShardIndex index, ParseShardIndex(text, index_path.string()));
  for (const std::string& shard : index.shards) INK_RETURN_IF_ERROR(AddShard(folder / shard, &shards));
  INK_RETURN_IF_ERROR(CheckIndex(index, index_path.string(), shards));
  return shards;
}

// Gives the tensors their GGUF names and the model's order.
Status RenameTensors(const HfConfig& config, const std::string& folder, std::vector<TensorInfo>* tensors) {
  std::vector<std::pair<HfTensorPlace, TensorInfo>> placed;
  bool has_output = false;
  for (TensorInfo& tensor : *tensors) {
    if (IsRotaryBuffer(tensor.name)) continue;
    std::optional<HfTensorPlace> place = PlaceHfTensor(tensor.name);
    if (!place || (place->layer != kAfterBlocks && place->layer >= config.layers)) {
      return DataLoss(folder + ": tensor " + Quote(tensor.name) + ": expected a tensor of a model with " +
                      std::to_string(config.layers) + " layers, found a name that it does not have");
    }
    if (place->name == "output.weight") {
      if (config.tied_output) continue;
      has_output = true;
    }
    tensor.name = place->name;
    placed.emplace_back(*std::move(place), std::move(tensor));
  }
  if (!config.tied_output && !has_output) {
    return DataLoss(folder +
                    ": tensor \"lm_head.weight\": expected, because tie_word_embeddings is not set, found none");
  }
  std::sort(placed.begin(), placed.end(), [](const auto& a, const auto& b) {
    return std::tie(a.first.layer, a.first.slot) < std::tie(b.first.layer, b.first.slot);
  });
  tensors->clear();
  for (auto& [place, tensor] : placed) tensors->push_back(std::move(tensor));
  return Status::Ok();
}

}  // namespace

std::optional<HfTensorPlace> PlaceHfTensor(std::string_view hf_name) {
  if (hf_name == "model.embed_tokens.weight") return HfTensorPlace{"token_embd.weight", -1, 0};
  if (hf_name == "model.norm.weight") return HfTensorPlace{"output_norm.weight", kAfterBlocks, 0};
  if (hf_name == "lm_head.weight") return HfTensorPlace{"output.weight", kAfterBlocks, 1};

  constexpr std::string_view kPrefix = "model.layers.";
  if (!hf_name.starts_with(kPrefix)) return std::nullopt;
  hf_name.remove_prefix(kPrefix.size());
  int32_t layer = -1;
  const auto [end, error] = std::from_chars(hf_name.data(), hf_name.data() + hf_name.size(), layer);
  const std::string number = std::to_string(layer);
  if (error != std::errc() || layer < 0 || !hf_name.starts_with(number + ".")) return std::nullopt;
  hf_name.remove_prefix(number.size() + 1);

  const bool bias = hf_name.ends_with(".bias");
  if (!bias && !hf_name.ends_with(".weight")) return std::nullopt;
  const std::string_view module = hf_name.substr(0, hf_name.rfind('.'));
  for (size_t i = 0; i < kBlockModules.size(); ++i) {
    const ModuleName& known = kBlockModules[i];
    if (known.hf != module || (bias && !known.may_have_bias)) continue;
    std::string name = "blk." + number + "." + std::string(known.gguf) + (bias ? ".bias" : ".weight");
    return HfTensorPlace{std::move(name), layer, static_cast<int>(2 * i) + (bias ? 1 : 0)};
  }
  return std::nullopt;
}

Result<Checkpoint> HfFolderReader::Open(const std::string& folder) {
  INK_ASSIGN_OR_RETURN(HfConfig config, ReadConfig(folder));
  INK_ASSIGN_OR_RETURN(Shards shards, OpenShards(folder));
  INK_RETURN_IF_ERROR(RenameTensors(config, folder, &shards.tensors));
  Checkpoint checkpoint;
  checkpoint.kind_ = CheckpointKind::kHuggingFace;
  checkpoint.path_ = folder;
  checkpoint.metadata_ = std::move(config.metadata);
  checkpoint.warnings_ = std::move(config.warnings);
  checkpoint.tensors_ = std::move(shards.tensors);
  checkpoint.files_ = std::move(shards.files);
  INK_RETURN_IF_ERROR(checkpoint.BuildIndex());
  return checkpoint;
}

}  // namespace inkstone
