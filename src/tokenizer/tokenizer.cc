#include "tokenizer/tokenizer.h"

#include <algorithm>
#include <unordered_set>

#include "tokenizer/normalizer.h"
#include "tokenizer/tokenizer_gguf.h"
#include "tokenizer/tokenizer_parts.h"
#include "tokenizer/unicode.h"
#include "tokenizer/well_known.h"

namespace inkstone {
namespace {

constexpr size_t kCacheFrom = 2048;  // bytes of text that make clearing a piece cache worth it

}  // namespace

struct Tokenizer::Impl {
  // Marks the well-known tokens first.
  static std::unique_ptr<Impl> Make(TokenizerParts loaded) {
    MarkWellKnown(&loaded);
    return std::make_unique<Impl>(std::move(loaded));
  }

  explicit Impl(TokenizerParts loaded)
      : tokens(loaded.tokens),
        bpe(tokens, loaded.words, std::move(loaded.merges), loaded.bpe),
        parts(std::move(loaded)) {
    parts.tokens = {};
    parts.words = {};
    for (const AddedToken& token : parts.added) AddToMatcher(token);
    for (int32_t id = 0; id < tokens.size(); ++id) {
      if (tokens.present(id)) longest = std::max(longest, tokens.bytes(id).size());
    }
  }

  void AddToMatcher(AddedToken token) {
    if (token.special) special.insert(token.id);
    if (!token.normalized) {
      raw_matcher.Add(token);
      return;
    }
    std::string buffer;
    if (parts.nfc) token.content = std::string(NormalizeNfc(token.content, &buffer));
    normalized_matcher.Add(token);
  }

  TokenTable tokens;
  BpeModel bpe;
  TokenizerParts parts;  // without tokens, words and merges, which live above
  AddedTokenMatcher raw_matcher;
  AddedTokenMatcher normalized_matcher;
  std::unordered_set<int32_t> special;
  size_t longest = 0;  // bytes of a token
};

// One text on its way to tokens.
class Tokenizer::Encoding {
 public:
  Encoding(const Impl& impl, size_t text_bytes, SpecialText mode, const std::stop_token& stop)
      : impl_(impl), mode_(mode), stop_(stop), cache_(text_bytes >= kCacheFrom), work_(text_bytes, stop) {
    tokens_.reserve(text_bytes / 3 + 8);
  }

  void Add(std::string_view text) {
    std::string replaced;
    if (!unicode::IsValidUtf8(text)) {
      replaced = unicode::ReplaceIllFormed(text);
      text = replaced;
    }
    if (mode_ == SpecialText::kPlain) return AddText(text);
    impl_.raw_matcher.Split(
        text, [this](std::string_view stretch) { AddText(stretch); }, [this](int32_t id) { tokens_.push_back(id); });
  }
  std::vector<int32_t> Take() { return std::move(tokens_); }
  Status status() const {
    return stop_.stop_requested() ? Status(StatusCode::kCancelled, "cancelled") : work_.status();
  }

 private:
  // Text without tokens of the raw text in it: normalize, take the other added tokens out, cut, encode.
  void AddText(std::string_view text) {
    std::string buffer;
    const std::string_view normalized = impl_.parts.nfc ? NormalizeNfc(text, &buffer) : text;
    const auto encode = [this](std::string_view piece) {
      if (!stop_.stop_requested()) cache_.Encode(impl_.bpe, piece, &tokens_);
    };
    const auto pieces = [&](std::string_view stretch) { Pretokenize(impl_.parts.stages, stretch, encode, &work_); };
    if (mode_ == SpecialText::kPlain || impl_.normalized_matcher.empty()) {
      pieces(normalized);
    } else {
      impl_.normalized_matcher.Split(normalized, pieces, [this](int32_t id) { tokens_.push_back(id); });
    }
  }

  const Impl& impl_;
  const SpecialText mode_;
  const std::stop_token& stop_;
  PieceCache cache_;
  SplitWork work_;
  std::vector<int32_t> tokens_;
};

Tokenizer::Tokenizer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Tokenizer::~Tokenizer() = default;

Result<std::unique_ptr<Tokenizer>> Tokenizer::Load(const Checkpoint& checkpoint) {
  if (checkpoint.kind() == CheckpointKind::kGguf) return FromMetadata(checkpoint.metadata());
  return FromFolder(checkpoint.path());
}

Result<std::unique_ptr<Tokenizer>> Tokenizer::FromFolder(const std::string& folder) {
  INK_ASSIGN_OR_RETURN(TokenizerParts parts, PartsFromFolder(folder));
  return std::unique_ptr<Tokenizer>(new Tokenizer(Impl::Make(std::move(parts))));
}

Result<std::unique_ptr<Tokenizer>> Tokenizer::FromJson(std::string_view tokenizer_json, std::string_view config_json,
                                                       const std::string& source) {
  INK_ASSIGN_OR_RETURN(TokenizerParts parts, PartsFromJson(tokenizer_json, config_json, source));
  return std::unique_ptr<Tokenizer>(new Tokenizer(Impl::Make(std::move(parts))));
}

Result<std::unique_ptr<Tokenizer>> Tokenizer::FromMetadata(const Metadata& metadata) {
  INK_ASSIGN_OR_RETURN(TokenizerParts parts, PartsFromMetadata(metadata));
  return std::unique_ptr<Tokenizer>(new Tokenizer(Impl::Make(std::move(parts))));
}

std::vector<int32_t> Tokenizer::Encode(std::string_view text, SpecialText mode) const {
  const std::stop_token never;
  Encoding encoding(*impl_, text.size(), mode, never);
  encoding.Add(text);
  return encoding.Take();
}

Result<std::vector<int32_t>> Tokenizer::TryEncode(std::string_view text, SpecialText mode,
                                                  const std::stop_token& stop) const {
  Encoding encoding(*impl_, text.size(), mode, stop);
  encoding.Add(text);
  INK_RETURN_IF_ERROR(encoding.status());
  return encoding.Take();
}

std::string Tokenizer::Decode(std::span<const int32_t> tokens, bool skip_special) const {
  std::string bytes;
  for (const int32_t token : tokens) {
    if (!skip_special || !IsSpecial(token)) bytes += TokenBytes(token);
  }
  return unicode::IsValidUtf8(bytes) ? bytes : unicode::ReplaceIllFormed(bytes);
}

std::string_view Tokenizer::TokenBytes(int32_t token) const {
  return impl_->tokens.present(token) ? impl_->tokens.bytes(token) : std::string_view();
}

size_t Tokenizer::longest_token() const { return impl_->longest; }

bool Tokenizer::IsSpecial(int32_t token) const { return impl_->special.count(token) > 0; }

int32_t Tokenizer::TokenId(std::string_view text) const {
  if (text.empty()) return -1;
  if (const AddedToken* token = impl_->parts.FindAdded(text)) return token->id;
  for (int32_t id = 0; id < vocab_size(); ++id) {
    if (impl_->tokens.bytes(id) == text) return id;
  }
  return -1;
}

int32_t Tokenizer::vocab_size() const { return impl_->tokens.size(); }
int32_t Tokenizer::bos_token() const { return impl_->parts.bos; }
int32_t Tokenizer::eos_token() const { return impl_->parts.eos; }
bool Tokenizer::add_bos() const { return impl_->parts.add_bos; }
std::span<const int32_t> Tokenizer::stop_tokens() const { return impl_->parts.stop; }
std::span<const std::string> Tokenizer::warnings() const { return impl_->parts.warnings; }
std::string_view Tokenizer::chat_template() const { return MainTemplate(impl_->parts.chat_templates); }
const ChatTemplateSources& Tokenizer::chat_templates() const { return impl_->parts.chat_templates; }

Status Tokenizer::ExportMetadata(int32_t model_vocab, Metadata* metadata) const {
  const TokenizerParts& parts = impl_->parts;
  return ExportParts({.tokens = impl_->tokens,
                      .merges = impl_->bpe.merges(),
                      .added = parts.added,
                      .pre_name = parts.pre_name,
                      .chat_templates = parts.chat_templates,
                      .bos = parts.bos,
                      .eos = parts.eos,
                      .padding = parts.padding,
                      .stop = parts.stop,
                      .add_bos = parts.add_bos},
                     model_vocab, metadata);
}

std::string StreamDecoder::Push(int32_t token) {
  if (skip_special_ && tokenizer_->IsSpecial(token)) return {};
  const std::string bytes = pending_ + std::string(tokenizer_->TokenBytes(token));
  return unicode::ReplaceIllFormed(bytes, &pending_);
}

std::string StreamDecoder::Flush() {
  std::string text = unicode::ReplaceIllFormed(pending_);
  pending_.clear();
  return text;
}

}  // namespace inkstone
