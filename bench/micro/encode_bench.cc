// What encoding costs: nanoseconds of one thread for each weight, by type.
//
//   encode_bench [TYPE...]
//
// Columns: EncodeRow without and with importance, EncodeWithFeedback on 256 columns (without the caller's matrices),
// and the fit alone for each instruction set that the CPU has. Weights are Gaussian.
#include <chrono>
#include <cstdio>
#include <random>
#include <vector>

#include "quant/codec.h"
#include "quant/fit.h"

namespace inkstone {
namespace {

constexpr int64_t kElements = 1 << 18;

// The best of three runs.
template <typename Run>
double Nanoseconds(Run run) {
  double best = 1e9;
  for (int i = 0; i < 3; ++i) {
    const auto start = std::chrono::steady_clock::now();
    run();
    const std::chrono::duration<double, std::nano> time = std::chrono::steady_clock::now() - start;
    best = std::min(best, time.count() / static_cast<double>(kElements));
  }
  return best;
}

void Report(DType type, const std::vector<float>& x, const std::vector<float>& importance) {
  const BlockShape shape = ShapeOf(type);
  std::vector<std::byte> encoded(static_cast<size_t>(RowBytes(type, kElements)));
  std::printf("%-7s", Info(type).name.data());
  std::printf(" %9.2f", Nanoseconds([&] { EncodeRow(type, x.data(), kElements, encoded.data()); }));
  std::printf(" %9.2f", Nanoseconds([&] { EncodeRow(type, x.data(), kElements, encoded.data(), importance.data()); }));
  std::vector<float> upper(kSuperBlock * kSuperBlock, 0.001f), error(kElements), changed = x;
  for (size_t i = 0; i < kSuperBlock; ++i) upper[i * (kSuperBlock + 1)] = 1.0f;
  std::vector<FeedbackRow> rows;
  for (int64_t at = 0; at < kElements; at += kSuperBlock) {
    rows.push_back({changed.data() + at, error.data() + at, encoded.data() + RowBytes(type, at)});
  }
  std::printf(" %9.2f", Nanoseconds([&] {
                EncodeWithFeedback(type, {nullptr, upper.data(), kSuperBlock, kSuperBlock}, rows);
              }));
  const int at_once = kFitGroups / shape.groups;
  FittedBlock fitted[kFitGroups];
  for (const FitTable* table : AvailableFits(DetectCpuFeatures())) {
    std::printf(" %9.2f", Nanoseconds([&] {
                  for (int64_t at = 0; at < kElements; at += at_once * shape.elements()) {
                    table->fit(shape, x.data() + at, nullptr, at_once, fitted);
                  }
                }));
  }
  std::printf("\n");
}

}  // namespace
}  // namespace inkstone

int main(int argc, char** argv) {
  using namespace inkstone;
  std::vector<float> x(kElements), importance(kElements);
  std::minstd_rand random(1);
  std::normal_distribution<float> gaussian;
  for (float& v : x) v = 0.02f * gaussian(random);
  for (float& v : importance) v = gaussian(random) * gaussian(random), v *= v;
  std::printf("type        plain  weighted  feedback");
  for (const FitTable* table : AvailableFits(DetectCpuFeatures())) std::printf(" %9s", table->target);
  std::printf("\n");
  for (const DTypeInfo& info : AllDTypes()) {
    bool wanted = argc < 2 && !IsFloat(info.type);
    for (int i = 1; i < argc; ++i) wanted |= info.name == argv[i];
    if (wanted) Report(info.type, x, importance);
  }
  return 0;
}
