// Sizes by class of tensor: source and result as bars, cut by type.
#include <algorithm>
#include <array>
#include <map>

#include "compress/report_html.h"
#include "compress/tensor_place.h"
#include "core/units.h"

namespace inkstone {
namespace {

struct TensorClass {
  const char* name;
  std::vector<std::string_view> kinds;
};

const std::vector<TensorClass>& Classes() {
  static const std::vector<TensorClass> classes = {{"Embedding", {"token_embd"}},
                                                   {"Attention q", {"attn_q"}},
                                                   {"Attention k", {"attn_k"}},
                                                   {"Attention v", {"attn_v"}},
                                                   {"Attention output", {"attn_output"}},
                                                   {"FFN gate", {"ffn_gate"}},
                                                   {"FFN up", {"ffn_up"}},
                                                   {"FFN down", {"ffn_down"}},
                                                   {"Output", {"output"}},
                                                   {"Norms, biases, other", {}}};
  return classes;
}

size_t ClassOf(const std::string& tensor) {
  const std::string kind = PlaceOf(tensor).kind;
  const auto holds = [&](const TensorClass& c) {
    return std::find(c.kinds.begin(), c.kinds.end(), kind) != c.kinds.end();
  };
  const auto it = std::find_if(Classes().begin(), Classes().end() - 1, holds);
  return static_cast<size_t>(it - Classes().begin());
}

double BitsOf(DType type) {
  const DTypeInfo& info = Info(type);
  return 8.0 * info.block_bytes / info.block_elements;
}

struct FewerBits {
  bool operator()(DType a, DType b) const { return BitsOf(a) != BitsOf(b) ? BitsOf(a) < BitsOf(b) : a < b; }
};

using BytesByType = std::map<DType, uint64_t, FewerBits>;

struct ClassSize {
  BytesByType source;
  BytesByType result;
};

uint64_t Total(const BytesByType& bytes) {
  uint64_t total = 0;
  for (const auto& [type, n] : bytes) total += n;
  return total;
}

// One bar, `full` bytes wide when it fills the row.
void AppendBar(std::string* out, const char* whose, const BytesByType& bytes, uint64_t full) {
  Append(out, "<svg class=\"bar\" role=\"img\" aria-label=\"", whose, " ", FormatBytes(Total(bytes)), "\">");
  double x = 0;
  for (const auto& [type, n] : bytes) {
    const double width = 100.0 * static_cast<double>(n) / static_cast<double>(full);
    const std::string name(Info(type).name);
    Append(out, "<rect class=\"t-", name, "\" x=\"", Fixed(x, 3), "%\" width=\"", Fixed(width, 3),
           "%\" height=\"100%\" data-tip=\"", whose, ": ", FormatBytes(n), " of ", name, "\"/>");
    x += width;
  }
  Append(out, "</svg>");
}

void AppendRow(std::string* out, const char* name, const ClassSize& size, uint64_t full) {
  Append(out, "<div class=\"size\"><h3>", name, "</h3><div class=\"bars\">");
  AppendBar(out, "source", size.source, full);
  AppendBar(out, "result", size.result, full);
  Append(out, "</div><p>", FormatBytes(Total(size.source)), " <i>\u2192</i> <b>", FormatBytes(Total(size.result)),
         "</b></p></div>\n");
}

void AppendLegend(std::string* out, const ClassSize& all) {
  std::map<DType, bool, FewerBits> types;
  for (const auto* side : {&all.source, &all.result}) {
    for (const auto& [type, n] : *side) types[type] = true;
  }
  Append(out, "<ul class=\"legend\">");
  for (const auto& [type, present] : types) {
    const std::string name(Info(type).name);
    Append(out, "<li><svg><rect class=\"t-", name, "\" width=\"100%\" height=\"100%\"/></svg>", name, " <small>",
           Fixed(BitsOf(type), BitsOf(type) < 10 ? 2 : 0), " bits</small></li>");
  }
  Append(out, "</ul>\n");
}

}  // namespace

std::string SizeSection(const CompressionStory& story) {
  if (story.tensors.empty()) return "";
  std::vector<ClassSize> classes(Classes().size());
  ClassSize all;
  for (const StoryTensor& tensor : story.tensors) {
    for (ClassSize* size : {&classes[ClassOf(tensor.name)], &all}) {
      size->source[tensor.source_type] += tensor.source_bytes;
      size->result[tensor.type] += tensor.bytes;
    }
  }
  uint64_t full = 1;
  for (const ClassSize& size : classes) full = std::max({full, Total(size.source), Total(size.result)});
  std::string out =
      "<section id=\"sizes\">\n<h2>Where the bytes are</h2>\n<p>Above: the source. Below: the result, cut by the type "
      "that its tensors got.</p>\n";
  AppendLegend(&out, all);
  AppendRow(&out, "All", all, std::max({uint64_t{1}, Total(all.source), Total(all.result)}));
  out += "<hr>\n";
  for (size_t i = 0; i < classes.size(); ++i) {
    if (!classes[i].result.empty()) AppendRow(&out, Classes()[i].name, classes[i], full);
  }
  return out + "</section>\n";
}

}  // namespace inkstone
