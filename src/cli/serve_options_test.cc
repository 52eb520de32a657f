#include "cli/serve_options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <boost/json.hpp>
#include <sstream>

#include "planner/memory_plan.h"

namespace inkstone {
namespace {

using ::testing::HasSubstr;

// Parses `inkstone serve WORDS`.
ServeOptions Parse(const std::string& words) {
  CLI::App app;
  ServeOptions options;
  DeclareServeOptions(app.add_subcommand("serve"), &options);
  std::istringstream split("serve " + words);
  std::vector<std::string> arguments;
  for (std::string word; split >> word;) arguments.push_back(word);
  std::reverse(arguments.begin(), arguments.end());  // as CLI11 wants it
  app.parse(arguments);
  return options;
}

const ServingSettings& SettingsOf(std::string_view name) {
  const auto found = std::find_if(Profiles().begin(), Profiles().end(), [&](const auto& p) { return p.name == name; });
  EXPECT_NE(found, Profiles().end()) << name;
  return found->settings;
}

TEST(ServeOptions, WithoutAProfileAreTheDefaults) {
  EXPECT_EQ(Parse("model.gguf").settings(), ServingSettings());
  EXPECT_EQ(Parse("model.gguf").context_policy.Name(), "reject");
}

TEST(ServeOptions, AProfileSetsEverySetting) {
  for (const Profile& profile : Profiles()) {
    EXPECT_EQ(Parse("model.gguf --profile " + std::string(profile.name)).settings(), profile.settings) << profile.name;
  }
  EXPECT_EQ(SettingsOf("single").sequences, 1);
  EXPECT_GT(SettingsOf("multi").sequences, ServingSettings().sequences);
  EXPECT_EQ(SettingsOf("longdoc").context, kLongestContext);
}

TEST(ServeOptions, AnOptionBeatsTheProfileWhereverItStands) {
  for (const char* words : {"--profile longdoc model.gguf --queue 3 --sequences 2 --context 4096 --kv-type f16 "
                            "--prompt-chunk 64 --prefill-share 0.5 --context-policy rounds=7",
                            "--queue 3 --sequences 2 --context 4096 --kv-type f16 --prompt-chunk 64 "
                            "--prefill-share 0.5 --context-policy rounds=7 model.gguf --profile longdoc"}) {
    const ServingSettings expected{
        2, 3, 4096, KvTypes{DType::kF16, DType::kF16}, 64, 0.5, {ContextPolicy::Kind::kRounds, 7}};
    EXPECT_EQ(Parse(words).settings(), expected) << words;
  }
  ServingSettings one = SettingsOf("multi");
  one.kv_types = KvTypes{DType::kF16, DType::kF16};
  EXPECT_EQ(Parse("--kv-type f16 model.gguf --profile multi").settings(), one);
}

TEST(ServeOptions, ReadsContextsThatAreWordsAndNumbers) {
  EXPECT_EQ(Parse("m --context max").context, kLongestContext);
  EXPECT_EQ(Parse("m --profile longdoc --context auto").context, 0);
  EXPECT_EQ(Parse("m --context 2048").context, 2048);
  EXPECT_EQ(Parse("m --connections 1000").connections, 1000);
}

TEST(ServeOptions, SayWhoMayConnect) {
  const ServeOptions closed = Parse("m");
  EXPECT_FALSE(closed.no_auth);
  EXPECT_EQ(closed.grace, 30);
  const ServeOptions open = Parse("m --host 0.0.0.0 --no-auth --allow-host a.example --allow-host b.example --grace 5");
  EXPECT_TRUE(open.no_auth);
  EXPECT_EQ(open.hosts, (std::vector<std::string>{"a.example", "b.example"}));
  EXPECT_EQ(open.grace, 5);
}

TEST(ServeOptions, ClientsAreKeptApartUnlessTheOperatorSaysMore) {
  EXPECT_EQ(Parse("m").share, PrefixShare::kSystem);
  EXPECT_FALSE(Parse("m").allow_priority);
  EXPECT_EQ(Parse("m --share-prefix client").share, PrefixShare::kClient);
  EXPECT_EQ(Parse("m --share-prefix system").share, PrefixShare::kSystem);
  EXPECT_EQ(Parse("m --share-prefix all").share, PrefixShare::kAll);
  EXPECT_TRUE(Parse("m --allow-priority").allow_priority);
}

TEST(ServeOptions, RefuseWhatMakesNoSense) {
  for (const char* words :
       {"", "m --profile huge", "m --context 0", "m --context -1", "m --context many", "m --context-policy rounds=0",
        "m --sequences 0", "m --prefill-share 0.95", "m --prefill-share -1", "m --share-prefix some",
        "m --connections 0", "m --grace -1", "--print-profile huge"}) {
    EXPECT_THROW(Parse(words), CLI::ParseError) << words;
  }
}

TEST(Profiles, ArePrintedAsOptionsThatSayTheSame) {
  for (const Profile& profile : Profiles()) {
    const std::string text = DescribeProfiles(profile.name, false);
    EXPECT_THAT(text, HasSubstr(std::string(profile.purpose)));
    EXPECT_EQ(Parse("model.gguf " + text.substr(text.find("\n") + 1)).settings(), profile.settings) << text;
  }
  EXPECT_EQ(DescribeProfiles("all", false),
            DescribeProfiles("single", false) + DescribeProfiles("multi", false) + DescribeProfiles("longdoc", false));
  const auto json = boost::json::parse(DescribeProfiles("all", true));
  ASSERT_EQ(json.at("profiles").as_array().size(), 3u);
  EXPECT_EQ(json.at("profiles").at(2).at("context").as_string(), "max");
}

TEST(Profiles, ArePrintedWithoutAModel) { EXPECT_THROW(Parse("--print-profile single"), CLI::Success); }

}  // namespace
}  // namespace inkstone
