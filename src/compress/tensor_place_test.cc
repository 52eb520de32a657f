#include "compress/tensor_place.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace inkstone {
namespace {

using ::testing::ElementsAre;

TEST(TensorPlaceTest, ReadsLayerAndKind) {
  EXPECT_EQ(PlaceOf("blk.35.attn_q.weight").layer, 35);
  EXPECT_EQ(PlaceOf("blk.35.attn_q.weight").kind, "attn_q");
  EXPECT_EQ(PlaceOf("blk.0.attn_q.bias").kind, "attn_q.bias");
  EXPECT_EQ(PlaceOf("token_embd.weight").layer, -1);
  EXPECT_EQ(PlaceOf("token_embd.weight").kind, "token_embd");
}

TEST(TensorPlaceTest, OddNamesAreTheirOwnKind) {
  for (const char* name : {"", "blk.", "blk.x.q", "blk.99999999999.q", "blk.7", "blk.-1.q"}) {
    EXPECT_EQ(PlaceOf(name).layer, -1) << name;
    EXPECT_EQ(PlaceOf(name).kind, name);
  }
}

TEST(TensorPlaceTest, KindsAreInTheOrderOfTheForwardPass) {
  const std::vector<std::string> tensors = {"output.weight",         "token_embd.weight",   "blk.0.ffn_down.weight",
                                            "blk.0.odd.weight",      "blk.0.attn_v.weight", "blk.0.attn_q.weight",
                                            "blk.1.ffn_down.weight", "blk.0.strange.weight"};
  EXPECT_THAT(KindsOf(tensors, true), ElementsAre("attn_q", "attn_v", "ffn_down", "odd", "strange"));
  EXPECT_THAT(KindsOf(tensors, false), ElementsAre("token_embd", "output"));
}

}  // namespace
}  // namespace inkstone
