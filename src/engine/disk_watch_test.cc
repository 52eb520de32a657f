#include "engine/disk_watch.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace inkstone {
namespace {

using std::chrono::seconds;

TEST(DiskWatch, TellsEachChangeOnceAndNotMoreThanOnceAMinute) {
  std::vector<std::string> told;
  DiskWatch watch([&](PageFiles files, const std::string& trouble) {
    told.push_back((files == PageFiles::kStore ? "store: " : "spill: ") + trouble);
  });
  const DiskWatch::Clock::time_point start{};
  EngineStats stats;
  const auto look = [&](int second) {
    told.clear();
    watch.Look(stats, start + seconds(second));
    return told;
  };
  using Lines = std::vector<std::string>;
  EXPECT_EQ(look(0), Lines{});
  stats.store.trouble = "full";
  EXPECT_EQ(look(1), Lines{"store: full"});
  EXPECT_EQ(look(2), Lines{});
  stats.store.trouble = "";
  stats.spill.trouble = "gone";
  EXPECT_EQ(look(3), Lines{"spill: gone"});
  stats.store.trouble = "full";
  EXPECT_EQ(look(70), Lines{}) << "as it was told last";
  stats.store.trouble = "";
  EXPECT_EQ(look(71), Lines{"store: "});
}

TEST(DiskWatch, WithoutAHookNothingHappens) {
  EngineStats stats;
  stats.store.trouble = "full";
  DiskWatch(nullptr).Look(stats);
}

}  // namespace
}  // namespace inkstone
