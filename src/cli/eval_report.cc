#include "cli/eval_report.h"

#include <algorithm>
#include <cstdio>
#include <utility>

#include "core/units.h"
#include "server/json_writer.h"

namespace inkstone {
namespace {

using Table = std::vector<std::vector<std::string>>;

template <typename... Values>
std::string Format(const char* format, Values... values) {
  char text[160];
  std::snprintf(text, sizeof(text), format, values...);
  return text;
}

// A divergence: fixed digits where that says something.
std::string Nats(double value) { return Format(value >= 1e-3 || value == 0 ? "%.5f" : "%.2e", value); }
std::string Nats(const Estimate& e) {
  return Nats(e.mean) + Format(e.mean >= 1e-3 || e.mean == 0 ? " ± %.5f" : " ± %.0e", e.error);
}
std::string Fixed(const Estimate& e) { return Format("%.4f ± %.4f", e.mean, e.error); }
std::string Ratio(const Estimate& e) { return Format("%.5f ± %.5f", e.mean, e.error); }
std::string Percent(const Estimate& e) { return Format("%.2f ± %.2f %%", e.mean * 100, e.error * 100); }

size_t Width(const std::string& utf8) {
  return static_cast<size_t>(std::count_if(utf8.begin(), utf8.end(), [](char c) { return (c & 0xc0) != 0x80; }));
}

// Columns of equal width, the first to the left, the others to the right.
std::string Render(const Table& table) {
  std::vector<size_t> widths(table.front().size());
  for (const auto& row : table) {
    for (size_t c = 0; c < row.size(); ++c) widths[c] = std::max(widths[c], Width(row[c]));
  }
  std::string out;
  for (const auto& row : table) {
    for (size_t c = 0; c < row.size(); ++c) {
      const std::string blank(widths[c] - Width(row[c]), ' ');
      out += c == 0 ? row[c] + blank : "  " + blank + row[c];
    }
    out += "\n";
  }
  return out;
}

void AddEvaluation(const Evaluation& e, JsonWriter* json) {
  const Estimate perplexity = e.Perplexity();
  json->Field("perplexity", perplexity.mean).Field("perplexity_error", perplexity.error);
  json->Field("loss", e.loss.mean).Field("loss_error", e.loss.error).Field("tokens", e.scored);
  if (!e.divergence) return;
  const Divergence& d = *e.divergence;
  const Estimate ratio = d.PerplexityRatio();
  const Estimate reference = d.ReferencePerplexity();
  json->Field("kld_mean", d.kl.mean).Field("kld_error", d.kl.error);
  json->Field("kld_median", d.median).Field("kld_p99", d.p99);
  json->Field("top1_agree", d.top1_agreement.mean).Field("top1_agree_error", d.top1_agreement.error);
  json->Field("perplexity_ratio", ratio.mean).Field("perplexity_ratio_error", ratio.error);
  json->Field("reference_perplexity", reference.mean).Field("reference_perplexity_error", reference.error);
}

void AddFacts(const CheckpointFacts& facts, JsonWriter* json) {
  json->Field("model", facts.name).Field("file_bytes", facts.file_bytes);
  json->Field("bits_per_weight", facts.bits_per_weight());
}

void AddModel(const EvalResults& results, const ModelResult& result, JsonWriter* json) {
  json->BeginObject();
  AddFacts(result.model, json);
  json->Field("kv_type", KvTypesName(results.kv_types));
  AddEvaluation(result.report.all, json);
  json->Key("texts").BeginArray();
  for (size_t i = 0; i < results.texts.size(); ++i) {
    json->BeginObject().Field("text", results.texts[i]);
    AddEvaluation(result.report.texts[i], json);
    json->EndObject();
  }
  json->EndArray().EndObject();
}

std::vector<std::string> Heading(const char* first, bool with_reference) {
  std::vector<std::string> row = {first, "positions", "perplexity"};
  if (with_reference) row.insert(row.end(), {"ratio", "KL mean", "median", "p99", "same top"});
  return row;
}

std::vector<std::string> Columns(const std::string& first, const Evaluation& e) {
  std::vector<std::string> row = {first, std::to_string(e.scored), Fixed(e.Perplexity())};
  if (!e.divergence) return row;
  const Divergence& d = *e.divergence;
  row.insert(row.end(),
             {Ratio(d.PerplexityRatio()), Nats(d.kl), Nats(d.median), Nats(d.p99), Percent(d.top1_agreement)});
  return row;
}

std::string TextTable(const EvalResults& results, const ModelResult& result) {
  Table table = {Heading("text", results.reference.has_value())};
  for (size_t i = 0; i < results.texts.size(); ++i) table.push_back(Columns(results.texts[i], result.report.texts[i]));
  table.push_back(Columns("all", result.report.all));
  return Render(table);
}

std::string Facts(const CheckpointFacts& facts) {
  return facts.name + " (" + FormatBytes(facts.file_bytes) + ", " + Format("%.2f", facts.bits_per_weight()) +
         " bits per weight)";
}

}  // namespace

std::string ModelJson(const EvalResults& results) {
  JsonWriter json;
  AddModel(results, results.models.front(), &json);
  return json.Take();
}

std::string ComparisonJson(const EvalResults& results) {
  JsonWriter json;
  json.BeginObject();
  if (results.reference) {
    json.Key("reference").BeginObject();
    AddFacts(*results.reference, &json);
    const Estimate perplexity = results.models.front().report.all.divergence->ReferencePerplexity();
    json.Field("perplexity", perplexity.mean).Field("perplexity_error", perplexity.error).EndObject();
  }
  json.Key("models").BeginArray();
  for (const ModelResult& result : results.models) AddModel(results, result, &json);
  return json.EndArray().EndObject().Take();
}

std::string ModelText(const EvalResults& results) {
  const ModelResult& result = results.models.front();
  const Evaluation& e = result.report.all;
  if (results.texts.size() > 1) return TextTable(results, result);
  std::string out =
      "perplexity             " + Fixed(e.Perplexity()) + "  (" + std::to_string(e.scored) + " predictions)\n";
  if (!e.divergence) return out;
  const Divergence& d = *e.divergence;
  out += "reference perplexity   " + Fixed(d.ReferencePerplexity()) + "\n";
  out += "ratio of the two       " + Ratio(d.PerplexityRatio()) + "\n";
  out += "KL divergence, mean    " + Nats(d.kl) + " nats\n";
  out += "             median    " + Nats(d.median) + "\n";
  out += "    99th percentile    " + Nats(d.p99) + "\n";
  return out + "same first choice      " + Percent(d.top1_agreement) + "\n";
}

std::string ComparisonText(const EvalResults& results) {
  const Divergence& d = *results.models.front().report.all.divergence;
  std::string out =
      "reference  " + Facts(*results.reference) + ", perplexity " + Fixed(d.ReferencePerplexity()) + "\n\n";
  Table table = {Heading("model", true)};
  for (const ModelResult& r : results.models) table.push_back(Columns(r.model.name, r.report.all));
  table.front().insert(table.front().begin() + 1, {"size", "bits/weight"});
  for (size_t i = 0; i < results.models.size(); ++i) {
    const CheckpointFacts& facts = results.models[i].model;
    table[i + 1].insert(table[i + 1].begin() + 1,
                        {FormatBytes(facts.file_bytes), Format("%.2f", facts.bits_per_weight())});
  }
  out += Render(table);
  if (results.texts.size() < 2) return out;
  for (const ModelResult& r : results.models) out += "\n" + r.model.name + "\n" + TextTable(results, r);
  return out;
}

}  // namespace inkstone
