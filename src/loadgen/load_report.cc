#include "loadgen/load_report.h"

#include <algorithm>
#include <array>
#include <boost/json.hpp>
#include <cstdio>

namespace inkstone {
namespace {

namespace json = boost::json;

constexpr size_t kMaxKinds = 64;  // of failures; the rest is one kind

template <typename... Values>
std::string Print(const char* format, Values... values) {
  std::array<char, 256> text;
  std::snprintf(text.data(), text.size(), format, values...);
  return text.data();
}

std::string TimesRow(const char* name, const Summary& s) {
  if (s.count == 0) return Print("%-22s %10s\n", name, "none");
  return Print("%-22s %10.1f %10.1f %10.1f %10.1f %10.1f %10.1f\n", name, 1e3 * s.mean, 1e3 * s.p50, 1e3 * s.p90,
               1e3 * s.p95, 1e3 * s.p99, 1e3 * s.max);
}

std::string Loop(const LoadOptions& o) {
  std::string text = o.rate > 0
                         ? Print("open loop, %g requests/s (Poisson), at most %d in flight", o.rate, o.max_in_flight)
                         : Print("closed loop, %d client%s", o.clients, o.clients == 1 ? "" : "s");
  if (o.slow_reader > 0) {
    text +=
        Print(", each reading %llu bytes/s (latencies include that)", static_cast<unsigned long long>(o.slow_reader));
  }
  if (o.disconnect > 0) text += Print(", %g %% hang up", 100 * o.disconnect);
  return text;
}

std::string Goodput(const LoadReport& r) {
  if (!r.has_slo()) return "";
  std::string limits;
  if (r.options.slo_ttft > 0) limits = Print("first token within %g s", r.options.slo_ttft);
  if (r.options.slo_tbt > 0) {
    limits += Print("%s%g s between tokens", limits.empty() ? "" : ", ", r.options.slo_tbt);
  }
  return Print("%-10s %11lld requests %9.2f requests/s   (", "goodput", static_cast<long long>(r.good),
               r.PerSecond(r.good)) +
         limits + ")\n";
}

// What a reader of the figures should know.
std::string Notes(const LoadReport& r) {
  std::string text;
  if (r.without_usage > 0) {
    text += Print(
        "%lld answers came without usage: their output tokens are the pieces of the stream, their prompt tokens "
        "are not counted\n",
        static_cast<long long>(r.without_usage));
  }
  if (r.several_per_piece > 0) {
    text += Print("%lld answers had more tokens than pieces: \"between pieces\" is not between tokens there\n",
                  static_cast<long long>(r.several_per_piece));
  }
  if (r.abandoned > 0) {
    text += Print("the load was stopped: %lld requests were under way and do not count\n",
                  static_cast<long long>(r.abandoned));
  }
  if (!r.between_tokens.exact || !r.first_token.exact) {
    text +=
        Print("percentiles of more than %zu samples are those of a random sample of that size\n", SampleSet::kLimit);
  }
  return text;
}

json::object ToJson(const Summary& s) {
  return {{"count", s.count}, {"mean", s.mean}, {"p50", s.p50}, {"p90", s.p90},
          {"p95", s.p95},     {"p99", s.p99},   {"max", s.max}, {"exact", s.exact}};
}

json::object LoadJson(const LoadReport& r) {
  const LoadOptions& o = r.options;
  json::object load{{"loop", o.rate > 0 ? "open" : "closed"}};
  if (o.rate > 0) {
    load["rate"] = o.rate;
    load["max_in_flight"] = o.max_in_flight;
  } else {
    load["clients"] = o.clients;
  }
  load["workload"] = r.workload;
  load["seed"] = o.workload.seed;
  load["warmup"] = o.warmup;
  if (o.slow_reader > 0) load["slow_reader"] = o.slow_reader;
  if (o.disconnect > 0) load["disconnect"] = o.disconnect;
  return load;
}

}  // namespace

void Tally::Add(const Attempt& attempt) {
  switch (attempt.outcome) {
    case Attempt::Outcome::kHungUp:
      ++report_.hung_up;
      return;
    case Attempt::Outcome::kAbandoned:
      ++report_.abandoned;
      return;
    case Attempt::Outcome::kAnswered:
      return AddAnswer(attempt);
    case Attempt::Outcome::kFailed:
      break;
  }
  ++report_.failed;
  const Failure failure = attempt.failure.value_or(Failure{"unknown", ""});
  const bool known = failures_.contains(failure.kind) || failures_.size() < kMaxKinds;
  FailureCount& count = failures_[known ? failure.kind : "others"];
  if (count.count++ == 0) count.first = failure.message;
  if (!report_.first_failure) report_.first_failure = failure;
}

void Tally::AddAnswer(const Attempt& a) {
  if (a.pieces == 0) {
    ++report_.empty;
    return;
  }
  ++report_.answered;
  first_.Add(a.first);
  whole_.Add(a.end);
  for (const double gap : a.gaps) between_.Add(gap);
  if (a.seconds_per_token() > 0) per_token_.Add(a.seconds_per_token());
  if (a.usage) {
    report_.prompt_tokens += a.usage->prompt;
    report_.cached_tokens += a.usage->cached;
    if (a.usage->completion > a.pieces + 1) ++report_.several_per_piece;  // the end token has no text
  } else {
    ++report_.without_usage;
  }
  report_.output_tokens += a.output_tokens();
  const LoadOptions& o = report_.options;
  const bool soon = o.slo_ttft <= 0 || a.first <= o.slo_ttft;
  const bool fast = o.slo_tbt <= 0 || a.seconds_per_token() <= o.slo_tbt;
  if (soon && fast) ++report_.good;
}

void Tally::AddLateness(double seconds) { report_.late_max = std::max(report_.late_max, seconds); }

LoadReport Tally::Finish(double seconds, double cpu_seconds) const {
  LoadReport out = report_;
  out.seconds = seconds;
  out.cpu_seconds = cpu_seconds;
  for (const auto& [kind, count] : failures_) {
    out.failures.push_back(count);
    out.failures.back().kind = kind;
  }
  out.first_token = first_.Summarize();
  out.between_tokens = between_.Summarize();
  out.per_token = per_token_.Summarize();
  out.whole = whole_.Summarize();
  return out;
}

std::string ReportTable(const LoadReport& r) {
  const auto number = [](int64_t value) { return static_cast<long long>(value); };
  std::string out = r.url + ": " + Loop(r.options) + "\n" + r.workload + "\n\n";
  out += Print("%-10s %11lld answered", "requests", number(r.answered));
  const std::array<std::pair<int64_t, const char*>, 4> others = {
      {{r.failed, "failed"}, {r.empty, "empty"}, {r.dropped, "dropped"}, {r.hung_up, "hung up"}}};
  for (const auto& [count, name] : others) out += Print(", %lld %s", number(count), name);
  out += Print("\n%-10s %11.2f s        %9.2f requests/s\n", "duration", r.seconds, r.PerSecond(r.answered));
  out += Goodput(r);
  out +=
      Print("%-10s %11lld tokens   %9.1f tokens/s", "prompts", number(r.prompt_tokens), r.PerSecond(r.prompt_tokens));
  out += r.cached_tokens > 0 ? Print("     (%lld of them from the server's cache)\n", number(r.cached_tokens)) : "\n";
  out += Print("%-10s %11lld tokens   %9.1f tokens/s\n\n", "answers", number(r.output_tokens),
               r.PerSecond(r.output_tokens));
  out += Print("%-22s %10s %10s %10s %10s %10s %10s\n", "milliseconds", "mean", "p50", "p90", "p95", "p99", "max");
  out += TimesRow("first token", r.first_token) + TimesRow("between pieces", r.between_tokens);
  out += TimesRow("per token, by answer", r.per_token) + TimesRow("end to end", r.whole);
  for (const FailureCount& f : r.failures) {
    out += Print("\nfailed: %lld x %s", number(f.count), f.kind.substr(0, 100).c_str()) +
           (f.first.empty() ? "" : ", first: " + f.first);
  }
  if (!r.failures.empty()) out += "\n";
  const double share = r.seconds > 0 ? 100 * r.cpu_seconds / r.seconds : 0;
  out += Print("\nthe load itself took %.1f %% of one core", share);
  if (r.options.rate > 0) out += Print(" and sent its requests at most %.1f ms late", 1e3 * r.late_max);
  return out + "\n" + Notes(r);
}

std::string ReportJson(const LoadReport& r) {
  json::array failures;
  for (const FailureCount& f : r.failures) {
    failures.push_back(json::object{{"kind", f.kind}, {"count", f.count}, {"first", f.first}});
  }
  json::object out{{"url", r.url}, {"load", LoadJson(r)}};
  out["requests"] = json::object{{"answered", r.answered},
                                 {"empty", r.empty},
                                 {"failed", r.failed},
                                 {"dropped", r.dropped},
                                 {"hung_up", r.hung_up},
                                 {"abandoned", r.abandoned},
                                 {"without_usage", r.without_usage},
                                 {"several_tokens_per_piece", r.several_per_piece}};
  out["failures"] = std::move(failures);
  out["duration_s"] = r.seconds;
  out["requests_per_s"] = r.PerSecond(r.answered);
  out["prompt_tokens"] = r.prompt_tokens;
  out["cached_prompt_tokens"] = r.cached_tokens;
  out["output_tokens"] = r.output_tokens;
  out["prompt_tokens_per_s"] = r.PerSecond(r.prompt_tokens);
  out["output_tokens_per_s"] = r.PerSecond(r.output_tokens);
  out["first_token_s"] = ToJson(r.first_token);
  out["between_pieces_s"] = ToJson(r.between_tokens);
  out["per_token_s"] = ToJson(r.per_token);
  out["end_to_end_s"] = ToJson(r.whole);
  if (r.has_slo()) {
    out["goodput"] = json::object{{"requests", r.good},
                                  {"requests_per_s", r.PerSecond(r.good)},
                                  {"first_token_within_s", r.options.slo_ttft},
                                  {"per_token_within_s", r.options.slo_tbt}};
  }
  out["generator"] = json::object{{"cpu_s", r.cpu_seconds}, {"late_max_s", r.late_max}};
  return json::serialize(out);
}

}  // namespace inkstone
