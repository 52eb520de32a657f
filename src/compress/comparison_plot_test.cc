#include "compress/comparison_plot.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <limits>
#include <string>
#include <utility>
#include <vector>

namespace inkstone {
namespace {

using testing::HasSubstr;
using testing::Not;

size_t Count(const std::string& text, const std::string& part) {
  size_t count = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

TEST(ComparisonPlot, ShowsEveryModel) {
  const std::vector<PlotPoint> points = {{"large <16>", 8'000'000'000, {0, 0}},
                                         {"small", 2'000'000'000, {0.05, 0.001}},
                                         {"middle", 4'000'000'000, {0.002, 1e-4}}};
  const std::string svg = PlotComparison(points, "Size & cost", "three");
  EXPECT_EQ(Count(svg, "<circle"), 3u);
  EXPECT_THAT(svg, HasSubstr("Size &amp; cost"));
  EXPECT_THAT(svg, HasSubstr(">large &lt;16&gt;</text>"));
  EXPECT_THAT(svg, HasSubstr("prefers-color-scheme:dark"));
  EXPECT_THAT(svg, Not(testing::AnyOf(HasSubstr("nan"), HasSubstr("inf"), HasSubstr("href"))));
  // From left to right by size; 2 GB and 0.05 nats is the highest.
  EXPECT_LT(svg.find(">small</text>"), svg.find(">middle</text>"));
  EXPECT_EQ(Count(svg, "cy=\"420.0\""), 1u);  // no divergence: the lower edge
}

TEST(ComparisonPlot, OneModelOrNoDivergenceAtAll) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  for (const PlotPoint& point :
       {PlotPoint{"a", 1000, {0.01, nan}}, PlotPoint{"b", 1, {0, 0}}, PlotPoint{"c", 5, {3, 9}}}) {
    const std::string svg = PlotComparison({&point, 1}, "t", "s");
    EXPECT_THAT(svg, Not(testing::AnyOf(HasSubstr("nan"), HasSubstr("inf"))));
    EXPECT_EQ(Count(svg, "<circle"), 1u);
    EXPECT_LT(svg.size(), 20'000u);
  }
}

TEST(ComparisonPlot, LabelsOfNeighboursDoNotMeet) {
  std::vector<PlotPoint> points = {{"far away", 3000, {0.1, 0}}, {"further away", 500, {0.1, 0}}};
  for (int i = 0; i < 4; ++i) {
    points.push_back({"neighbour" + std::to_string(i), 1500 + static_cast<uint64_t>(i) * 10, {0.05, 0}});
  }
  const std::string svg = PlotComparison(points, "t", "s");
  std::vector<std::pair<double, double>> places;
  for (const PlotPoint& point : points) {
    const size_t end = svg.find(">" + point.label + "</text>");
    ASSERT_NE(end, std::string::npos);
    double x = 0;
    double y = 0;
    ASSERT_EQ(std::sscanf(svg.c_str() + svg.rfind("<text", end), "<text x=\"%lf\" y=\"%lf\"", &x, &y), 2);
    for (const auto& [other_x, other_y] : places) {
      EXPECT_TRUE(std::abs(x - other_x) > 60 || std::abs(y - other_y) >= 14) << point.label;
    }
    places.emplace_back(x, y);
  }
}

}  // namespace
}  // namespace inkstone
