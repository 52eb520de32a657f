#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <cmath>
#include <string_view>

#include "compress/report.h"
#include "core/version.h"
#include "tokenizer/unicode.h"

namespace inkstone {
namespace {

namespace json = boost::json;

json::string Text(std::string_view text) { return json::string(unicode::ReplaceIllFormed(text)); }

json::value Number(double value) { return std::isfinite(value) ? json::value(value) : json::value(nullptr); }

// An array with one element for each of `items`.
template <typename Items, typename Make>
json::array Each(const Items& items, Make make) {
  json::array array;
  array.reserve(items.size());
  for (const auto& item : items) array.push_back(make(item));
  return array;
}

json::value Name(DType type) { return json::string(Info(type).name); }

json::array Points(const std::vector<StoryPoint>& points) {
  return Each(points, [](const StoryPoint& p) {
    return json::object{{"label", Text(p.label)}, {"bytes", p.bytes}, {"divergence", Number(p.divergence)}};
  });
}

json::object Quality(const StoryQuality& q) {
  return {{"text", Text(q.text)},
          {"positions", q.positions},
          {"source_perplexity", Number(q.source_perplexity)},
          {"perplexity", Number(q.perplexity)},
          {"kl_mean", Number(q.kl_mean)},
          {"kl_error", Number(q.kl_error)},
          {"kl_median", Number(q.kl_median)},
          {"kl_p99", Number(q.kl_p99)},
          {"top1_agreement", Number(q.top1_agreement)}};
}

json::object Sensitivity(const SensitivityTable& table) {
  return {{"tensors", Each(table.tensors, Text)},
          {"types", Each(table.types, Name)},
          {"divergence", Each(table.divergence, [](float v) { return Number(static_cast<double>(v)); })},
          {"tokens", table.tokens}};
}

}  // namespace

std::string ReportJson(const CompressionStory& story) {
  json::object report{{"version", kVersion},
                      {"model", Text(story.model)},
                      {"output", Text(story.output)},
                      {"parameters", story.parameters},
                      {"source_bytes", story.source_bytes},
                      {"result_bytes", story.result_bytes}};
  report["tensors"] = Each(story.tensors, [](const StoryTensor& t) {
    return json::object{{"name", Text(t.name)},
                        {"source_type", Name(t.source_type)},
                        {"source_bytes", t.source_bytes},
                        {"type", Name(t.type)},
                        {"bytes", t.bytes}};
  });
  report["sensitivity"] = Sensitivity(story.sensitivity);
  report["frontier"] = Points(story.frontier);
  report["predicted_divergence"] = story.predicted_divergence ? Number(*story.predicted_divergence) : nullptr;
  report["uniform"] = Points(story.uniform);
  report["quality"] = Each(story.quality, Quality);
  report["answers"] = Each(story.answers, [](const StoryAnswer& a) {
    return json::object{{"prompt", Text(a.prompt)}, {"source", Text(a.source)}, {"result", Text(a.result)}};
  });
  report["options"] = Each(story.options, [](const StoryFact& f) {
    return json::object{{"name", Text(f.name)}, {"value", Text(f.value)}};
  });
  report["calibration_tokens"] = story.calibration_tokens;
  report["seconds"] = Number(story.seconds);
  return json::serialize(report);
}

}  // namespace inkstone
