// Valid files with one thing changed: parsing ends in an error, or in tensors that still lie within the file.
#include <gtest/gtest.h>

#include <cstddef>
#include <fstream>
#include <iterator>
#include <span>
#include <string>
#include <vector>

#include "formats/gguf_reader.h"
#include "formats/safetensors.h"

namespace inkstone {
namespace {

const std::string kSeeds = INKSTONE_SOURCE_DIR "/fuzz/seeds/";

std::string Read(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

// An exact copy on the heap, so that a sanitizer sees a read past its end.
std::vector<std::byte> Bytes(const std::string& text) {
  const auto* data = reinterpret_cast<const std::byte*>(text.data());
  return {data, data + text.size()};
}

void ExpectWithin(std::span<const TensorInfo> tensors, size_t size) {
  for (const TensorInfo& tensor : tensors) {
    ASSERT_LE(tensor.offset, size);
    ASSERT_LE(tensor.bytes, size - tensor.offset);
  }
}

// Calls check(bytes) for every file that differs in one byte.
template <typename Check>
void ForEachChange(const std::string& good, const Check& check) {
  for (size_t i = 0; i < good.size(); ++i) {
    for (const char value : {'\0', '\x01', '\x7f', '\x80', '\xff', static_cast<char>(good[i] + 1)}) {
      std::string bad = good;
      bad[i] = value;
      check(Bytes(bad));
    }
  }
}

TEST(MutationTest, Gguf) {
  const std::string good = Read(kSeeds + "gguf/valid.gguf");
  const auto whole = ParseGguf(Bytes(good), "valid");
  ASSERT_TRUE(whole.ok()) << whole.status().message();
  ASSERT_EQ(whole->tensors.size(), 3u);
  const TensorInfo& last = whole->tensors.back();
  for (size_t size = 0; size < last.offset + last.bytes; ++size) {
    EXPECT_FALSE(ParseGguf(Bytes(good.substr(0, size)), "cut").ok()) << size;
  }
  int accepted = 0;
  ForEachChange(good, [&](const std::vector<std::byte>& bytes) {
    const auto file = ParseGguf(bytes, "changed");
    if (!file.ok()) return;
    ++accepted;
    ExpectWithin(file->tensors, bytes.size());
  });
  EXPECT_GT(accepted, 100);  // changed values and tensor bytes are as good as any
}

TEST(MutationTest, Safetensors) {
  const std::string good = Read(kSeeds + "safetensors/valid.safetensors");
  const auto whole = ParseSafetensors(Bytes(good), "valid");
  ASSERT_TRUE(whole.ok()) << whole.status().message();
  ASSERT_EQ(whole->size(), 2u);
  for (size_t size = 0; size < good.size(); ++size) {
    EXPECT_FALSE(ParseSafetensors(Bytes(good.substr(0, size)), "cut").ok()) << size;
  }
  EXPECT_FALSE(ParseSafetensors(Bytes(good + "x"), "longer").ok());
  int accepted = 0;
  ForEachChange(good, [&](const std::vector<std::byte>& bytes) {
    const auto tensors = ParseSafetensors(bytes, "changed");
    if (!tensors.ok()) return;
    ++accepted;
    ExpectWithin(*tensors, bytes.size());
  });
  EXPECT_GT(accepted, 100);
}

}  // namespace
}  // namespace inkstone
