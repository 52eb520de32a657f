// Loads on a scripted server.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <chrono>
#include <string>

#include "loadgen/latency_plot.h"
#include "loadgen/load_run.h"
#include "loadgen/testing/script_server.h"

namespace inkstone::testing {
namespace {

using std::chrono::milliseconds;
using ::testing::HasSubstr;
using ::testing::Not;

LoadOptions Load(const ScriptServer& server, int64_t requests, int clients = 1) {
  LoadOptions options;
  options.url = server.url();
  options.requests = requests;
  options.clients = clients;
  options.warmup = 0;
  options.timeout = 20;
  options.workload.prompt_tokens = {4, 8};
  return options;
}

LoadReport Measure(const LoadOptions& options) {
  auto report = RunLoad(options);
  EXPECT_TRUE(report.ok()) << report.status().message();
  return report.ok() ? *report : LoadReport();
}

std::string KindOfOnly(const LoadReport& report) {
  EXPECT_EQ(report.answered, 0);
  EXPECT_EQ(report.failures.size(), 1u);
  return report.failures.empty() ? "" : report.failures.front().kind;
}

TEST(Load, MeasuresAnswers) {
  ScriptServer server([](const auto&, int) { return Answer(5, milliseconds(20)); });
  LoadOptions options = Load(server, 6, 3);
  options.warmup = 2;
  options.api_key = "secret";
  const LoadReport report = Measure(options);
  EXPECT_EQ(report.answered, 6);
  EXPECT_EQ(report.failed, 0);
  EXPECT_EQ(report.prompt_tokens, 60);
  EXPECT_EQ(report.output_tokens, 30);
  EXPECT_EQ(report.without_usage, 0);
  EXPECT_EQ(report.several_per_piece, 0);
  EXPECT_EQ(report.first_token.count, 6);
  EXPECT_EQ(report.between_tokens.count, 24);
  EXPECT_EQ(report.per_token.count, 6);
  EXPECT_GE(report.first_token.p50, 0.018);
  EXPECT_GE(report.between_tokens.mean, 0.015);
  EXPECT_GE(report.whole.p50, 0.098);
  EXPECT_GE(report.seconds, 0.196);
  EXPECT_LE(report.whole.max, report.seconds);
  EXPECT_EQ(server.most_at_once(), 3);
  const auto requests = server.requests();
  ASSERT_EQ(requests.size(), 8u);
  EXPECT_EQ(requests[0].target(), "/v1/chat/completions");
  EXPECT_EQ(requests[0]["Authorization"], "Bearer secret");
  EXPECT_NE(requests[0].body(), requests[1].body());
}

TEST(Load, CountsPiecesWithoutUsage) {
  ScriptServer server([](const auto&, int number) {
    std::vector<Step> steps = {{.bytes = StreamHead() + Piece("a")}, {milliseconds(5), Piece("b") + Piece("c")}};
    steps.push_back({.bytes = (number == 0 ? Finish() : Finish() + UsageEvent(4, 9)) + Done()});
    return steps;
  });
  const LoadReport report = Measure(Load(server, 2));
  EXPECT_EQ(report.answered, 2);
  EXPECT_EQ(report.without_usage, 1);
  EXPECT_EQ(report.several_per_piece, 1);
  EXPECT_EQ(report.output_tokens, 3 + 9);
  EXPECT_THAT(ReportTable(report), HasSubstr("1 answers came without usage"));
}

TEST(Load, CountsEmptyAnswersApart) {
  ScriptServer server([](const auto&, int) { return Answer(0); });
  const LoadReport report = Measure(Load(server, 3));
  EXPECT_EQ(report.empty, 3);
  EXPECT_EQ(report.answered, 0);
  EXPECT_EQ(report.first_token.count, 0);
}

TEST(Load, CountsFailuresByKind) {
  ScriptServer server([](const auto&, int number) -> std::vector<Step> {
    switch (number) {
      case 0:
        return {{.bytes = "HTTP/1.1 500 Oh\r\nContent-Length: 4\r\n\r\noops"}};
      case 1:
        return {{.bytes = StreamHead() + Piece("a")}};
      case 2:
        return {{.bytes = "garbage\r\n\r\n"}};
      case 3:
        return {{.bytes = StreamHead() + "data: {]\n\n"}};
      default:
        return Answer(2);
    }
  });
  const LoadReport report = Measure(Load(server, 6));
  EXPECT_EQ(report.answered, 2);
  EXPECT_EQ(report.failed, 4);
  ASSERT_EQ(report.failures.size(), 3u);
  EXPECT_EQ(report.failures[0].kind, "closed early");
  EXPECT_EQ(report.failures[1].kind, "http 500");
  EXPECT_EQ(report.failures[1].first, "oops");
  EXPECT_EQ(report.failures[2].kind, "malformed");
  EXPECT_EQ(report.failures[2].count, 2);
  ASSERT_TRUE(report.first_failure);
  EXPECT_EQ(report.first_failure->message, "oops");
  EXPECT_EQ(report.first_token.count, 2);
}

TEST(Load, WaitsAsLongAsAServerAsks) {
  ScriptServer server([](const auto&, int number) -> std::vector<Step> {
    if (number > 0) return Answer(1);
    return {{.bytes = "HTTP/1.1 429 Busy\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n"}};
  });
  const LoadReport report = Measure(Load(server, 2));
  EXPECT_EQ(report.failures.at(0).kind, "http 429");
  EXPECT_EQ(report.answered, 1);
  EXPECT_GE(report.seconds, 1.0);
  EXPECT_LT(report.first_token.max, 0.9);
}

TEST(Load, ReportsAServerThatIsNotThere) {
  std::string url;
  {
    ScriptServer server([](const auto&, int) { return Answer(1); });
    url = server.url();
  }
  LoadOptions options;
  options.url = url;
  options.requests = 2;
  EXPECT_EQ(KindOfOnly(Measure(options)), "connect");
}

TEST(Load, TimesOut) {
  ScriptServer server([](const auto&, int) {
    return std::vector<Step>{{.bytes = StreamHead() + Piece("a")}, {milliseconds(10'000), Piece("b")}};
  });
  LoadOptions options = Load(server, 2, 2);
  options.timeout = 0.2;
  const LoadReport report = Measure(options);
  EXPECT_EQ(KindOfOnly(report), "timeout");
  EXPECT_EQ(report.failed, 2);
  EXPECT_LT(report.seconds, 5);
}

TEST(Load, EndsAfterItsDuration) {
  ScriptServer server([](const auto&, int) { return Answer(1, milliseconds(50)); });
  LoadOptions options = Load(server, 0, 2);
  options.duration = 0.3;
  const LoadReport report = Measure(options);
  EXPECT_GE(report.answered, 2);
  EXPECT_LE(report.answered, 14);
  EXPECT_GE(report.seconds, 0.3);
}

// A server that answers one request at a time would hide its waiting times from clients that wait for it.
TEST(OpenLoop, ArrivalsDoNotWaitForAnswers) {
  ScriptServer server([](const auto&, int) { return Answer(1, milliseconds(300)); });
  LoadOptions options = Load(server, 20);
  options.rate = 200;
  const LoadReport report = Measure(options);
  EXPECT_EQ(report.answered, 20);
  EXPECT_GE(server.most_at_once(), 10);
  EXPECT_GE(report.first_token.p50, 0.3);
  EXPECT_LT(report.seconds, 3);
}

TEST(OpenLoop, DropsWhatIsTooMuch) {
  ScriptServer server([](const auto&, int) { return Answer(1, milliseconds(500)); });
  LoadOptions options = Load(server, 20);
  options.rate = 500;
  options.max_in_flight = 4;
  const LoadReport report = Measure(options);
  EXPECT_EQ(report.answered + report.dropped, 20);
  EXPECT_GE(report.dropped, 12);
  EXPECT_LE(server.most_at_once(), 4);
}

TEST(Load, HangsUpOnlyWhereItShould) {
  ScriptServer server([](const auto&, int) { return Answer(40, milliseconds(50)); });
  LoadOptions options = Load(server, 8, 8);
  options.disconnect = 1;
  const LoadReport report = Measure(options);
  EXPECT_EQ(report.hung_up, 8);  // within a second, and answers take two
  EXPECT_EQ(report.failed, 0);
  EXPECT_EQ(report.output_tokens, 0);
}

TEST(Load, ReadsSlowly) {
  ScriptServer server([](const auto&, int) { return Answer(10); });
  LoadOptions options = Load(server, 1);
  size_t bytes = 0;
  for (const Step& step : Answer(10)) bytes += step.bytes.size();
  options.slow_reader = 2000;
  const LoadReport report = Measure(options);
  EXPECT_EQ(report.answered, 1);
  // All but the last read are paid for.
  EXPECT_GE(report.seconds, static_cast<double>(bytes) / 2000 - 0.2);
}

TEST(Load, CountsGoodRequests) {
  ScriptServer server([](const auto&, int number) { return Answer(3, milliseconds(number == 0 ? 200 : 1)); });
  LoadOptions options = Load(server, 3);
  options.slo_ttft = 0.15;
  options.slo_tbt = 0.15;
  const LoadReport report = Measure(options);
  EXPECT_EQ(report.answered, 3);
  EXPECT_EQ(report.good, 2);
  EXPECT_THAT(ReportTable(report), HasSubstr("goodput"));
}

TEST(Load, RefusesLoadsWithoutEndOrServer) {
  LoadOptions options;
  options.url = "http://127.0.0.1:1";
  EXPECT_EQ(RunLoad(options).status().code(), StatusCode::kInvalidArgument);
  options.requests = 1;
  options.url = "https://127.0.0.1:1";
  EXPECT_EQ(RunLoad(options).status().code(), StatusCode::kUnimplemented);
  options.url = "http://127.0.0.1:1";
  options.workload.prompt_tokens = {5, 4};
  EXPECT_EQ(RunLoad(options).status().code(), StatusCode::kInvalidArgument);
}

TEST(Load, ReportsInThreeWays) {
  ScriptServer server([](const auto&, int number) -> std::vector<Step> {
    if (number == 3) return {{.bytes = "HTTP/1.1 500 Oh\r\nContent-Length: 9\r\n\r\n<b>&\"\r\n\x01z"}};
    return Answer(3, milliseconds(2));
  });
  const LoadReport report = Measure(Load(server, 4, 2));
  const std::string table = ReportTable(report);
  EXPECT_THAT(table, HasSubstr("3 answered, 1 failed, 0 empty, 0 dropped, 0 hung up"));
  EXPECT_THAT(table, HasSubstr("failed: 1 x http 500, first: <b>&\"   z"));
  EXPECT_THAT(table, Not(HasSubstr("goodput")));
  const auto json = boost::json::parse(ReportJson(report));
  EXPECT_EQ(json.at("requests").at("answered").as_int64(), 3);
  EXPECT_EQ(json.at("failures").at(0).at("kind").as_string(), "http 500");
  EXPECT_EQ(json.at("output_tokens").as_int64(), 9);
  EXPECT_EQ(json.at("first_token_s").at("count").as_int64(), 3);
  EXPECT_GT(json.at("between_pieces_s").at("p99").as_double(), 0);
  const std::string svg = PlotLatencies(report);
  EXPECT_THAT(svg, HasSubstr("<svg xmlns="));
  EXPECT_THAT(svg, HasSubstr("p99"));
  EXPECT_THAT(svg, Not(HasSubstr("nan")));
  EXPECT_THAT(PlotLatencies(LoadReport()), HasSubstr("no samples"));
}

}  // namespace
}  // namespace inkstone::testing
