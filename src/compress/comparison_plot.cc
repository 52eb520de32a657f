#include "compress/comparison_plot.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <optional>
#include <vector>

#include "compress/report_html.h"
#include "core/units.h"

namespace inkstone {
namespace {

constexpr double kWidth = 760;
constexpr double kHeight = 480;
constexpr double kLeft = 84;
constexpr double kRight = 730;
constexpr double kTop = 76;
constexpr double kBottom = 420;
constexpr double kCharacter = 6.6;    // estimated width at 12 px
constexpr double kSmallestKl = 1e-7;  // shown as it is; smaller ones lie on the lower edge

constexpr char kStyle[] =
    "<style>"
    "svg{font-family:system-ui,sans-serif;font-size:12px}"
    ".paper{fill:#fff}.ink{fill:#1f2328}.faint{fill:#59636e}.grid{stroke:#d1d9e0}.axis{stroke:#59636e}"
    ".point{fill:#0a58ca}.bar{stroke:#0a58ca}.front{stroke:#0a58ca;fill:none;stroke-dasharray:4 4;opacity:.6}"
    "@media(prefers-color-scheme:dark){"
    ".paper{fill:#0d1117}.ink{fill:#f0f6fc}.faint{fill:#9198a1}.grid{stroke:#30363d}.axis{stroke:#9198a1}"
    ".point{fill:#6cb0ff}.bar,.front{stroke:#6cb0ff}}"
    "</style>\n";

std::string Number(double value, int decimals = 1) {
  char text[40];
  std::snprintf(text, sizeof(text), "%.*f", decimals, value);
  return text;
}

std::string Scientific(double value) {
  char text[40];
  std::snprintf(text, sizeof(text), "%.3g", value);
  return text;
}

size_t Characters(const std::string& utf8) {
  return static_cast<size_t>(std::count_if(utf8.begin(), utf8.end(), [](char c) { return (c & 0xc0) != 0x80; }));
}

std::string Text(double x, double y, const char* attributes, const std::string& text) {
  return "<text x=\"" + Number(x) + "\" y=\"" + Number(y) + "\" " + attributes + ">" + Html(text) + "</text>\n";
}

std::string Line(double x1, double y1, double x2, double y2, const char* style) {
  return "<line x1=\"" + Number(x1) + "\" y1=\"" + Number(y1) + "\" x2=\"" + Number(x2) + "\" y2=\"" + Number(y2) +
         "\" class=\"" + style + "\"/>\n";
}

// A range of values on a stretch of pixels.
struct Axis {
  double low = 0;
  double high = 1;
  double from = 0;  // pixel of low
  double to = 1;
  double At(double value) const { return from + (std::clamp(value, low, high) - low) / (high - low) * (to - from); }
};

Axis SizeAxis(std::span<const PlotPoint> points) {
  double low = std::numeric_limits<double>::infinity();
  double high = 0;
  for (const PlotPoint& p : points) {
    low = std::min(low, static_cast<double>(p.bytes));
    high = std::max(high, static_cast<double>(p.bytes));
  }
  const double margin = high > low ? (high - low) * 0.08 : std::max(high, 1.0) * 0.2;
  return {std::max(0.0, low - margin), high + margin, kLeft, kRight};
}

// Powers of ten around all values.
Axis DivergenceAxis(std::span<const PlotPoint> points) {
  double low = std::numeric_limits<double>::infinity();
  double high = kSmallestKl;
  for (const PlotPoint& p : points) {
    if (p.kl.mean > 0) low = std::min(low, std::max(p.kl.mean, kSmallestKl));
    high = std::max(high, p.kl.mean);
  }
  low = std::floor(std::log10(std::min(low, high)));
  return {low, std::max(std::ceil(std::log10(high)), low + 1), kBottom, kTop};
}

double LogOf(double kl) { return std::log10(std::max(kl, kSmallestKl)); }

std::string SizeGrid(const Axis& x) {
  const double rough = (x.high - x.low) / 6;
  const double power = std::pow(10, std::floor(std::log10(rough)));
  const double step = rough < 2 * power ? 2 * power : rough < 5 * power ? 5 * power : 10 * power;
  std::string svg;
  for (double tick = std::ceil(x.low / step) * step; tick <= x.high; tick += step) {
    svg += Line(x.At(tick), kTop, x.At(tick), kBottom, "grid");
    svg += Text(x.At(tick), kBottom + 18, R"(class="faint" text-anchor="middle")",
                FormatBytes(static_cast<uint64_t>(tick)));
  }
  return svg + Line(kLeft, kBottom, kRight, kBottom, "axis") +
         Text((kLeft + kRight) / 2, kBottom + 42, R"(class="ink" text-anchor="middle")", "size of the model's files");
}

std::string DivergenceGrid(const Axis& y) {
  std::string svg;
  const bool close = y.high - y.low <= 2;  // few powers of ten: lines between them too
  for (double power = y.low; power <= y.high; ++power) {
    for (const double factor : {1.0, 2.0, 5.0}) {
      const double value = factor * std::pow(10, power);
      if ((factor > 1 && !close) || std::log10(value) > y.high) continue;
      const double at = y.At(std::log10(value));
      svg += Line(kLeft, at, kRight, at, "grid");
      svg += Text(kLeft - 8, at + 4, R"(class="faint" text-anchor="end")", Scientific(value));
    }
  }
  const std::string turned =
      R"svg(class="ink" text-anchor="middle" transform="rotate(-90 20 )svg" + Number((kTop + kBottom) / 2) + ")\"";
  return svg + Line(kLeft, kTop, kLeft, kBottom, "axis") +
         Text(20, (kTop + kBottom) / 2, turned.c_str(), "mean KL divergence, nats");
}

struct Box {
  double x0, y0, x1, y1;
  bool Meets(const Box& o) const { return x0 < o.x1 && o.x0 < x1 && y0 < o.y1 && o.y0 < y1; }
  bool Inside() const { return x0 >= kLeft && x1 <= kWidth - 4 && y0 >= kTop - 10 && y1 <= kBottom; }
};

// Beside its point, where nothing else is; right of it if there is no such place.
std::string Label(const PlotPoint& point, double x, double y, std::vector<Box>* taken) {
  const double width = static_cast<double>(Characters(point.label)) * kCharacter;
  std::vector<Box> places;
  for (const double dy : {0.0, -14.0, 14.0}) {
    const double y0 = y - 8 + dy;
    const double beside = dy == 0 ? 9 : 3;
    places.push_back({x + beside, y0, x + beside + width, y0 + 14});
    places.push_back({x - beside - width, y0, x - beside, y0 + 14});
  }
  const auto free = std::find_if(places.begin(), places.end(), [&](const Box& box) {
    return box.Inside() && std::none_of(taken->begin(), taken->end(), [&](const Box& b) { return b.Meets(box); });
  });
  const Box& place = free == places.end() ? places.front() : *free;
  taken->push_back(place);
  return Text(place.x0, place.y1 - 2, "class=\"ink\"", point.label);
}

// Through the models for which no smaller one has a smaller divergence. `points` are sorted by size.
std::string Front(std::span<const PlotPoint> points, const Axis& x, const Axis& y) {
  std::string path;
  double best = std::numeric_limits<double>::infinity();
  for (const PlotPoint& p : points) {
    if (p.kl.mean >= best) continue;
    best = p.kl.mean;
    path +=
        (path.empty() ? "M" : "L") + Number(x.At(static_cast<double>(p.bytes))) + " " + Number(y.At(LogOf(p.kl.mean)));
  }
  return "<path d=\"" + path + "\" class=\"front\"/>\n";
}

}  // namespace

std::string PlotComparison(std::span<const PlotPoint> points, const std::string& title, const std::string& subtitle) {
  std::vector<PlotPoint> sorted(points.begin(), points.end());
  std::stable_sort(sorted.begin(), sorted.end(), [](const auto& a, const auto& b) { return a.bytes < b.bytes; });
  const Axis x = SizeAxis(sorted);
  const Axis y = DivergenceAxis(sorted);
  const std::string size = Number(kWidth, 0) + "\" height=\"" + Number(kHeight, 0);
  std::string svg = "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 " + Number(kWidth, 0) + " " +
                    Number(kHeight, 0) + "\" width=\"" + size + "\" role=\"img\">\n<title>" + Html(title) +
                    "</title>\n" + kStyle + "<rect width=\"" + size + "\" class=\"paper\"/>\n";
  svg += Text(kLeft, 30, R"(class="ink" font-size="17" font-weight="bold")", title);
  svg += Text(kLeft, 52, "class=\"faint\"", subtitle);
  svg += SizeGrid(x) + DivergenceGrid(y) + Front(sorted, x, y);
  std::vector<Box> taken;
  for (const PlotPoint& p : sorted) {
    const double px = x.At(static_cast<double>(p.bytes));
    const double py = y.At(LogOf(p.kl.mean));
    taken.push_back({px - 6, py - 6, px + 6, py + 6});
  }
  for (const PlotPoint& p : sorted) {
    const double px = x.At(static_cast<double>(p.bytes));
    const double py = y.At(LogOf(p.kl.mean));
    const double error = std::isfinite(p.kl.error) ? p.kl.error : 0;
    svg += Line(px, y.At(LogOf(p.kl.mean - error)), px, y.At(LogOf(p.kl.mean + error)), "bar");
    svg += "<circle cx=\"" + Number(px) + "\" cy=\"" + Number(py) + "\" r=\"4.5\" class=\"point\"><title>" +
           Html(p.label) + ": " + FormatBytes(p.bytes) + ", " + Scientific(p.kl.mean) + " ± " + Scientific(error) +
           " nats</title></circle>\n";
    svg += Label(p, px, py, &taken);
  }
  return svg + "</svg>\n";
}

}  // namespace inkstone
