// inkstone tokenize: text on standard input to token ids, and back.
#include <boost/json/parse.hpp>
#include <cstdio>
#include <filesystem>
#include <iostream>
#include <iterator>
#include <vector>

#include "cli/command.h"
#include "cli/model_path.h"
#include "server/json_writer.h"
#include "tokenizer/tokenizer.h"

namespace inkstone {
namespace {

struct TokenizeOptions : CommonOptions {
  bool plain = false;
  bool decode = false;
};

void Declare(CLI::App* command, TokenizeOptions* o) {
  AddCommonOptions(command, o);
  command->add_flag("--plain", o->plain, "Take the text of special tokens as ordinary text");
  command->add_flag("--decode", o->decode, "The way back: {\"tokens\":[..]} or [..] on standard input to text");
  command->footer("Example:\n  echo -n 'Hello' | inkstone tokenize qwen3-4b.gguf");
}

Result<std::vector<int32_t>> ParseTokens(const std::string& text) {
  boost::json::error_code error;
  boost::json::value value = boost::json::parse(text, error);
  if (!error && value.is_object() && value.as_object().contains("tokens"))
    value = boost::json::value(value.at("tokens"));
  if (error || !value.is_array()) return InvalidArgument("standard input: expected {\"tokens\":[1,2,3]} or [1,2,3]");
  std::vector<int32_t> tokens;
  for (const boost::json::value& element : value.as_array()) {
    const int32_t token = element.to_number<int32_t>(error);
    if (error) return InvalidArgument("standard input: expected token ids, found " + ToJson(element));
    tokens.push_back(token);
  }
  return tokens;
}

// A folder needs nothing but a tokenizer: neither weights nor a config.
Result<std::unique_ptr<Tokenizer>> LoadTokenizer(const std::string& path) {
  std::error_code error;
  if (std::filesystem::is_directory(path, error)) return Tokenizer::FromFolder(path);
  INK_ASSIGN_OR_RETURN(const Checkpoint checkpoint, Checkpoint::Open(path));
  return Tokenizer::Load(checkpoint);
}

Status Run(const TokenizeOptions& o) {
  INK_ASSIGN_OR_RETURN(const std::string path, ResolveModel(o.model));
  INK_ASSIGN_OR_RETURN(const auto tokenizer, LoadTokenizer(path));
  const std::string input((std::istreambuf_iterator<char>(std::cin)), std::istreambuf_iterator<char>());
  if (o.decode) {
    INK_ASSIGN_OR_RETURN(const auto tokens, ParseTokens(input));
    const std::string text = tokenizer->Decode(tokens, false);
    std::fwrite(text.data(), 1, text.size(), stdout);
    return Status::Ok();
  }
  JsonWriter json;
  json.BeginObject().Key("tokens").BeginArray();
  for (const int32_t token : tokenizer->Encode(input, o.plain ? SpecialText::kPlain : SpecialText::kRecognize))
    json.Value(token);
  std::puts(json.EndArray().EndObject().Take().c_str());
  return Status::Ok();
}

}  // namespace

void AddTokenizeCommand(CLI::App* app, CommandBody* body) {
  AddCommand<TokenizeOptions>(app, body, "tokenize", "Turn text into token ids, or back", Declare, Run);
}

}  // namespace inkstone
