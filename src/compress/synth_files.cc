#include "compress/synth_files.h"

#include <bit>
#include <boost/json.hpp>
#include <cstring>
#include <filesystem>
#include <functional>
#include <memory>
#include <numeric>
#include <optional>
#include <system_error>
#include <utility>

#include "core/mapped_file.h"
#include "tokenizer/tokenizer.h"

namespace inkstone {
namespace {

namespace json = boost::json;

constexpr int kEndOfText = 256;
constexpr int kImStart = 257;
constexpr int kImEnd = 258;

// Qwen2's split, as published in its tokenizer.json.
constexpr std::string_view kQwenSplit =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

constexpr std::string_view kChatMl =
    "{%- for message in messages %}"
    "{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}";

std::string Utf8(uint32_t code_point) {  // below 0x800
  if (code_point < 0x80) return std::string(1, static_cast<char>(code_point));
  return {static_cast<char>(0xc0 | (code_point >> 6)), static_cast<char>(0x80 | (code_point & 63))};
}

// GPT-2's byte alphabet in its order of ids: printable bytes stand for themselves, the others from U+0100 on.
json::object ByteVocabulary() {
  const auto printable = [](uint32_t b) {
    return (b >= '!' && b <= '~') || (b >= 0xa1 && b <= 0xac) || (b >= 0xae && b <= 0xff);
  };
  json::object vocabulary;
  int id = 0;
  for (uint32_t b = 0; b < 256; ++b) {
    if (printable(b)) vocabulary[Utf8(b)] = id++;
  }
  for (uint32_t next = 256; id < 256; ++next) vocabulary[Utf8(next)] = id++;
  return vocabulary;
}

json::object AddedToken(std::string_view content) {
  return {{"content", content}, {"single_word", false}, {"lstrip", false},
          {"rstrip", false},    {"normalized", false},  {"special", true}};
}

json::object ByteLevel() {
  return {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", false}, {"use_regex", false}};
}

Result<std::string> ReadText(const std::string& path) {
  INK_ASSIGN_OR_RETURN(const MappedFile file, MappedFile::Open(path));
  return std::string(reinterpret_cast<const char*>(file.bytes().data()), file.size());
}

}  // namespace

SynthTokenizer ByteTokenizer() {
  const std::pair<int, std::string_view> specials[] = {
      {kEndOfText, "<|endoftext|>"}, {kImStart, "<|im_start|>"}, {kImEnd, "<|im_end|>"}};
  json::array added;
  json::object decoder;
  for (const auto& [id, content] : specials) {
    json::object token = AddedToken(content);
    decoder[std::to_string(id)] = token;
    token["id"] = id;
    added.push_back(token);
  }
  const json::object split = {
      {"type", "Split"}, {"pattern", {{"Regex", kQwenSplit}}}, {"behavior", "Isolated"}, {"invert", false}};
  const json::object tokenizer = {
      {"version", "1.0"},
      {"truncation", nullptr},
      {"padding", nullptr},
      {"added_tokens", added},
      {"normalizer", {{"type", "NFC"}}},
      {"pre_tokenizer", {{"type", "Sequence"}, {"pretokenizers", json::array{split, ByteLevel()}}}},
      {"post_processor", ByteLevel()},
      {"decoder", ByteLevel()},
      {"model",
       {{"type", "BPE"},
        {"dropout", nullptr},
        {"unk_token", nullptr},
        {"continuing_subword_prefix", ""},
        {"end_of_word_suffix", ""},
        {"fuse_unk", false},
        {"byte_fallback", false},
        {"ignore_merges", false},
        {"vocab", ByteVocabulary()},
        {"merges", json::array()}}},
  };
  const json::object config = {{"tokenizer_class", "Qwen2Tokenizer"},
                               {"add_bos_token", false},
                               {"add_prefix_space", false},
                               {"added_tokens_decoder", decoder},
                               {"bos_token", nullptr},
                               {"eos_token", "<|im_end|>"},
                               {"pad_token", "<|endoftext|>"},
                               {"clean_up_tokenization_spaces", false},
                               {"chat_template", kChatMl}};
  SynthTokenizer result;
  result.files = {{"tokenizer.json", json::serialize(tokenizer)}, {"tokenizer_config.json", json::serialize(config)}};
  result.bos = kEndOfText;
  result.eos = kImEnd;
  result.stops = {kImEnd, kEndOfText};
  return result;
}

Result<SynthTokenizer> CopiedTokenizer(const std::string& folder, int64_t vocab) {
  SynthTokenizer result;
  std::string config;
  INK_ASSIGN_OR_RETURN(std::string tokenizer_json, ReadText(folder + "/tokenizer.json"));
  for (const char* name : {"tokenizer_config.json", "chat_template.jinja", "special_tokens_map.json", "vocab.json",
                           "merges.txt", "added_tokens.json"}) {
    std::error_code error;
    const std::string path = folder + "/" + name;
    if (!std::filesystem::exists(path, error)) continue;
    INK_ASSIGN_OR_RETURN(std::string text, ReadText(path));
    if (std::string_view(name) == "tokenizer_config.json") config = text;
    result.files.push_back({name, std::move(text)});
  }
  INK_ASSIGN_OR_RETURN(const std::unique_ptr<Tokenizer> tokenizer,
                       Tokenizer::FromJson(tokenizer_json, config, folder + "/tokenizer.json"));
  if (tokenizer->vocab_size() > vocab) {
    return InvalidArgument(folder + "/tokenizer.json: has " + std::to_string(tokenizer->vocab_size()) +
                           " tokens, expected at most the model's vocabulary of " + std::to_string(vocab));
  }
  result.files.push_back({"tokenizer.json", std::move(tokenizer_json)});
  result.bos = tokenizer->bos_token();
  result.eos = tokenizer->eos_token();
  if (result.eos >= 0) result.stops.push_back(result.eos);
  for (int32_t stop : tokenizer->stop_tokens()) {
    if (stop != result.eos) result.stops.push_back(stop);
  }
  return result;
}

Result<std::string> ConfigJson(const SynthShape& shape, DType type, const SynthTokenizer& tokenizer) {
  json::value scaling;
  if (!shape.rope_scaling_json.empty()) {
    boost::system::error_code error;
    scaling = json::parse(shape.rope_scaling_json, error);
    if (error || !scaling.is_object()) {
      return InvalidArgument("shape: rope_scaling_json: expected a JSON object, found " + shape.rope_scaling_json);
    }
  }
  const std::string& arch = shape.architecture;
  const std::string model = arch == "qwen3" ? "Qwen3" : arch == "qwen2" ? "Qwen2" : "Llama";
  const std::string dtype = type == DType::kBF16 ? "bfloat16" : type == DType::kF16 ? "float16" : "float32";
  json::object config = {{"architectures", json::array{model + "ForCausalLM"}},
                         {"model_type", arch},
                         {"attention_dropout", 0.0},
                         {"head_dim", shape.head_dim},
                         {"hidden_act", "silu"},
                         {"hidden_size", shape.hidden},
                         {"initializer_range", 0.02},
                         {"intermediate_size", shape.intermediate},
                         {"max_position_embeddings", shape.max_position},
                         {"num_attention_heads", shape.heads},
                         {"num_hidden_layers", shape.layers},
                         {"num_key_value_heads", shape.kv_heads},
                         {"rms_norm_eps", shape.rms_eps},
                         {"rope_scaling", scaling},
                         {"rope_theta", shape.rope_theta},
                         {"tie_word_embeddings", shape.tied},
                         {"torch_dtype", dtype},
                         {"use_cache", true},
                         {"vocab_size", shape.vocab}};
  if (arch == "qwen2" || arch == "qwen3") {
    config["use_sliding_window"] = false;
    config["max_window_layers"] = shape.layers;
  }
  if (arch != "qwen2") config["attention_bias"] = false;
  if (tokenizer.bos >= 0) config["bos_token_id"] = tokenizer.bos;
  if (tokenizer.eos >= 0) config["eos_token_id"] = tokenizer.eos;
  return json::serialize(config);
}

std::string GenerationConfigJson(const SynthTokenizer& tokenizer) {
  json::object config = {{"do_sample", true}, {"temperature", 0.7}, {"top_k", 20}, {"top_p", 0.8}};
  if (tokenizer.bos >= 0) config["bos_token_id"] = tokenizer.bos;
  if (!tokenizer.stops.empty()) config["eos_token_id"] = json::array(tokenizer.stops.begin(), tokenizer.stops.end());
  return json::serialize(config);
}

int64_t SynthTensor::elements() const {
  return std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>());
}

std::string SafetensorsHeader(DType type, const SynthTensor* begin, const SynthTensor* end) {
  json::object header = {{"__metadata__", {{"format", "pt"}}}};
  uint64_t offset = 0;
  for (const SynthTensor* tensor = begin; tensor != end; ++tensor) {
    header[tensor->name] = {{"dtype", Info(type).name},
                            {"shape", json::array(tensor->shape.begin(), tensor->shape.end())},
                            {"data_offsets", {offset, offset + tensor->bytes}}};
    offset += tensor->bytes;
  }
  std::string text = json::serialize(header);
  text.append((8 - text.size() % 8) % 8, ' ');
  static_assert(std::endian::native == std::endian::little);
  const uint64_t size = text.size();
  std::string length(sizeof size, '\0');
  std::memcpy(length.data(), &size, sizeof size);
  return length + text;
}

std::string IndexJson(const std::vector<SynthTensor>& tensors, const std::vector<std::string>& shards) {
  uint64_t total = 0;
  json::object map;
  for (size_t i = 0; i < tensors.size(); ++i) {
    total += tensors[i].bytes;
    map[tensors[i].name] = shards[i];
  }
  return json::serialize(json::object{{"metadata", {{"total_size", total}}}, {"weight_map", map}});
}

}  // namespace inkstone
