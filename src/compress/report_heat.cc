// The sensitivity heat map: a table of layers by kinds. Radio buttons choose the type without a script: each cell
// carries one class for each type, and the checked button's rules colour it.
#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "compress/report_html.h"
#include "compress/tensor_place.h"

namespace inkstone {
namespace {

constexpr int kLevels = 10;

// log10 of the divergences, cut into kLevels steps over the whole table, so that types can be compared.
struct Scale {
  double low = 0;
  double high = 0;

  int Level(double divergence) const {
    if (divergence <= 0 || high <= low) return 0;
    const double at = (std::log10(divergence) - low) / (high - low);
    return std::clamp(static_cast<int>(at * kLevels), 0, kLevels - 1);
  }
};

Scale ScaleOf(const SensitivityTable& table) {
  Scale scale{1e9, -1e9};
  for (const float value : table.divergence) {
    if (!(value > 0) || !std::isfinite(value)) continue;
    const double log = std::log10(static_cast<double>(value));
    scale.low = std::min(scale.low, log);
    scale.high = std::max(scale.high, log);
  }
  return scale;
}

class HeatMap {
 public:
  explicit HeatMap(const CompressionStory& story) : table_(story.sensitivity), scale_(ScaleOf(table_)) {
    for (const StoryTensor& tensor : story.tensors) chosen_[tensor.name] = Info(tensor.type).name;
    for (size_t i = 0; i < table_.tensors.size(); ++i) {
      const TensorPlace place = PlaceOf(table_.tensors[i]);
      if (place.layer >= 0) layers_.insert(place.layer);
      rows_[{place.layer, place.kind}] = i;
    }
  }

  std::string Section() const {
    std::string out =
        "<section id=\"sensitivity\">\n<h2>Which tensors are sensitive</h2>\n<p>Colour: how far the output moves (mean "
        "KL divergence) when this tensor alone has the type selected here. Written: the type that it "
        "got.</p>\n<div class=\"heat\">\n";
    AppendSwitch(&out);
    AppendKey(&out);
    AppendTable(&out, KindsOf(table_.tensors, false), {-1});
    AppendTable(&out, KindsOf(table_.tensors, true), layers_);
    return out + "</div>\n</section>\n";
  }

 private:
  // Middle column: colours differ most between a type that hurts and one that does not.
  size_t first_type() const { return table_.types.size() / 2; }

  void AppendSwitch(std::string* out) const {
    std::string labels = "<div class=\"switch\">";
    Append(out, "<style>\n");
    for (size_t t = 0; t < table_.types.size(); ++t) {
      const std::string id = std::to_string(t);
      for (int level = 0; level < kLevels; ++level) {
        const std::string l = std::to_string(level);
        Append(out, "#heat", id, ":checked~table .h", id, "-", l, "{background:var(--h", l, ");color:var(--f", l,
               ")}\n");
      }
      Append(out, "#heat", id, ":checked~table .h", id, "-x{background:var(--none);color:var(--muted)}\n#heat", id,
             ":checked~.switch label[for=heat", id, "]{background:var(--strong);color:var(--ground)}\n#heat", id,
             ":focus-visible~.switch label[for=heat", id, "]{outline:2px solid var(--seal);outline-offset:2px}\n");
    }
    Append(out, "</style>\n");
    for (size_t t = 0; t < table_.types.size(); ++t) {
      const std::string id = std::to_string(t);
      Append(out, "<input type=\"radio\" name=\"heat\" id=\"heat", id, "\"", t == first_type() ? " checked" : "", ">");
      Append(&labels, "<label for=\"heat", id, "\">", Info(table_.types[t]).name, "</label>");
    }
    Append(out, labels, "</div>\n");
  }

  void AppendKey(std::string* out) const {
    if (scale_.high < scale_.low) return;
    Append(out, "<p class=\"key\">", SmallNumber(std::pow(10, scale_.low)), "<span>");
    for (int level = 0; level < kLevels; ++level) {
      Append(out, "<i style=\"background:var(--h", std::to_string(level), ")\"></i>");
    }
    Append(out, "</span>", SmallNumber(std::pow(10, scale_.high)), " nats</p>\n");
  }

  void AppendTable(std::string* out, const std::vector<std::string>& kinds, const std::set<int>& layers) const {
    if (kinds.empty()) return;
    const bool in_layers = *layers.begin() >= 0;
    Append(out, "<table>\n<thead><tr><th>", in_layers ? "layer" : "", "</th>");
    for (const std::string& kind : kinds) Append(out, "<th>", Breakable(kind), "</th>");
    Append(out, "</tr></thead>\n<tbody>\n");
    for (const int layer : layers) {
      Append(out, "<tr><th>", in_layers ? std::to_string(layer) : "", "</th>");
      for (const std::string& kind : kinds) {
        const auto it = rows_.find({layer, kind});
        it == rows_.end() ? Append(out, "<td></td>") : AppendCell(out, it->second);
      }
      Append(out, "</tr>\n");
    }
    Append(out, "</tbody>\n</table>\n");
  }

  // A narrow column may break "attn_output" after its underscore.
  static std::string Breakable(const std::string& kind) {
    std::string text;
    for (const char c : Html(kind)) text += c == '_' ? "_<wbr>" : std::string(1, c);
    return text;
  }

  void AppendCell(std::string* out, size_t tensor) const {
    const auto chosen = chosen_.find(table_.tensors[tensor]);
    const std::string type = chosen == chosen_.end() ? "" : std::string(chosen->second);
    std::string classes;
    std::string tip = table_.tensors[tensor] + (type.empty() ? "" : ": " + type);
    for (size_t t = 0; t < table_.types.size(); ++t) {
      const double value = table_.at(tensor, t);
      const bool known = std::isfinite(value);
      Append(&classes, t == 0 ? "h" : " h", std::to_string(t), "-", known ? std::to_string(scale_.Level(value)) : "x");
      const std::string_view name = Info(table_.types[t]).name;
      Append(&tip, "\n", name, std::string(8 - name.size(), ' '), known ? SmallNumber(value) : "does not fit");
    }
    Append(out, "<td class=\"", classes, "\" data-tip=\"", Html(tip), "\">", type, "</td>");
  }

  const SensitivityTable& table_;
  const Scale scale_;
  std::map<std::string, std::string_view> chosen_;
  std::map<std::pair<int, std::string>, size_t> rows_;
  std::set<int> layers_;
};

}  // namespace

std::string SensitivitySection(const CompressionStory& story) {
  if (story.sensitivity.tensors.empty() || story.sensitivity.types.empty()) return "";
  return HeatMap(story).Section();
}

}  // namespace inkstone
