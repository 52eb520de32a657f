// Writing a tokenizer's "tokenizer.*" keys. Internal to this layer.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "tokenizer/tokenizer_parts.h"

namespace inkstone {

struct TokenizerExport {
  const TokenTable& tokens;
  std::span<const BpeModel::Merge> merges;
  const std::vector<AddedToken>& added;
  const std::string& pre_name;
  const ChatTemplateSources& chat_templates;
  int32_t bos;
  int32_t eos;
  int32_t padding;
  std::span<const int32_t> stop;
  bool add_bos;
};

// kInvalidArgument when the model has fewer rows than the vocabulary, kUnimplemented when GGUF has no name for the
// pre-tokenizer.
Status ExportParts(const TokenizerExport& from, int32_t model_vocab, Metadata* metadata);

}  // namespace inkstone
