// Places of requests that run or wait. Whoever has nothing here finds one whatever a single other does: an origin may
// take all but a quarter of the queue, and of that, which is kept for others, half of what is left.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <string>

namespace inkstone {

class QueuePlaces {
 public:
  QueuePlaces(int64_t running, int64_t waiting) : places_(running + waiting), kept_(KeptOf(waiting)) {}

  // How many a single origin may have at once.
  static int64_t MostOfOne(int64_t running, int64_t waiting) { return running + waiting - KeptOf(waiting); }

  bool full() const { return taken_ >= places_; }
  int64_t taken() const { return taken_; }
  int64_t TakenBy(const std::string& origin) const {
    const auto found = by_origin_.find(origin);
    return found == by_origin_.end() ? 0 : found->second;
  }
  // Takes a place; false where there is none for this origin. An empty one is nobody's in particular, and may have all.
  bool Enter(const std::string& origin) {
    const int64_t left = places_ - taken_, own = TakenBy(origin);
    if (left <= 0) return false;
    if (left <= kept_ && own > 0 && own >= left / 2 && !origin.empty()) return false;
    ++taken_;
    ++by_origin_[origin];
    return true;
  }
  void Leave(const std::string& origin) {
    const auto found = by_origin_.find(origin);
    --taken_;
    if (--found->second == 0) by_origin_.erase(found);
  }

 private:
  // A queue of one keeps none: nobody could wait in it.
  static int64_t KeptOf(int64_t waiting) { return waiting < 2 ? 0 : std::max<int64_t>(1, waiting / 4); }

  const int64_t places_;
  const int64_t kept_;
  int64_t taken_ = 0;
  std::map<std::string, int64_t> by_origin_;
};

}  // namespace inkstone
