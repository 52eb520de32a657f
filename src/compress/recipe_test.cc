#include "compress/recipe.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "compress/test_util.h"

namespace inkstone {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

SynthShape Shape() {
  SynthShape shape = NamedShape("qwen3-tiny").value();
  shape.hidden = 256;
  shape.intermediate = 256;
  shape.layers = 16;
  shape.heads = 4;
  shape.kv_heads = 2;
  return shape;
}

class RecipeTest : public testing::Test {
 protected:
  Checkpoint Open(const SynthShape& shape) {
    SynthOptions options;
    options.output = folder_ / "model";
    options.shape = shape;
    options.overwrite = true;
    const Status status = SynthQuietly(options);
    if (!status.ok()) throw std::runtime_error(status.message());
    return MustOpen(options.output);
  }

  TypePlan Plan(const SynthShape& shape, const std::string& name, bool weighted = false) {
    const Checkpoint checkpoint = Open(shape);
    Result<TypePlan> plan = PlanTypes(checkpoint, RecipeFromName(name).value(), weighted);
    if (!plan.ok()) throw std::runtime_error(plan.status().message());
    return std::move(plan).value();
  }

  TempFolder folder_;
};

// The types of one kind of matrix, one letter for each layer: the digit of its name.
std::string Layers(const TypePlan& plan, const std::string& kind) {
  std::string digits;
  for (int layer = 0;; ++layer) {
    const auto found = plan.types.find("blk." + std::to_string(layer) + "." + kind + ".weight");
    if (found == plan.types.end()) return digits;
    const std::string_view name = Info(found->second).name;
    digits += name[name.find('Q') + 1];
  }
}

// Expected strings are what llama-quantize gives a model of 16 layers.
TEST_F(RecipeTest, MixturesGiveMoreBitsWhereLlamaCppDoes) {
  TypePlan plan = Plan(Shape(), "q4_k_m");
  EXPECT_EQ(plan.file_type, 15u);
  EXPECT_EQ(plan.types.at("token_embd.weight"), DType::kQ6_K);  // it is the output matrix too
  EXPECT_EQ(Layers(plan, "attn_v"), "6644644644644666");
  EXPECT_EQ(Layers(plan, "ffn_down"), "6644644644644666");
  EXPECT_EQ(Layers(plan, "attn_q"), std::string(16, '4'));
  EXPECT_TRUE(plan.fallbacks.empty());

  plan = Plan(Shape(), "Q3_K_M");
  EXPECT_EQ(Layers(plan, "attn_v"), "5544444444444444");
  EXPECT_EQ(Layers(plan, "ffn_down"), "5444444444444444");
  EXPECT_EQ(Layers(plan, "attn_output"), std::string(16, '4'));
  EXPECT_EQ(Layers(plan, "ffn_up"), std::string(16, '3'));

  plan = Plan(Shape(), "Q4_K_S");
  EXPECT_EQ(Layers(plan, "attn_v"), "5555444444444444");
  EXPECT_EQ(Layers(plan, "ffn_down"), "5544444444444444");

  EXPECT_EQ(Layers(Plan(Shape(), "IQ4_XS"), "ffn_down"), "5544444444444444");
  EXPECT_EQ(Layers(Plan(Shape(), "IQ4_XS", true), "ffn_down"), std::string(16, '4'));
}

TEST_F(RecipeTest, MixturesLookAtSharedHeadsAndAtTheOutputMatrix) {
  SynthShape shape = Shape();
  EXPECT_EQ(Layers(Plan(shape, "Q2_K"), "attn_v"), std::string(16, '3'));
  EXPECT_EQ(Layers(Plan(shape, "IQ4_NL"), "attn_v"), std::string(16, '4'));
  shape.heads = 8;
  shape.kv_heads = 2;
  shape.tied = false;
  TypePlan plan = Plan(shape, "Q2_K");
  EXPECT_EQ(Layers(plan, "attn_v"), std::string(16, '4'));
  EXPECT_EQ(plan.types.at("output.weight"), DType::kQ6_K);
  EXPECT_EQ(plan.types.at("token_embd.weight"), DType::kQ2_K);
  EXPECT_EQ(Layers(Plan(shape, "IQ4_NL"), "attn_v"), std::string(16, '5'));
  shape.layers = 80;
  EXPECT_EQ(Layers(Plan(shape, "Q3_K_S"), "attn_v"), std::string(80, '5'));
}

TEST_F(RecipeTest, NamesAreTypesOrMixtures) {
  EXPECT_EQ(RecipeFromName("Q4_K").value().mixture, RecipeFromName("q4_k_m").value().mixture);
  EXPECT_NE(RecipeFromName("Q6_K").value().mixture, nullptr);
  EXPECT_EQ(RecipeFromName("Q6_K", true).value().mixture, nullptr);
  EXPECT_EQ(RecipeFromName("Q5_K_M", true).value().base, DType::kQ5_K);
  for (const DTypeInfo& info : AllDTypes()) EXPECT_EQ(RecipeFromName(info.name, true).value().base, info.type);
  const std::string message = RecipeFromName("Q9").status().message();
  EXPECT_THAT(message, HasSubstr("F32 F16 Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 BF16 Q2_K Q3_K_S"));
  EXPECT_THAT(message, HasSubstr("found 'Q9'"));
}

TEST_F(RecipeTest, ColumnsThatDoNotFitGetTheNextSimpleType) {
  EXPECT_EQ(TypeThatFits(DType::kQ4_K, 512), DType::kQ4_K);
  const std::pair<DType, DType> expected[] = {{DType::kQ2_K, DType::kQ4_0}, {DType::kQ3_K, DType::kQ4_0},
                                              {DType::kQ4_K, DType::kQ5_0}, {DType::kQ5_K, DType::kQ5_1},
                                              {DType::kQ6_K, DType::kQ8_0}, {DType::kIQ4_XS, DType::kIQ4_NL},
                                              {DType::kQ4_0, DType::kQ4_0}, {DType::kF32, DType::kF32}};
  for (const auto& [wanted, used] : expected) {
    EXPECT_EQ(TypeThatFits(wanted, 320), used) << Info(wanted).name;
    EXPECT_EQ(TypeThatFits(wanted, 330), IsFloat(wanted) ? wanted : DType::kF16) << Info(wanted).name;
  }
  SynthShape shape = Shape();
  shape.layers = 1;
  shape.intermediate = 320;
  const TypePlan plan = Plan(shape, "Q5_K_S");
  ASSERT_EQ(plan.fallbacks.size(), 1u);
  EXPECT_EQ(plan.fallbacks[0].tensor, "blk.0.ffn_down.weight");
  EXPECT_EQ(plan.fallbacks[0].wanted, DType::kQ5_K);
  EXPECT_EQ(plan.fallbacks[0].used, DType::kQ5_1);
  EXPECT_EQ(plan.types.at("blk.0.ffn_down.weight"), DType::kQ5_1);
}

TEST_F(RecipeTest, LaterPinsWin) {
  const Checkpoint checkpoint = Open(Shape());
  Recipe recipe = RecipeFromName("Q4_K_M").value();
  recipe.pins = {ParsePin("attn_(q|k)\\.weight$=q8_0").value(), ParsePin("^blk\\.(0|1)\\.attn_k=F16").value()};
  const Result<TypePlan> plan = PlanTypes(checkpoint, recipe, false);
  ASSERT_TRUE(plan.ok()) << plan.status().message();
  EXPECT_EQ(plan->types.at("blk.5.attn_q.weight"), DType::kQ8_0);
  EXPECT_EQ(plan->types.at("blk.5.attn_k.weight"), DType::kQ8_0);
  EXPECT_EQ(plan->types.at("blk.1.attn_k.weight"), DType::kF16);
  EXPECT_EQ(plan->types.at("blk.5.ffn_up.weight"), DType::kQ4_K);
  EXPECT_EQ(PinnedType(recipe.pins, "blk.0.attn_k.weight").value(), DType::kF16);
  EXPECT_EQ(PinnedType(recipe.pins, "blk.0.ffn_up.weight").value(), std::nullopt);

  recipe.pins.push_back(ParsePin("attn_norm=Q8_0").value());  // a vector
  EXPECT_THAT(PlanTypes(checkpoint, recipe, false).status().message(),
              HasSubstr("pattern 'attn_norm' matches no matrix"));
}

TEST_F(RecipeTest, PinsNameWhatIsWrong) {
  EXPECT_EQ(ParsePin("a=b=Q8_0").value().pattern, "a=b");
  EXPECT_THAT(ParsePin("attn_q").status().message(), HasSubstr("expected REGEX=TYPE"));
  EXPECT_THAT(ParsePin("=Q8_0").status().message(), HasSubstr("expected REGEX=TYPE"));
  EXPECT_THAT(ParsePin(std::string(257, 'a') + "=Q8_0").status().message(), HasSubstr("1 to 256 bytes"));
  EXPECT_THAT(ParsePin("attn_q=Q4_K_M").status().message(), HasSubstr("expected a tensor type"));
  EXPECT_THAT(ParsePin("attn_(q=Q8_0").status().message(), HasSubstr("pattern 'attn_(q': missing closing parenthesis"));
  const Pin slow{"^(a|aa)+$", DType::kQ8_0};
  EXPECT_THAT(PinnedType(std::vector<Pin>{slow}, std::string(60, 'a') + "b").status().message(),
              HasSubstr("takes too long"));
}

TEST_F(RecipeTest, AllocationsBecomePlans) {
  SynthShape shape = Shape();
  shape.layers = 1;
  const Checkpoint checkpoint = Open(shape);
  std::vector<AllocationItem> items;
  for (const TensorInfo& tensor : checkpoint.tensors()) {
    if (tensor.shape.size() < 2) continue;
    const bool down = tensor.name.ends_with("ffn_down.weight");
    items.push_back({tensor.name, {{DType::kQ2_K, 1, 1.0}, {DType::kQ5_K, 2, down ? 0.0 : 0.9}}});
  }
  const Result<Allocation> allocation = Allocate(items, items.size() + 1);
  ASSERT_TRUE(allocation.ok());
  const Result<TypePlan> plan = PlanTypes(checkpoint, items, *allocation);
  ASSERT_TRUE(plan.ok()) << plan.status().message();
  EXPECT_EQ(plan->types.at("blk.0.ffn_down.weight"), DType::kQ5_K);
  EXPECT_EQ(plan->types.at("blk.0.ffn_up.weight"), DType::kQ2_K);
  EXPECT_EQ(plan->file_type, 10u);  // most bytes are Q2_K

  const auto refused = [&](const std::vector<AllocationItem>& wrong) {
    Allocation chosen;
    chosen.chosen.resize(wrong.size());
    return PlanTypes(checkpoint, wrong, chosen).status().message();
  };
  std::vector<AllocationItem> wrong = items;
  wrong.back().tensor = "blk.9.ffn_up.weight";
  EXPECT_THAT(refused(wrong), HasSubstr("no type was chosen for tensor"));
  wrong = items;
  wrong.push_back({"blk.9.ffn_up.weight", {{DType::kQ2_K, 1, 1.0}}});
  EXPECT_THAT(refused(wrong), HasSubstr("'blk.9.ffn_up.weight', which is no matrix"));
}

}  // namespace
}  // namespace inkstone
