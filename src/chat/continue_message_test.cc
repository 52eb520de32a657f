#include "chat/continue_message.h"

#include <gtest/gtest.h>

namespace inkstone {
namespace {

TEST(CutAfterMessage, EndsWhereTheLastMessageDoes) {
  const std::string rendered = "<user>one: 1.<end><assistant>\n\none: 1.<end>\n";
  EXPECT_EQ(*CutAfterMessage(rendered, "one: 1."), "<user>one: 1.<end><assistant>\n\none: 1.");
}

TEST(CutAfterMessage, AsksForNoSpaceThatTheTemplateTook) {
  EXPECT_EQ(*CutAfterMessage("<a>text <end>", "\n text "), "<a>text ");
  EXPECT_EQ(*CutAfterMessage("<a>text<end>", " text \n"), "<a>text");
}

TEST(CutAfterMessage, SaysWhenTheTemplateChangedTheMessage) {
  EXPECT_EQ(CutAfterMessage("<a>text<end>", "<think>x</think>text").status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(CutAfterMessage("<a>text<end>", " \n").status().code(), StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace inkstone
