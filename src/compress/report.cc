#include "compress/report.h"

#include <algorithm>
#include <cmath>

#include "compress/embedded_text.h"
#include "compress/report_html.h"
#include "core/atomic_file.h"
#include "core/units.h"
#include "core/version.h"

namespace inkstone {
namespace {

std::string Percent(double share, int decimals) { return Fixed(100 * share, decimals) + "%"; }

// "+2.8%".
std::string Change(double before, double after) {
  const std::string text = Percent(after / before - 1, 1);
  return text.starts_with('-') ? "\u2212" + text.substr(1) : "+" + text;
}

double BitsPerWeight(const CompressionStory& story, uint64_t bytes) {
  return 8.0 * static_cast<double>(bytes) / static_cast<double>(story.parameters);
}

// One number of the headline; parts are HTML.
void AppendCard(std::string* out, const std::string& value, const std::string& name, const std::string& note) {
  Append(out, "<div class=\"card\"><dt>", name, "</dt><dd><b>", value, "</b>");
  if (!note.empty()) Append(out, "<small>", note, "</small>");
  Append(out, "</dd></div>\n");
}

std::string Headline(const CompressionStory& story) {
  const double kept = static_cast<double>(story.result_bytes) / static_cast<double>(story.source_bytes);
  std::string out = "<section id=\"headline\">\n";
  Append(&out, "<h1>", Html(story.model), "</h1>\n<p class=\"hero\"><span>", FormatBytes(story.source_bytes),
         "</span> <i>\u2192</i> <strong>", FormatBytes(story.result_bytes), "</strong></p>\n");
  Append(&out, "<p class=\"lead\">", Html(story.output), "</p>\n<dl class=\"cards\">\n");
  AppendCard(&out, Percent(1 - kept, 1), "Smaller by", "1 byte where " + Fixed(1 / kept, 1) + " were");
  AppendCard(&out, Fixed(BitsPerWeight(story, story.result_bytes), 2), "Bits per weight",
             Fixed(BitsPerWeight(story, story.source_bytes), 2) + " in the source");
  if (!story.quality.empty()) {
    const StoryQuality q = Overall(story.quality);
    AppendCard(&out, Fixed(q.source_perplexity, 2) + " <i>\u2192</i> " + Fixed(q.perplexity, 2), "Perplexity",
               Change(q.source_perplexity, q.perplexity) + " over " + Grouped(q.positions) + " tokens");
    const std::string kl = WithError(q.kl_mean, q.kl_error);
    const size_t sign = std::min(kl.find(" \u00b1"), kl.size());
    AppendCard(&out, kl.substr(0, sign), "Mean KL divergence", kl.substr(sign) + " nats from the source");
    AppendCard(&out, Percent(q.top1_agreement, 1), "Same first choice", "of the next token");
  }
  return out + "</dl>\n</section>\n";
}

std::string QualitySection(const CompressionStory& story) {
  if (story.quality.empty()) return "";
  std::string out =
      "<section id=\"quality\">\n<h2>Quality on each text</h2>\n<p>The compressed model beside the source, position by "
      "position. KL divergence in nats says how far the two distributions of the next token are apart; 0 is "
      "identical.</p>\n<div class=\"scroll\"><table class=\"numbers\">\n<thead><tr><th>Text</th><th>Tokens</th>"
      "<th>Perplexity before</th><th>after</th><th>change</th><th>KL mean</th><th>median</th><th>99%</th>"
      "<th>Same first choice</th></tr></thead>\n<tbody>\n";
  for (const StoryQuality& q : story.quality) {
    Append(&out, "<tr><th>", Html(q.text), "</th><td>", Grouped(q.positions), "</td><td>",
           Fixed(q.source_perplexity, 2), "</td><td>", Fixed(q.perplexity, 2), "</td><td>",
           Change(q.source_perplexity, q.perplexity), "</td><td>", WithError(q.kl_mean, q.kl_error), "</td><td>",
           SmallNumber(q.kl_median), "</td><td>", SmallNumber(q.kl_p99), "</td><td>", Percent(q.top1_agreement, 1),
           "</td></tr>\n");
  }
  return out + "</tbody>\n</table></div>\n</section>\n";
}

// Bytes that both texts begin with, whole characters only.
size_t CommonPrefix(std::string_view a, std::string_view b) {
  size_t n = static_cast<size_t>(std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin());
  const auto inside = [&](std::string_view s) {
    return n < s.size() && (static_cast<unsigned char>(s[n]) & 0xC0) == 0x80;
  };
  while (n > 0 && (inside(a) || inside(b))) --n;
  return n;
}

void AppendAnswer(std::string* out, const char* title, std::string_view answer, size_t common) {
  Append(out, "<div><h4>", title, "</h4><p class=\"text\">", Html(answer.substr(0, common)));
  if (common < answer.size()) Append(out, "<mark>", Html(answer.substr(common)), "</mark>");
  Append(out, "</p></div>\n");
}

std::string AnswersSection(const CompressionStory& story) {
  if (story.answers.empty()) return "";
  std::string out =
      "<section id=\"answers\">\n<h2>Answers side by side</h2>\n<p>Both models, always taking their first choice. "
      "Marked: what follows the first difference. An answer may differ and still be as good.</p>\n";
  for (const StoryAnswer& a : story.answers) {
    const size_t common = CommonPrefix(a.source, a.result);
    const bool same = a.source == a.result;
    const size_t longer = std::max(a.source.size(), a.result.size());
    Append(&out, "<article class=\"answer\">\n<h3 class=\"text\">", Html(a.prompt), "</h3>\n<p class=\"badge\">",
           same ? "identical"
                : "identical for the first " + Percent(static_cast<double>(common) / static_cast<double>(longer), 0),
           "</p>\n<div class=\"pair\">\n");
    AppendAnswer(&out, "Source", a.source, common);
    AppendAnswer(&out, "Compressed", a.result, common);
    Append(&out, "</div>\n</article>\n");
  }
  return out + "</section>\n";
}

std::string MadeSection(const CompressionStory& story) {
  std::vector<StoryFact> facts = story.options;
  if (story.calibration_tokens > 0) facts.push_back({"Calibration tokens", Grouped(story.calibration_tokens)});
  if (story.sensitivity.tokens > 0) {
    facts.push_back({"Scored positions per measurement", Grouped(story.sensitivity.tokens)});
  }
  if (story.seconds > 0) facts.push_back({"Time", FormatDuration(story.seconds)});
  if (facts.empty()) return "";
  facts.push_back({"Program", std::string("inkstone ") + kVersion});
  std::string out = "<section id=\"made\">\n<h2>How it was made</h2>\n<dl class=\"facts\">\n";
  for (const StoryFact& f : facts) {
    Append(&out, "<div><dt>", Html(f.name), "</dt><dd>", Html(f.value), "</dd></div>\n");
  }
  return out + "</dl>\n</section>\n";
}

// JSON that cannot end the <script> element around it: '<' occurs in strings only, where an escape is the same.
std::string ScriptJson(const CompressionStory& story) {
  std::string out;
  for (const char c : ReportJson(story)) {
    if (c == '<') {
      out += "\\u003c";
    } else {
      out += c;
    }
  }
  return out;
}

}  // namespace

StoryQuality Overall(const std::vector<StoryQuality>& quality) {
  StoryQuality all;
  for (const StoryQuality& q : quality) all.positions += q.positions;
  double source_loss = 0;
  double loss = 0;
  double variance = 0;
  for (const StoryQuality& q : quality) {
    const double weight = static_cast<double>(q.positions) / static_cast<double>(all.positions);
    source_loss += weight * std::log(q.source_perplexity);
    loss += weight * std::log(q.perplexity);
    all.kl_mean += weight * q.kl_mean;
    variance += weight * weight * q.kl_error * q.kl_error;
    all.top1_agreement += weight * q.top1_agreement;
  }
  all.source_perplexity = std::exp(source_loss);
  all.perplexity = std::exp(loss);
  all.kl_error = std::sqrt(variance);
  return all;
}

Status WriteHtmlReport(const std::string& path, const CompressionStory& story) {
  std::string page =
      "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
      "<meta name=\"color-scheme\" content=\"light dark\">\n";
  Append(&page, "<title>", Html(story.model), ": compression report</title>\n<style>\n",
         FindEmbeddedText("src/compress/report.css"), "</style>\n</head>\n<body>\n<main>\n");
  Append(&page, Headline(story), SizeSection(story), SensitivitySection(story), CurveSection(story),
         QualitySection(story), AnswersSection(story), MadeSection(story));
  Append(&page, "</main>\n<div id=\"tip\" role=\"status\"></div>\n<script type=\"application/json\" id=\"data\">",
         ScriptJson(story), "</script>\n<script>\n", FindEmbeddedText("src/compress/report.js"),
         "</script>\n</body>\n</html>\n");
  INK_ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::Create(path));
  INK_RETURN_IF_ERROR(file.Write(page.data(), page.size()));
  return file.Commit();
}

}  // namespace inkstone
