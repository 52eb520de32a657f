// A tokenizer as older checkpoints have it: vocab.json, merges.txt, added_tokens.json. Internal to this layer.
#pragma once

#include <boost/json/value.hpp>
#include <string>

#include "core/status.h"

namespace inkstone {

// The texts of the files; the last three may be empty.
struct VocabFiles {
  std::string folder;  // for error messages
  std::string vocab;
  std::string merges;
  std::string added;
  std::string tokenizer_config;
  std::string model_config;
};

// What tokenizer.json of the same tokenizer would hold. The files do not say how text is cut: the tokenizer's class or
// the model's type does, kUnimplemented for those that this program does not know.
Result<boost::json::value> JoinVocab(const VocabFiles& files);

}  // namespace inkstone
