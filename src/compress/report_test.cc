#include "compress/report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json/parse.hpp>
#include <boost/json/value.hpp>
#include <cmath>
#include <string>
#include <vector>

#include "compress/report_html.h"
#include "compress/test_story.h"
#include "compress/test_util.h"

namespace inkstone {
namespace {

using ::testing::AllOf;
using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::Not;

std::string Page(const CompressionStory& story) {
  const TempFolder folder;
  const Status status = WriteHtmlReport(folder / "report.html", story);
  EXPECT_TRUE(status.ok()) << status.message();
  return ReadFile(folder / "report.html");
}

// The sizes alone: what every story has.
CompressionStory Bare() {
  CompressionStory story;
  story.model = "Tiny";
  story.output = "tiny.gguf";
  story.parameters = 1000;
  story.source_bytes = 2000;
  story.result_bytes = 500;
  return story;
}

// The text of the script element that holds the data.
std::string DataBlock(const std::string& page) {
  const std::string open = "<script type=\"application/json\" id=\"data\">";
  const size_t begin = page.find(open) + open.size();
  return page.substr(begin, page.find("</script>", begin) - begin);
}

size_t Count(const std::string& text, const std::string& part) {
  size_t count = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

TEST(ReportTest, SectionsAppearWithTheirDataOnly) {
  const char* const kSections[] = {"sizes", "sensitivity", "curve", "quality", "answers", "made"};
  const std::vector<void (*)(const CompressionStory&, CompressionStory*)> copy = {
      [](const CompressionStory& from, CompressionStory* to) { to->tensors = from.tensors; },
      [](const CompressionStory& from, CompressionStory* to) {
        to->sensitivity = from.sensitivity;
        to->sensitivity.tokens = 0;
      },
      [](const CompressionStory& from, CompressionStory* to) { to->frontier = from.frontier; },
      [](const CompressionStory& from, CompressionStory* to) { to->quality = from.quality; },
      [](const CompressionStory& from, CompressionStory* to) { to->answers = from.answers; },
      [](const CompressionStory& from, CompressionStory* to) { to->options = from.options; }};
  const CompressionStory full = TestStory(2);
  for (size_t with = 0; with <= copy.size(); ++with) {
    CompressionStory story = Bare();
    if (with < copy.size()) copy[with](full, &story);
    const std::string page = Page(story);
    EXPECT_THAT(page, HasSubstr("<section id=\"headline\">"));
    for (size_t i = 0; i < copy.size(); ++i) {
      EXPECT_EQ(Count(page, std::string("<section id=\"") + kSections[i] + "\">"), i == with ? 1u : 0u) << kSections[i];
    }
  }
}

TEST(ReportTest, HeadlineNumbersAreRight) {
  const std::string page = Page(Bare());
  EXPECT_THAT(page, AllOf(HasSubstr("<span>2.00 kB</span>"), HasSubstr("<strong>500 B</strong>"),
                          HasSubstr("<b>75.0%</b>"), HasSubstr("<b>4.00</b>"), HasSubstr("16.00 in the source")));
  EXPECT_THAT(page, Not(HasSubstr("Perplexity")));
  CompressionStory story = Bare();
  story.quality = {{"a", 300, 10, 11, 0.02, 0.001, 0.01, 0.2, 0.9}, {"b", 100, 10, 11, 0.06, 0.002, 0.03, 0.4, 0.7}};
  EXPECT_THAT(Page(story), AllOf(HasSubstr("10.00 <i>\u2192</i> 11.00"), HasSubstr("+10.0% over 400 tokens"),
                                 HasSubstr("<b>0.0300</b><small> \u00b1 0.0009 nats"), HasSubstr("<b>85.0%</b>")));
}

TEST(ReportTest, OverallWeighsByPositions) {
  const StoryQuality all =
      Overall({{"a", 300, 10, 20, 0.02, 0.004, 0, 0, 0.9}, {"b", 100, 1000, 2000, 0.06, 0.004, 0, 0, 0.7}});
  EXPECT_EQ(all.positions, 400);
  EXPECT_NEAR(all.source_perplexity, std::pow(10, 1.5), 1e-9);
  EXPECT_NEAR(all.perplexity, 2 * std::pow(10, 1.5), 1e-9);
  EXPECT_NEAR(all.kl_mean, 0.03, 1e-12);
  EXPECT_NEAR(all.kl_error, 0.004 * std::sqrt(0.75 * 0.75 + 0.25 * 0.25), 1e-12);
  EXPECT_NEAR(all.top1_agreement, 0.85, 1e-12);
}

TEST(ReportTest, SizesAddUpByClassAndType) {
  CompressionStory story = Bare();
  story.tensors = {{"blk.0.ffn_up.weight", DType::kBF16, 4000, DType::kQ4_K, 1000},
                   {"blk.1.ffn_up.weight", DType::kBF16, 4000, DType::kQ8_0, 2000},
                   {"blk.0.attn_norm.weight", DType::kBF16, 20, DType::kF32, 40},
                   {"strange", DType::kBF16, 30, DType::kF32, 60}};
  const std::string page = Page(story);
  EXPECT_THAT(page, HasSubstr("<h3>FFN up</h3>"));
  EXPECT_THAT(page, HasSubstr("<p>8.00 kB <i>\u2192</i> <b>3.00 kB</b></p>"));
  EXPECT_THAT(page, HasSubstr("<p>50 B <i>\u2192</i> <b>100 B</b></p>"));
  EXPECT_THAT(page, HasSubstr("class=\"t-Q4_K\" x=\"0.000%\" width=\"12.500%\""));
  EXPECT_THAT(page, HasSubstr("class=\"t-Q8_0\" x=\"12.500%\" width=\"25.000%\""));
  EXPECT_THAT(page, Not(HasSubstr("<h3>Embedding</h3>")));
}

TEST(ReportTest, HeatMapHasACellForEachMatrix) {
  const CompressionStory story = TestStory(36);
  const std::string heat = SensitivitySection(story);
  EXPECT_EQ(Count(heat, "<td class="), story.sensitivity.tensors.size());
  EXPECT_EQ(Count(heat, "<input type=\"radio\""), story.sensitivity.types.size());
  EXPECT_EQ(Count(heat, " checked>"), 1u);
  EXPECT_EQ(Count(heat, "class=\"h0-x "), 1u);  // one type fits one tensor not
  EXPECT_THAT(heat, HasSubstr("Q3_K    does not fit"));
  EXPECT_THAT(heat, HasSubstr("class=\"h0-9 "));
  EXPECT_THAT(heat, HasSubstr("h5-0\""));
  EXPECT_THAT(heat, HasSubstr("<th>35</th>"));
}

TEST(ReportTest, CurveMarksThisFile) {
  CompressionStory story = TestStory(2);
  const std::string curve = CurveSection(story);
  EXPECT_EQ(Count(curve, "<circle "), story.frontier.size());
  EXPECT_EQ(Count(curve, "class=\"point uniform"), story.uniform.size());
  EXPECT_EQ(Count(curve, "class=\"point this"), 1u);
  EXPECT_EQ(Count(curve, "class=\"point measured"), 1u);
  EXPECT_THAT(curve, Not(ContainsRegex("nan|inf[^o]")));
  story.predicted_divergence.reset();
  story.quality.clear();
  EXPECT_THAT(CurveSection(story), AllOf(Not(HasSubstr("point this")), Not(HasSubstr("point measured"))));
  story.frontier = {{"", 1000, 0.5}};  // one point has no extent
  story.uniform.clear();
  EXPECT_THAT(CurveSection(story), AllOf(HasSubstr("<circle "), Not(ContainsRegex("nan|inf[^o]"))));
  story.frontier = {{"", 1000, 0}};  // without a logarithm
  EXPECT_EQ(CurveSection(story), "");
}

TEST(ReportTest, AnswersMarkTheFirstDifferenceAtACharacter) {
  CompressionStory story = Bare();
  story.answers = {{"p", "Same start, then A", "Same start, then B"},
                   {"q", "\u6F6E", "\u6F6F"},  // differ in the last of three bytes
                   {"r", "equal", "equal"}};
  const std::string page = Page(story);
  EXPECT_THAT(page, HasSubstr("Same start, then <mark>A</mark>"));
  EXPECT_THAT(page, HasSubstr("Same start, then <mark>B</mark>"));
  EXPECT_THAT(page, HasSubstr("<mark>\u6F6E</mark>"));
  EXPECT_THAT(page, HasSubstr("identical for the first 94%"));
  EXPECT_THAT(page, HasSubstr("<p class=\"badge\">identical</p>"));
  EXPECT_EQ(Count(page, "<mark>"), 4u);
}

TEST(ReportTest, HostileStringsStayText) {
  const std::string hostile = "</script><img src=x onerror=\"alert('1')\">&\xFF";
  CompressionStory story = TestStory(1);
  story.model = story.output = hostile;
  for (std::string& tensor : story.sensitivity.tensors) tensor = "blk.0." + tensor + hostile;
  for (StoryTensor& tensor : story.tensors) tensor.name = "blk.0." + tensor.name + hostile;
  for (StoryPoint& point : story.uniform) point.label = hostile;
  for (StoryQuality& q : story.quality) q.text = hostile;
  story.answers = {{hostile, hostile + "a", hostile + "b"}};
  story.options = {{hostile, hostile}};
  const std::string page = Page(story);
  EXPECT_THAT(page, Not(HasSubstr("<img")));
  EXPECT_EQ(Count(page.substr(0, page.find("<script")), "\"alert"), 0u);
  EXPECT_THAT(page, Not(HasSubstr("\xFF")));
  EXPECT_EQ(Count(page, "</script>"), 2u);
  EXPECT_THAT(page, HasSubstr("&lt;/script&gt;&lt;img src=x onerror=&quot;alert(&#39;1&#39;)&quot;&gt;&amp;\uFFFD"));
  const boost::json::value data = boost::json::parse(DataBlock(page));
  EXPECT_EQ(data.at("model").as_string(), "</script><img src=x onerror=\"alert('1')\">&\uFFFD");
}

TEST(ReportTest, DataBlockHoldsTheStory) {
  const CompressionStory story = TestStory(3);
  const std::string page = Page(story);
  const boost::json::value data = boost::json::parse(DataBlock(page));
  EXPECT_EQ(data, boost::json::parse(ReportJson(story)));
  EXPECT_EQ(data.at("source_bytes").to_number<uint64_t>(), story.source_bytes);
  EXPECT_EQ(data.at("tensors").as_array().size(), story.tensors.size());
  EXPECT_EQ(data.at("tensors").at(0).at("type").as_string(), Info(story.tensors[0].type).name);
  const boost::json::value& table = data.at("sensitivity");
  EXPECT_EQ(table.at("divergence").as_array().size(), table.at("tensors").as_array().size() * 6);
  EXPECT_TRUE(table.at("divergence").at(6).is_null());  // NaN
  EXPECT_EQ(table.at("divergence").at(7).to_number<float>(), story.sensitivity.at(1, 1));
  EXPECT_EQ(data.at("quality").at(1).at("kl_p99").as_double(), 0.588);
  EXPECT_EQ(data.at("uniform").at(2).at("label").as_string(), "Q4_K");
  EXPECT_EQ(data.at("seconds").to_number<double>(), 4271);
}

TEST(ReportTest, PageNeedsNothingFromOutside) {
  const std::string page = Page(TestStory(2));
  EXPECT_THAT(page, Not(ContainsRegex("https?:|src=|href=|url\\(|@import")));
  EXPECT_THAT(page, AllOf(HasSubstr("prefers-color-scheme: dark"), HasSubstr("addEventListener")));
}

TEST(ReportTest, NamesAFileThatCannotBeWritten) {
  const TempFolder folder;
  EXPECT_THAT(WriteHtmlReport(folder / "none/report.html", Bare()).message(), HasSubstr("none/report.html"));
}

TEST(ReportTest, NumbersAreShort) {
  EXPECT_EQ(SmallNumber(0), "0");
  EXPECT_EQ(SmallNumber(0.03123), "0.0312");
  EXPECT_EQ(SmallNumber(0.00512), "0.00512");
  EXPECT_EQ(SmallNumber(3.14e-5), "3.1e-5");
  EXPECT_EQ(SmallNumber(2e-12), "2.0e-12");
  EXPECT_EQ(SmallNumber(0.5), "0.500");
  EXPECT_EQ(SmallNumber(12.345), "12.3");
  EXPECT_EQ(SmallNumber(1234.5), "1234");
  EXPECT_EQ(SmallNumber(std::nan("")), "unknown");
  EXPECT_EQ(WithError(0.03847, 5.03e-4), "0.0385 \u00b1 0.0005");
  EXPECT_EQ(WithError(0.0521, 0.012), "0.052 \u00b1 0.012");
  EXPECT_EQ(WithError(2.04e-4, 1.3e-5), "2.0e-4 \u00b1 1.3e-5");
  EXPECT_EQ(WithError(0.25, 0), "0.250");
  EXPECT_EQ(Grouped(0), "0");
  EXPECT_EQ(Grouped(-1234567), "-1,234,567");
  EXPECT_EQ(Grouped(999), "999");
}

}  // namespace
}  // namespace inkstone
