// Byte-level BPE as Hugging Face `tokenizers` does it (Sennrich et al. 2016; GPT-2's byte alphabet).
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "core/status.h"
#include "formats/checkpoint.h"
#include "tokenizer/chat_template_sources.h"

namespace inkstone {

// How the text of special tokens ("<|im_end|>") inside user text is read.
enum class SpecialText {
  kRecognize,  // as the token: for rendered chat templates
  kPlain,      // as ordinary text: for what users type
};

class Tokenizer {
 public:
  // From a GGUF's metadata, or from a folder's tokenizer.json or vocab.json + merges.txt (+ tokenizer_config.json,
  // generation_config.json, chat_template.jinja). Errors name file, field, expected, found.
  static Result<std::unique_ptr<Tokenizer>> Load(const Checkpoint& checkpoint);
  // Of a folder that need not hold a model.
  static Result<std::unique_ptr<Tokenizer>> FromFolder(const std::string& folder);
  // `config_json` (tokenizer_config.json) may be empty. `source` names the origin in errors.
  static Result<std::unique_ptr<Tokenizer>> FromJson(std::string_view tokenizer_json, std::string_view config_json,
                                                     const std::string& source);
  static Result<std::unique_ptr<Tokenizer>> FromMetadata(const Metadata& metadata);

  ~Tokenizer();
  Tokenizer(const Tokenizer&) = delete;
  Tokenizer& operator=(const Tokenizer&) = delete;

  // Thread-safe. Invalid UTF-8 is replaced by U+FFFD as Python's errors="replace" does, one per maximal ill-formed
  // part. Time is O(n log n) in the text for every input.
  std::vector<int32_t> Encode(std::string_view text, SpecialText mode) const;
  // The same for texts and models of strangers. kResourceExhausted when the model's regular expressions cost more than
  // SplitWork allows (Encode then takes the rest of the text as one piece), kCancelled soon after `stop`.
  Result<std::vector<int32_t>> TryEncode(std::string_view text, SpecialText mode,
                                         const std::stop_token& stop = {}) const;

  // Bytes of the tokens joined, as Hugging Face's decode(skip_special_tokens=skip_special,
  // clean_up_tokenization_spaces=False); ill-formed UTF-8 becomes U+FFFD. Ids outside the vocabulary decode to nothing.
  std::string Decode(std::span<const int32_t> tokens, bool skip_special) const;

  // Raw bytes of one token: perhaps a part of a UTF-8 sequence. Empty outside the vocabulary.
  std::string_view TokenBytes(int32_t token) const;
  size_t longest_token() const;  // bytes of it
  bool IsSpecial(int32_t token) const;
  // -1 when the text is not exactly one token (added and special tokens, then the vocabulary).
  int32_t TokenId(std::string_view text) const;

  int32_t vocab_size() const;  // ids below it are valid; may be smaller than the model's output rows
  int32_t bos_token() const;   // -1 when there is none
  int32_t eos_token() const;   // -1 when there is none
  bool add_bos() const;        // the model expects BOS in front of raw text (never for Qwen)
  // Tokens that end a generation: those that the model's files name, and those whose text is known to end a turn
  // ("<|im_end|>", "<|eot_id|>", "<|endoftext|>", ...).
  std::span<const int32_t> stop_tokens() const;
  std::string_view chat_template() const;  // Jinja source of the main one, empty when the model has none
  const ChatTemplateSources& chat_templates() const;
  // What was odd about the files and is read otherwise than it is written, for people; as a rule nothing.
  std::span<const std::string> warnings() const;

  // Adds the "tokenizer.*" keys (as llama.cpp writes them) for a GGUF made from this tokenizer; the vocabulary is
  // padded to `model_vocab` rows with unused tokens.
  Status ExportMetadata(int32_t model_vocab, Metadata* metadata) const;

 private:
  struct Impl;
  class Encoding;
  explicit Tokenizer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// Turns a token stream to text, holding back bytes until they form whole UTF-8 sequences.
class StreamDecoder {
 public:
  explicit StreamDecoder(const Tokenizer& tokenizer, bool skip_special = true)
      : tokenizer_(&tokenizer), skip_special_(skip_special) {}
  // Text that is complete after this token; may be empty. An ill-formed part becomes U+FFFD once it can't be completed.
  std::string Push(int32_t token);
  // Whether a token adds no text whatever its bytes.
  bool skips(int32_t token) const { return skip_special_ && tokenizer_->IsSpecial(token); }
  // What is still held back, as U+FFFD if it is incomplete.
  std::string Flush();

 private:
  const Tokenizer* tokenizer_;
  bool skip_special_;
  std::string pending_;  // at most 3 bytes: an unfinished UTF-8 sequence
};

}  // namespace inkstone
