// Size against divergence. Lines live in a stretched SVG and everything with a shape of its own in percentages, so that
// text stays legible on a narrow screen.
#include <algorithm>
#include <cmath>

#include "compress/report_html.h"
#include "core/units.h"

namespace inkstone {
namespace {

// The largest of 1, 2, 5 times a power of ten that is at most `value`.
double NiceStep(double value) {
  const double power = std::pow(10, std::floor(std::log10(value)));
  const double lead = value / power;
  return (lead >= 5 ? 5 : lead >= 2 ? 2 : 1) * power;
}

class Curve {
 public:
  explicit Curve(const CompressionStory& story) : story_(story) {
    for (const auto* points : {&story.frontier, &story.uniform}) {
      for (const StoryPoint& p : *points) Include(p.bytes, p.divergence);
    }
    if (story.predicted_divergence) Include(story.result_bytes, *story.predicted_divergence);
    if (!story.quality.empty()) Include(story.result_bytes, Overall(story.quality).kl_mean);
    const double margin = std::max(0.04 * (high_bytes_ - low_bytes_), 0.01 * high_bytes_);
    low_bytes_ = std::max(0.0, low_bytes_ - margin);
    high_bytes_ += 2 * margin;  // room for labels
    low_log_ -= 0.15;
    high_log_ += 0.15;
  }

  std::string Section() const {
    std::string out =
        "<section id=\"curve\">\n<h2>Size against divergence</h2>\n<p>The line is the best that the allocation "
        "predicts "
        "for each size; lower is better. Squares are files of one type throughout.</p>\n<div class=\"plot\">\n";
    AppendGrid(&out);
    AppendFrontier(&out);
    for (const StoryPoint& p : story_.uniform) {
      if (Drawable(p.divergence)) AppendPoint(&out, "uniform", Html(p.label), p.bytes, p.divergence);
    }
    if (story_.predicted_divergence && Drawable(*story_.predicted_divergence)) {
      AppendPoint(&out, "this", "this file", story_.result_bytes, *story_.predicted_divergence);
    }
    if (!story_.quality.empty() && Drawable(Overall(story_.quality).kl_mean)) {
      AppendPoint(&out, "measured", "measured", story_.result_bytes, Overall(story_.quality).kl_mean);
    }
    return out +
           "</div>\n<p class=\"axis\">size of the tensors; mean KL divergence in nats, logarithmic</p>\n</section>\n";
  }

 private:
  static bool Drawable(double divergence) { return std::isfinite(divergence) && divergence > 0; }

  void Include(uint64_t bytes, double divergence) {
    if (!Drawable(divergence)) return;
    low_bytes_ = std::min(low_bytes_, static_cast<double>(bytes));
    high_bytes_ = std::max(high_bytes_, static_cast<double>(bytes));
    low_log_ = std::min(low_log_, std::log10(divergence));
    high_log_ = std::max(high_log_, std::log10(divergence));
  }

  // Percent of the plot, from the left and from the top.
  double X(double bytes) const { return 100 * (bytes - low_bytes_) / (high_bytes_ - low_bytes_); }
  double Y(double divergence) const { return 100 * (high_log_ - std::log10(divergence)) / (high_log_ - low_log_); }

  void AppendGrid(std::string* out) const {
    std::string lines;
    const double step = NiceStep((high_bytes_ - low_bytes_) / 3);
    for (double at = std::ceil(low_bytes_ / step) * step; at <= high_bytes_; at += step) {
      const std::string x = Fixed(X(at), 3);
      Append(&lines, "M", x, " 0V100");
      Append(out, "<span class=\"x\" style=\"left:", x, "%\">", FormatBytes(static_cast<uint64_t>(at)), "</span>");
    }
    const bool decades_only = high_log_ - low_log_ > 1.5;
    for (int decade = static_cast<int>(std::floor(low_log_)); decade <= high_log_; ++decade) {
      for (const double lead : {1.0, 2.0, 5.0}) {
        const double value = lead * std::pow(10, decade);
        if ((decades_only && lead > 1) || std::log10(value) < low_log_ || std::log10(value) > high_log_) continue;
        const std::string y = Fixed(Y(value), 3);
        Append(&lines, "M0 ", y, "H100");
        Append(out, "<span class=\"y\" style=\"top:", y, "%\">", ShortTick(value), "</span>");
      }
    }
    Append(out, "\n<svg viewBox=\"0 0 100 100\" preserveAspectRatio=\"none\"><path class=\"grid\" d=\"", lines,
           "\"/></svg>\n");
  }

  // "0.01", "2e-5".
  static std::string ShortTick(double value) {
    std::string text = SmallNumber(value);
    const size_t e = text.find('e');
    std::string digits = text.substr(0, e);
    while (digits.find('.') != std::string::npos && (digits.back() == '0' || digits.back() == '.')) digits.pop_back();
    return digits + (e == std::string::npos ? "" : text.substr(e));
  }

  void AppendFrontier(std::string* out) const {
    std::string line;
    std::string dots;
    for (const StoryPoint& p : story_.frontier) {
      if (!Drawable(p.divergence)) continue;
      const std::string x = Fixed(X(static_cast<double>(p.bytes)), 3);
      const std::string y = Fixed(Y(p.divergence), 3);
      Append(&line, line.empty() ? "M" : "L", x, " ", y);
      Append(&dots, "<circle cx=\"", x, "%\" cy=\"", y, "%\" r=\"3\" data-tip=\"predicted: ", FormatBytes(p.bytes),
             ", ", SmallNumber(p.divergence), " nats\"/>");
    }
    Append(out, "<svg viewBox=\"0 0 100 100\" preserveAspectRatio=\"none\"><path class=\"frontier\" d=\"", line,
           "\"/></svg>\n<svg class=\"dots\">", dots, "</svg>\n");
  }

  // `label` is HTML.
  void AppendPoint(std::string* out, const char* kind, const std::string& label, uint64_t bytes,
                   double divergence) const {
    const double x = X(static_cast<double>(bytes));
    const std::string_view side = x > 90 ? " left" : x < 18 ? " right" : "";  // of its label, near an edge
    Append(out, "<span class=\"point ", kind, side, "\" style=\"left:", Fixed(x, 3), "%;top:", Fixed(Y(divergence), 3),
           "%\" data-tip=\"", label, ": ", FormatBytes(bytes), ", ", SmallNumber(divergence), " nats\"><i></i><b>",
           label, "</b></span>\n");
  }

  const CompressionStory& story_;
  double low_bytes_ = 1e30;
  double high_bytes_ = 0;
  double low_log_ = 1e9;
  double high_log_ = -1e9;
};

}  // namespace

std::string CurveSection(const CompressionStory& story) {
  const auto drawable = [](const StoryPoint& p) { return std::isfinite(p.divergence) && p.divergence > 0; };
  const bool any = std::any_of(story.frontier.begin(), story.frontier.end(), drawable) ||
                   std::any_of(story.uniform.begin(), story.uniform.end(), drawable);
  return any ? Curve(story).Section() : "";
}

}  // namespace inkstone
