// Encodes and decodes for run_parity.py: MODEL is a tokenizer.json or a GGUF file.
//
// Requests on standard input: one byte 'r' (recognise special tokens), 'p' (plain) or 'd' (decode, skipping special
// tokens), a little-endian u32 size in bytes, the text or the i32 ids. Replies: u32 size in bytes, i32 ids or text.
// At the end the seconds of processor time spent in Encode go to standard error.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <ctime>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "formats/checkpoint.h"
#include "tokenizer/tokenizer.h"

namespace {

using inkstone::Checkpoint;
using inkstone::Result;
using inkstone::SpecialText;
using inkstone::Tokenizer;

Result<std::unique_ptr<Tokenizer>> Open(const std::string& path) {
  if (path.ends_with(".json")) {
    std::ifstream file(path, std::ios::binary);
    std::ostringstream text;
    text << file.rdbuf();
    return Tokenizer::FromJson(text.str(), "", path);
  }
  INK_ASSIGN_OR_RETURN(const Checkpoint checkpoint, Checkpoint::Open(path));
  return Tokenizer::Load(checkpoint);
}

// Processor time of this process: what a loaded machine does not change.
double Seconds() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

bool Read(void* data, size_t size) { return std::fread(data, 1, size, stdin) == size; }

void Reply(const void* data, size_t size) {
  const uint32_t bytes = static_cast<uint32_t>(size);
  std::fwrite(&bytes, 1, sizeof bytes, stdout);
  std::fwrite(data, 1, size, stdout);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: tokenize_tool MODEL\n");
    return 2;
  }
  const double load_start = Seconds();
  const auto tokenizer = Open(argv[1]);
  if (!tokenizer.ok()) {
    std::fprintf(stderr, "%s\n", tokenizer.status().message().c_str());
    return 1;
  }
  const double load = Seconds() - load_start;
  double encode = 0;
  double bytes = 0;
  char kind = 0;
  uint32_t size = 0;
  std::string text;
  while (Read(&kind, 1) && Read(&size, sizeof size)) {
    text.resize(size);
    if (!Read(text.data(), size)) return 1;
    if (kind == 'd') {
      std::vector<int32_t> ids(size / sizeof(int32_t));
      std::copy_n(text.data(), ids.size() * sizeof(int32_t), reinterpret_cast<char*>(ids.data()));
      const std::string decoded = (*tokenizer)->Decode(ids, true);
      Reply(decoded.data(), decoded.size());
    } else {
      const double start = Seconds();
      const auto ids = (*tokenizer)->Encode(text, kind == 'p' ? SpecialText::kPlain : SpecialText::kRecognize);
      encode += Seconds() - start;
      bytes += size;
      Reply(ids.data(), ids.size() * sizeof(int32_t));
    }
    std::fflush(stdout);
  }
  std::fprintf(stderr, "load %.3f s, encode %.3f s, %.1f MB/s\n", load, encode, encode > 0 ? bytes / encode / 1e6 : 0);
  return 0;
}
