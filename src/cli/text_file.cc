#include "cli/text_file.h"

#include <fstream>
#include <iterator>

namespace inkstone {

Result<std::string> ReadText(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::string text((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  if (!in.good() && !in.eof()) return NotFound(path + ": cannot read");
  return text;
}

}  // namespace inkstone
