#include "loadgen/latency_plot.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>

namespace inkstone {
namespace {

constexpr double kWidth = 760;
constexpr double kHeight = 690;
constexpr double kLeft = 84;
constexpr double kRight = 730;
constexpr double kPanel = 220;      // height
constexpr double kShortest = 1e-4;  // seconds; shorter times lie on the left edge

constexpr char kStyle[] =
    "<style>"
    "svg{font-family:system-ui,sans-serif;font-size:12px}"
    ".paper{fill:#fff}.ink{fill:#1f2328}.faint{fill:#59636e}.grid{stroke:#d1d9e0}.axis{stroke:#59636e}"
    ".point{fill:#0a58ca}.curve{stroke:#0a58ca;fill:none;stroke-width:2}"
    "@media(prefers-color-scheme:dark){"
    ".paper{fill:#0d1117}.ink{fill:#f0f6fc}.faint{fill:#9198a1}.grid{stroke:#30363d}.axis{stroke:#9198a1}"
    ".point{fill:#6cb0ff}.curve{stroke:#6cb0ff}}"
    "</style>\n";

std::string Number(double value, int decimals = 1) {
  std::array<char, 40> text;
  std::snprintf(text.data(), text.size(), "%.*f", decimals, value);
  return text.data();
}

// "0.5 ms", "20 ms", "1.25 s".
std::string Time(double seconds) {
  std::array<char, 40> text;
  const bool ms = seconds < 1;
  std::snprintf(text.data(), text.size(), "%.3g %s", ms ? seconds * 1e3 : seconds, ms ? "ms" : "s");
  return text.data();
}

// What stands in the picture comes from the command line.
std::string Escape(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '&') {
      out += "&amp;";
    } else if (c == '<') {
      out += "&lt;";
    } else {
      out.push_back(static_cast<unsigned char>(c) < 0x20 || static_cast<unsigned char>(c) >= 0x7f ? ' ' : c);
    }
  }
  return out;
}

std::string Text(double x, double y, const char* attributes, const std::string& text) {
  return "<text x=\"" + Number(x) + "\" y=\"" + Number(y) + "\" " + attributes + ">" + Escape(text) + "</text>\n";
}

std::string Line(double x1, double y1, double x2, double y2, const char* style) {
  return "<line x1=\"" + Number(x1) + "\" y1=\"" + Number(y1) + "\" x2=\"" + Number(x2) + "\" y2=\"" + Number(y2) +
         "\" class=\"" + style + "\"/>\n";
}

// Times between powers of ten.
struct TimeAxis {
  double low = 0;  // logarithm to base 10 of seconds
  double high = 1;
  explicit TimeAxis(const Summary& s) {
    low = std::floor(std::log10(std::max(s.curve.front(), kShortest)));
    high = std::max(std::ceil(std::log10(std::max(s.max, kShortest))), low + 1);
  }
  double At(double seconds) const {
    const double place = (std::log10(std::max(seconds, kShortest)) - low) / (high - low);
    return kLeft + std::clamp(place, 0.0, 1.0) * (kRight - kLeft);
  }
};

double HeightOf(double share, double bottom) { return bottom - share * kPanel; }

std::string Grid(const TimeAxis& x, double bottom, const std::string& words) {
  std::string svg;
  for (double power = x.low; power <= x.high; ++power) {
    for (const double factor : {1.0, 2.0, 5.0}) {
      const double seconds = factor * std::pow(10, power);
      if (std::log10(seconds) > x.high + 1e-9) continue;
      svg += Line(x.At(seconds), bottom - kPanel, x.At(seconds), bottom, "grid");
      if (factor > 1 && x.high - x.low > 3) continue;
      svg += Text(x.At(seconds), bottom + 18, R"(class="faint" text-anchor="middle")", Time(seconds));
    }
  }
  for (int percent = 0; percent <= 100; percent += 25) {
    const double y = HeightOf(percent / 100.0, bottom);
    svg += Line(kLeft, y, kRight, y, "grid");
    svg += Text(kLeft - 8, y + 4, R"(class="faint" text-anchor="end")", std::to_string(percent) + " %");
  }
  svg += Line(kLeft, bottom, kRight, bottom, "axis") + Line(kLeft, bottom - kPanel, kLeft, bottom, "axis");
  return svg + Text((kLeft + kRight) / 2, bottom + 40, R"(class="ink" text-anchor="middle")", words);
}

std::string Panel(const Summary& s, double bottom, const std::string& words) {
  if (s.count == 0) return Text(kLeft, bottom - kPanel / 2, "class=\"faint\"", words + ": no samples");
  const TimeAxis x(s);
  std::string svg = Grid(x, bottom, words);
  std::string path;
  for (size_t i = 0; i < s.curve.size(); ++i) {
    const double share = static_cast<double>(i) / static_cast<double>(s.curve.size() - 1);
    path += (path.empty() ? "M" : "L") + Number(x.At(s.curve[i])) + " " + Number(HeightOf(share, bottom));
  }
  svg += "<path d=\"" + path + "\" class=\"curve\"/>\n";
  struct Mark {
    const char* name;
    double share, seconds;
  };
  for (const Mark& mark : {Mark{"p50", 0.5, s.p50}, Mark{"p90", 0.9, s.p90}, Mark{"p99", 0.99, s.p99}}) {
    const double px = x.At(mark.seconds);
    const double py = HeightOf(mark.share, bottom);
    const bool left = px > kRight - 110;
    svg += "<circle cx=\"" + Number(px) + "\" cy=\"" + Number(py) + "\" r=\"4\" class=\"point\"/>\n";
    // The curve comes from the left, a little lower.
    svg +=
        Text(px + (left ? -9 : 9), py + (left ? 34 : 14), left ? R"(class="ink" text-anchor="end")" : "class=\"ink\"",
             std::string(mark.name) + " " + Time(mark.seconds));
  }
  return svg;
}

}  // namespace

std::string PlotLatencies(const LoadReport& r) {
  const std::string size = "width=\"" + Number(kWidth, 0) + "\" height=\"" + Number(kHeight, 0) + "\"";
  std::string svg = "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 " + Number(kWidth, 0) + " " +
                    Number(kHeight, 0) + "\" " + size + " role=\"img\">\n<title>Latencies under load</title>\n" +
                    kStyle + "<rect " + size + " class=\"paper\"/>\n";
  const std::string load = r.options.rate > 0 ? Number(r.options.rate, 2) + " requests/s arriving"
                                              : std::to_string(r.options.clients) + " clients";
  svg += Text(kLeft, 30, R"(class="ink" font-size="17" font-weight="bold")", "Latencies under load: " + load);
  svg += Text(kLeft, 52, "class=\"faint\"", r.url + ", " + std::to_string(r.answered) + " answers");
  svg += Text(kLeft, 70, "class=\"faint\"", r.workload);
  svg += Panel(r.first_token, 100 + kPanel, "time to the first token: share of the answers");
  svg += Panel(r.between_tokens, 400 + kPanel, "time between pieces of an answer: share of the pieces");
  return svg + "</svg>\n";
}

}  // namespace inkstone
