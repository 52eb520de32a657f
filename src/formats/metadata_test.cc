#include "formats/metadata.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace inkstone {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(MetadataTest, ReadsBackWhatWasSet) {
  Metadata m("model.gguf");
  std::string key = "general.name";
  std::string value = "Tiny";
  m.SetString(key, value);
  key.assign(key.size(), '?');  // both were copied
  value.assign(value.size(), '?');
  m.SetU32("n", 7);
  m.SetF32("f", 0.5f);
  m.SetBool("b", false);
  m.SetI32s("ints", std::vector<int32_t>{-1, 2});
  m.SetF32s("floats", std::vector<float>{0.25f, -3.0f});
  m.SetStrings("strings", std::vector<std::string>{"x", "y"});
  EXPECT_EQ(*m.GetString("general.name"), "Tiny");
  EXPECT_EQ(*m.GetInt("n"), 7);
  EXPECT_EQ(*m.GetFloat("n"), 7.0);
  EXPECT_EQ(*m.GetFloat("f"), 0.5);
  EXPECT_FALSE(*m.GetBool("b"));
  EXPECT_THAT(*m.GetInts("ints"), ElementsAre(-1, 2));
  EXPECT_THAT(*m.GetFloats("floats"), ElementsAre(0.25, -3.0));
  EXPECT_THAT(*m.GetStrings("strings"), ElementsAre("x", "y"));
}

TEST(MetadataTest, NamesWhatIsMissingOrWrong) {
  Metadata m("model.gguf");
  m.SetString("s", "text");
  m.SetI32s("ints", std::vector<int32_t>{1, 2, 3});
  const Status missing = m.GetInt("qwen3.block_count").status();
  EXPECT_EQ(missing.code(), StatusCode::kNotFound);
  EXPECT_EQ(missing.message(), "model.gguf: qwen3.block_count: expected an integer, found no such key");
  const Status wrong = m.GetInt("s").status();
  EXPECT_EQ(wrong.code(), StatusCode::kDataLoss);
  EXPECT_EQ(wrong.message(), "model.gguf: s: expected an integer, found string");
  EXPECT_THAT(m.GetString("ints").status().message(), HasSubstr("expected a string, found array of 3 i32"));
  EXPECT_EQ(m.GetFloats("ints").status().code(), StatusCode::kDataLoss);
  EXPECT_EQ(m.GetStrings("s").status().code(), StatusCode::kDataLoss);
  EXPECT_EQ(m.GetBool("s").status().code(), StatusCode::kDataLoss);
  EXPECT_EQ(m.GetFloat("s").status().code(), StatusCode::kDataLoss);
}

TEST(MetadataTest, FallbackIsForMissingKeysOnly) {
  Metadata m;
  m.SetString("s", "text");
  EXPECT_EQ(*m.GetIntOr("none", 5), 5);
  EXPECT_EQ(*m.GetFloatOr("none", 0.25), 0.25);
  EXPECT_TRUE(*m.GetBoolOr("none", true));
  EXPECT_EQ(*m.GetStringOr("none", "x"), "x");
  EXPECT_EQ(*m.GetStringOr("s", "x"), "text");
  EXPECT_FALSE(m.GetIntOr("s", 5).ok());
  EXPECT_FALSE(m.GetFloatOr("s", 5).ok());
  EXPECT_FALSE(m.GetBoolOr("s", true).ok());
}

TEST(MetadataTest, ReplacesAndErases) {
  Metadata m;
  m.SetU32("a", 1);
  m.SetU32("b", 2);
  m.SetU32("c", 3);
  m.SetString("a", "replaced");
  EXPECT_EQ(m.entries().size(), 3u);
  EXPECT_EQ(m.entries()[0].key, "a");
  EXPECT_EQ(*m.GetString("a"), "replaced");
  m.Erase("a");
  m.Erase("none");
  EXPECT_EQ(m.entries().size(), 2u);
  EXPECT_EQ(m.Find("a"), nullptr);
  EXPECT_EQ(*m.GetInt("b"), 2);
  EXPECT_EQ(*m.GetInt("c"), 3);
}

TEST(MetadataTest, CopyOutlivesTheOriginal) {
  Metadata copy;
  {
    Metadata m("source");
    m.SetString("name", "a string that is too long to be held inside the object");
    copy = m.ShallowCopy();
    m.SetString("name", "changed");
  }
  EXPECT_EQ(*copy.GetString("name"), "a string that is too long to be held inside the object");
  EXPECT_EQ(copy.source(), "source");
  copy.SetU32("more", 1);
  EXPECT_EQ(*copy.GetInt("more"), 1);
}

}  // namespace
}  // namespace inkstone
