// The fit of block scales by weighted least squares, written for vectors of kWidth floats. Each of 16 lanes is one
// group of elements, so no sum crosses lanes but the few over the groups of a block, which have one order: every width
// gives the same bits.
#pragma once

#include <cfloat>
#include <cstring>

#include "core/half.h"
#include "quant/fit.h"

namespace inkstone {
namespace {  // each instruction set has its own copy

template <typename T, int kCount>
struct Vector {
  typedef T Type __attribute__((vector_size(sizeof(T) * kCount)));
};

template <int kWidth>
class Fitter {
 public:
  static void Fit(const BlockShape& shape, const float* x, const float* importance, int blocks, FittedBlock* out) {
    switch (shape.levels) {
      case Levels::kSymmetric:
      case Levels::kBytes:  // ties have the same error
        return FitBlocks<Levels::kSymmetric>(shape, x, importance, blocks, out);
      case Levels::kAffine:
        return FitBlocks<Levels::kAffine>(shape, x, importance, blocks, out);
      case Levels::kCodeBook:
        return FitBlocks<Levels::kCodeBook>(shape, x, importance, blocks, out);
    }
  }

  static void Codes(const BlockShape& shape, const FittedBlock& fitted, const float* x, uint8_t* out) {
    switch (shape.levels) {
      case Levels::kSymmetric:
        return BlockCodes<Levels::kSymmetric>(shape, fitted, x, out);
      case Levels::kBytes:
        return BlockCodes<Levels::kBytes>(shape, fitted, x, out);
      case Levels::kAffine:
        return BlockCodes<Levels::kAffine>(shape, fitted, x, out);
      case Levels::kCodeBook:
        return BlockCodes<Levels::kCodeBook>(shape, fitted, x, out);
    }
  }

  static void Subtract(const float* row, float factor, int64_t count, float* x) {
    for (int64_t i = 0; i < count; ++i) x[i] -= factor * row[i];
  }

 private:
  using V = typename Vector<float, kWidth>::Type;
  using I = typename Vector<int32_t, kWidth>::Type;
  using Bytes = typename Vector<uint8_t, kWidth>::Type;
  static constexpr int kParts = kFitGroups / kWidth;

  // One float for each lane.
  struct F {
    V part[kParts];

    F() = default;
    F(float value) {  // implicit, as numbers are
      for (V& p : part) p = V{} + value;
    }
    template <typename Op>
    static F Map(Op op) {
      F r;
      for (int p = 0; p < kParts; ++p) r.part[p] = op(p);
      return r;
    }
    friend F operator+(const F& a, const F& b) {
      return Map([&](int p) { return a.part[p] + b.part[p]; });
    }
    friend F operator-(const F& a, const F& b) {
      return Map([&](int p) { return a.part[p] - b.part[p]; });
    }
    friend F operator*(const F& a, const F& b) {
      return Map([&](int p) { return a.part[p] * b.part[p]; });
    }
    friend F operator/(const F& a, const F& b) {
      return Map([&](int p) { return a.part[p] / b.part[p]; });
    }
    friend F operator-(const F& a) { return F(0.0f) - a; }

    static F From(const float* lanes) {
      F r;
      std::memcpy(&r, lanes, sizeof r);
      return r;
    }
    void To(float* lanes) const { std::memcpy(lanes, this, sizeof *this); }
  };
  // a < b ? yes : no
  static F IfLess(const F& a, const F& b, const F& yes, const F& no) {
    return F::Map([&](int p) { return a.part[p] < b.part[p] ? yes.part[p] : no.part[p]; });
  }
  static F Min(const F& a, const F& b) { return IfLess(a, b, a, b); }
  static F Max(const F& a, const F& b) { return IfLess(a, b, b, a); }
  static F Abs(const F& a) { return Max(a, -a); }
  // The nearest integer within lo .. hi.
  static F Integer(const F& a, int lo, int hi) {
    const float low = static_cast<float>(lo), high = static_cast<float>(hi);
    return F::Map([&](int p) { return RoundToInteger(Clamp(a.part[p], low, high)); });
  }
  // a / b, and 0 where b is (nearly) zero.
  static F Quotient(const F& a, const F& b) {
    const F one = 1.0f;
    const F small = IfLess(Abs(b), FLT_MIN, one, 0.0f);
    return IfLess(0.0f, small, 0.0f, a / IfLess(0.0f, small, one, b));
  }
  // The nearest finite binary16.
  static F Half(const F& a) {
    float lanes[kFitGroups];
    Max(Min(a, 65504.0f), -65504.0f).To(lanes);
    for (float& lane : lanes) lane = F16ToF32(F32ToF16(lane));
    return F::From(lanes);
  }

  // For each block, op over the lanes of its groups, in each of these lanes.
  template <typename Op>
  static F OverBlock(const F& a, int groups, Op op) {
    if (groups == 1) return a;
    float lanes[kFitGroups];
    a.To(lanes);
    for (int begin = 0; begin < kFitGroups; begin += groups) {
      float* block = lanes + begin;
      for (int half = groups / 2; half > 0; half /= 2) {
        for (int i = 0; i < half; ++i) block[i] = op(block[i], block[half + i]);
      }
      for (int i = 1; i < groups; ++i) block[i] = block[0];
    }
    return F::From(lanes);
  }
  static F BlockSum(const F& a, int groups) {
    return OverBlock(a, groups, [](float x, float y) { return x + y; });
  }
  // The value of the largest magnitude, with its sign.
  static F BlockExtreme(const F& a, int groups) {
    return OverBlock(a, groups, [](float x, float y) { return (y < 0 ? -y : y) > (x < 0 ? -x : x) ? y : x; });
  }

  // Element i of lane l lies at [i * kFitGroups + l].
  struct Batch {
    alignas(64) float x[kFitElements];
    alignas(64) float w[kFitElements];  // importance, at most 1 and above 0
    F weight;                           // sums of w
  };

  static void Load(const BlockShape& shape, const float* x, const float* importance, int blocks, Batch* b) {
    const int used = blocks * shape.groups;
    for (int l = 0; l < kFitGroups; ++l) {
      for (int i = 0; i < shape.group; ++i) {
        b->x[i * kFitGroups + l] = l < used ? x[l * shape.group + i] : 0.0f;
        b->w[i * kFitGroups + l] = 1.0f;
      }
    }
    for (int block = 0; importance != nullptr && block < blocks; ++block) {
      const float* w = importance + block * shape.elements();
      float max = 0.0f;
      for (int i = 0; i < shape.elements(); ++i) max = w[i] > max ? w[i] : max;
      // Never quite zero: a group without any importance is fitted all the same, and cannot disturb its neighbours.
      constexpr float kLeast = 1e-9f;
      for (int i = 0; max > 0.0f && i < shape.elements(); ++i) {
        const float relative = w[i] / max;
        b->w[i % shape.group * kFitGroups + block * shape.groups + i / shape.group] =
            relative > kLeast ? relative : kLeast;
      }
    }
    F sum = 0.0f;
    for (int i = 0; i < shape.group; ++i) sum = sum + F::From(b->w + i * kFitGroups);
    b->weight = sum;
  }

  // Of a group with a grid: the weighted squared error, and its derivatives by scale and offset as sums over the
  // residuals r = x - decoded and the levels q. With them the error of a nearby grid for the same levels is known:
  //   error(ds, do) = e - 2 ds rq - 2 do r + ds^2 qq + 2 ds do q + do^2 weight
  struct Sums {
    F e, rq, qq, r, q, weight;

    F ErrorAt(const F& ds, const F& offset_change) const {
      return e - (ds * (rq + rq - ds * qq) + offset_change * (r + r - offset_change * weight - (ds + ds) * q));
    }
  };

  struct GroupGrid {
    F scale, offset;
  };

  template <Levels kLevels>
  static Sums Measure(const BlockShape& shape, const Batch& b, const GroupGrid& grid) {
    const F inverse = Quotient(1.0f, grid.scale);
    Sums s;
    s.weight = b.weight;
    for (int p = 0; p < kParts; ++p) {
      V e{}, rq{}, qq{}, r{}, q{};
      const V scale = grid.scale.part[p], offset = grid.offset.part[p], by = inverse.part[p];
      for (int i = 0; i < shape.group; ++i) {
        V x, w;
        std::memcpy(&x, b.x + i * kFitGroups + p * kWidth, sizeof x);
        std::memcpy(&w, b.w + i * kFitGroups + p * kWidth, sizeof w);
        if constexpr (kLevels == Levels::kAffine) x -= offset;
        const V level = NearestLevel<kLevels>(x * by, shape);
        const V rest = x - scale * level;
        const V weighted_rest = w * rest;
        const V weighted_level = w * level;
        e += weighted_rest * rest;
        rq += weighted_rest * level;
        qq += weighted_level * level;
        if constexpr (kLevels == Levels::kAffine) {
          r += weighted_rest;
          q += weighted_level;
        }
      }
      s.e.part[p] = e;
      s.rq.part[p] = rq;
      s.qq.part[p] = qq;
      s.r.part[p] = r;
      s.q.part[p] = q;
    }
    return s;
  }

  // (u, v) with a u + b v = p, b u + c v = r; where that is as good as singular, u = 0.
  static void Solve(const F& a, const F& b, const F& c, const F& p, const F& r, F* u, F* v) {
    const F det = a * c - b * b;
    const F singular = IfLess(1e-6f * (a * c), det, 0.0f, 1.0f);
    *u = IfLess(0.0f, singular, 0.0f, Quotient(p * c - r * b, det));
    *v = IfLess(0.0f, singular, Quotient(r, c), Quotient(r * a - p * b, det));
  }

  // The grid with the least error for the same levels, and that error.
  template <Levels kLevels>
  static GroupGrid Improve(const BlockShape& shape, const Sums& s, const GroupGrid& grid, F* error) {
    if constexpr (kLevels != Levels::kAffine) {
      const F ds = Quotient(s.rq, s.qq);
      *error = s.e - ds * s.rq;
      return {grid.scale + ds, grid.offset};
    } else {
      F ds, change;
      Solve(s.qq, s.q, s.weight, s.rq, s.r, &ds, &change);
      if (shape.min_lo == 0) {
        // The offset may not be above zero.
        const F above = grid.offset + change;
        const F limited_scale = Quotient(s.rq + grid.offset * s.q, s.qq);
        ds = Max(IfLess(0.0f, above, limited_scale, ds), -grid.scale);
        change = IfLess(0.0f, above, -grid.offset, change);
      }
      *error = s.ErrorAt(ds, change);
      return {grid.scale + ds, grid.offset + change};
    }
  }

  // The best grid so far.
  struct Search {
    GroupGrid grid;
    F error;
  };

  template <Levels kLevels>
  static void Try(const BlockShape& shape, const Batch& b, const GroupGrid& start, Search* best) {
    F error;
    const GroupGrid grid = Improve<kLevels>(shape, Measure<kLevels>(shape, b, start), start, &error);
    best->grid.scale = IfLess(error, best->error, grid.scale, best->grid.scale);
    best->grid.offset = IfLess(error, best->error, grid.offset, best->grid.offset);
    best->error = Min(error, best->error);
  }

  // Each group's own grid, not yet rounded: several starts, then once more from the best.
  template <Levels kLevels>
  static GroupGrid FitGroups(const BlockShape& shape, const Batch& b) {
    F min = F::From(b.x), max = min;
    for (int i = 1; i < shape.group; ++i) {
      min = Min(min, F::From(b.x + i * kFitGroups));
      max = Max(max, F::From(b.x + i * kFitGroups));
    }
    Search best{{0.0f, 0.0f}, FLT_MAX};
    if constexpr (kLevels == Levels::kAffine) {
      if (shape.min_lo == 0) min = Min(min, 0.0f);
      best.grid = {0.0f, min};
      constexpr float kCuts[] = {-0.3f, -0.1f, 0.1f, 0.3f, 0.5f, 0.8f};
      const float steps = static_cast<float>(shape.hi);
      for (float low : kCuts) {
        for (float high : kCuts) {
          const F scale = (max - min) / (steps + low + high);
          Try<kLevels>(shape, b, {scale, min + scale * low}, &best);
        }
      }
    } else {
      const F extreme = IfLess(-min, max, max, min);
      const float step = kLevels == Levels::kCodeBook ? 14.0f : 1.0f;
      constexpr int kStarts = 11;
      for (int k = 0; k < kStarts; ++k) {
        const float cut = step * (-0.8f + 0.2f * static_cast<float>(k));
        Try<kLevels>(shape, b, {extreme / (static_cast<float>(shape.lo) - cut), 0.0f}, &best);
        Try<kLevels>(shape, b, {extreme / (static_cast<float>(shape.hi) + cut), 0.0f}, &best);
      }
    }
    Try<kLevels>(shape, b, best.grid, &best);
    return best.grid;
  }

  // What the blocks store; each group's grid follows from it.
  struct Stored {
    F d, dmin, scale, min;  // integers in scale and min

    GroupGrid Grids() const { return {d * scale, -(dmin * min)}; }
    void Take(const F& mine, const F& theirs, const Stored& other) {  // where theirs < mine
      d = IfLess(theirs, mine, other.d, d);
      dmin = IfLess(theirs, mine, other.dmin, dmin);
      scale = IfLess(theirs, mine, other.scale, scale);
      min = IfLess(theirs, mine, other.min, min);
    }
  };

  // Chooses the integers that go best with d and dmin for the levels of `s`, measured on `grid`, where `ideal` is the
  // best scale without rounding. Returns each group's error.
  template <Levels kLevels>
  static F ChooseIntegers(const BlockShape& shape, const Sums& s, const GroupGrid& grid, const F& ideal,
                          Stored* stored) {
    const F middle = Integer(Quotient(ideal, stored->d), shape.scale_lo, shape.scale_hi);
    const F by_min = Quotient(-1.0f, stored->dmin);
    const F by_weight = 1.0f / s.weight;
    F least = FLT_MAX;
    for (int k = -1; k <= 1; ++k) {
      if (shape.scale_lo == shape.scale_hi && k != 0) continue;
      const F scale = Integer(middle + static_cast<float>(k), shape.scale_lo, shape.scale_hi);
      const F ds = stored->d * scale - grid.scale;
      F min = 0.0f, change = 0.0f;
      if constexpr (kLevels == Levels::kAffine) {
        const F offset = grid.offset + (s.r - ds * s.q) * by_weight;
        min = Integer(offset * by_min, shape.min_lo, shape.min_hi);
        change = -(stored->dmin * min) - grid.offset;
      }
      const F error = s.ErrorAt(ds, change);
      stored->scale = IfLess(error, least, scale, stored->scale);
      stored->min = IfLess(error, least, min, stored->min);
      least = Min(error, least);
    }
    return least;
  }

  // First d and dmin, by the error that their integers would have for the groups' own levels.
  template <Levels kLevels>
  static Stored StartBlocks(const BlockShape& shape, const Sums& s, const GroupGrid& grid) {
    const F scale = BlockExtreme(grid.scale, shape.groups);
    const F offset = BlockExtreme(grid.offset, shape.groups);
    const auto d_for = [&](float integer) { return Half(scale / integer); };
    const auto dmin_for = [&](float integer) { return Half(-offset / integer); };
    const float scale_lo = static_cast<float>(shape.scale_lo), scale_hi = static_cast<float>(shape.scale_hi);
    const float min_hi = shape.min_hi == 0 ? 1.0f : static_cast<float>(shape.min_hi);
    Stored best{d_for(scale_hi), dmin_for(min_hi), 0.0f, 0.0f};
    F least = BlockSum(ChooseIntegers<kLevels>(shape, s, grid, grid.scale, &best), shape.groups);
    if (shape.groups == 1) return best;
    const auto consider = [&](Stored next) {
      const F error = BlockSum(ChooseIntegers<kLevels>(shape, s, grid, grid.scale, &next), shape.groups);
      best.Take(least, error, next);
      least = Min(least, error);
    };
    constexpr int kStarts = 8;
    for (int k = 0; k < kStarts; ++k) {
      const float cut = -0.4f + 0.4f * static_cast<float>(k);
      consider({d_for(scale_hi - cut), best.dmin, 0.0f, 0.0f});
      if (shape.scale_lo < 0) consider({d_for(scale_lo + cut), best.dmin, 0.0f, 0.0f});
      if constexpr (kLevels == Levels::kAffine) consider({best.d, dmin_for(min_hi - cut), 0.0f, 0.0f});
    }
    return best;
  }

  // d and dmin by least squares over the block for the levels of `s`.
  template <Levels kLevels>
  static void RefitBlocks(const BlockShape& shape, const Sums& s, Stored* stored) {
    const int groups = shape.groups;
    const F a = BlockSum(stored->scale * stored->scale * s.qq, groups);
    const F p = BlockSum(stored->scale * s.rq, groups);
    if constexpr (kLevels == Levels::kAffine) {
      const F b = BlockSum(-(stored->scale * stored->min * s.q), groups);
      const F c = BlockSum(stored->min * stored->min * s.weight, groups);
      const F r = BlockSum(-(stored->min * s.r), groups);
      F d_change, dmin_change;
      Solve(a, b, c, p, r, &d_change, &dmin_change);
      // Without any minimum the system is singular, but not for d.
      d_change = IfLess(0.0f, c, d_change, Quotient(p, a));
      stored->d = Half(stored->d + d_change);
      stored->dmin = Half(stored->dmin + dmin_change);
    } else {
      stored->d = Half(stored->d + Quotient(p, a));
    }
  }

  template <Levels kLevels>
  static void FitBlocks(const BlockShape& shape, const float* x, const float* importance, int blocks,
                        FittedBlock* out) {
    Batch b;
    Load(shape, x, importance, blocks, &b);
    const GroupGrid own = FitGroups<kLevels>(shape, b);
    Stored stored = StartBlocks<kLevels>(shape, Measure<kLevels>(shape, b, own), own);
    Stored best = stored;
    F least = FLT_MAX;
    constexpr int kRounds = 3;
    for (int k = 0; k < kRounds; ++k) {
      const GroupGrid grid = stored.Grids();
      const Sums s = Measure<kLevels>(shape, b, grid);
      const F error = BlockSum(s.e, shape.groups);
      best.Take(least, error, stored);
      least = Min(least, error);
      F ignored;
      const F ideal = Improve<kLevels>(shape, s, grid, &ignored).scale;
      RefitBlocks<kLevels>(shape, s, &stored);
      ChooseIntegers<kLevels>(shape, s, grid, ideal, &stored);
    }
    Write(shape, best, blocks, out);
  }

  static void Write(const BlockShape& shape, const Stored& stored, int blocks, FittedBlock* out) {
    const GroupGrid grids = stored.Grids();
    float d[kFitGroups], dmin[kFitGroups], scale[kFitGroups], min[kFitGroups];
    float group_scale[kFitGroups], group_offset[kFitGroups], inverse[kFitGroups];
    stored.d.To(d);
    stored.dmin.To(dmin);
    stored.scale.To(scale);
    stored.min.To(min);
    grids.scale.To(group_scale);
    grids.offset.To(group_offset);
    Quotient(1.0f, grids.scale).To(inverse);
    for (int l = 0; l < blocks * shape.groups; ++l) {
      FittedBlock& block = out[l / shape.groups];
      const int g = l % shape.groups;
      block.d = F32ToF16(d[l]);
      block.dmin = F32ToF16(dmin[l]);
      block.scale[g] = static_cast<int8_t>(scale[l]);
      block.min[g] = static_cast<int8_t>(min[l]);
      block.grid[g] = {group_scale[l], group_offset[l], inverse[l]};
    }
  }

  template <Levels kLevels>
  static void BlockCodes(const BlockShape& shape, const FittedBlock& fitted, const float* x, uint8_t* out) {
    for (int g = 0; g < shape.groups; ++g) {
      const Grid& grid = fitted.grid[g];
      for (int i = g * shape.group; i < (g + 1) * shape.group; i += kWidth) {
        V v;
        std::memcpy(&v, x + i, sizeof v);
        const V code = NearestCode<kLevels>((v - grid.offset) * grid.inverse, shape);
        const Bytes bytes = __builtin_convertvector(__builtin_convertvector(code, I), Bytes);
        std::memcpy(out + i, &bytes, sizeof bytes);
      }
    }
  }
};

template <int kWidth>
constexpr FitTable MakeFitTable(const char* target) {
  return {target, Fitter<kWidth>::Fit, Fitter<kWidth>::Codes, Fitter<kWidth>::Subtract};
}

}  // namespace
}  // namespace inkstone
