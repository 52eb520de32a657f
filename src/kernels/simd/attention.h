// Causal grouped-query attention over paged keys and values with a running softmax (Milakov & Gimelshein 2018; Dao et
// al. 2022). V as in elements.h, the element type E as in kv_cache.h.
//
// A row is one query head of one token. A prompt's many rows share each page, converted once: keys transposed, so that
// lanes are positions, and values as they are. Decoding has few rows and takes keys and values from the page as it
// multiplies them, lanes being dimensions. What a row computes depends on its own positions and the phase only: pages
// in order, and within a page positions in order.
#pragma once

#include "kernels/kernels.h"
#include "kernels/simd/elements.h"
#include "kernels/simd/kv_cache.h"
#include "kernels/simd/matmul_common.h"

namespace inkstone {
namespace {

inline constexpr int kRowsTogether = 4;  // rows that share a load of keys or values in registers
inline constexpr int kRowTarget = 32;    // rows that share a converted page, at least one token's

inline constexpr int64_t RoundUp(int64_t n, int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }

// How the scratch memory of one call is laid out, in floats.
template <class V>
struct AttentionLayout {
  static constexpr int kBlock = 2 * V::kLanes;  // positions whose keys are transposed together
  int64_t tokens;                               // that share a converted page
  int64_t rows;                                 // tokens * heads of the group
  int64_t padded_dim;                           // head_dim up to whole vectors
  int64_t padded_page;                          // page_tokens up to whole blocks
  AttentionLayout(int group, int head_dim, int page_tokens)
      : tokens(group >= kRowTarget ? 1 : kRowTarget / group),
        rows(tokens * group),
        padded_dim(RoundUp(head_dim, V::kLanes)),
        padded_page(RoundUp(page_tokens, kBlock)) {}

  int64_t keys() const { return 0; }                                      // (head_dim, kBlock)
  int64_t values() const { return keys() + padded_dim * kBlock; }         // (page_tokens, padded_dim)
  int64_t scores() const { return values() + padded_page * padded_dim; }  // (rows, padded_page)
  int64_t queries() const { return scores() + rows * padded_page; }       // (rows, padded_dim), decoding
  int64_t sums() const { return queries() + rows * padded_dim; }          // (rows, padded_dim)
  int64_t max() const { return sums() + rows * padded_dim; }              // (rows)
  int64_t total() const { return max() + rows; }                          // (rows)
  int64_t shrink() const { return total() + rows; }                       // (rows)
  int64_t end() const { return shrink() + rows; }
};

template <class V, class E, Phase kPhase>
struct Attender {
  using F = typename V::F;
  static constexpr bool kDecode = kPhase == Phase::kDecode;
  static constexpr int kBlock = kDecode ? V::kLanes : AttentionLayout<V>::kBlock;  // positions scored together
  // Vectors of a row's sums that stay in registers while values stream by.
  static constexpr int kColumns = kDecode && V::kLanes == 16 ? 4 : 2;

  const AttentionOp& op;
  AttentionLayout<V> layout;
  int group;
  int kv_head;
  float* keys;
  float* values;
  float* scores;
  float* queries;
  float* sums;
  float* max;
  float* total;
  float* shrink;

  Attender(const AttentionOp& o, int head, float* scratch)
      : op(o),
        layout(o.heads / o.kv_heads, o.head_dim, o.page_tokens),
        group(o.heads / o.kv_heads),
        kv_head(head),
        keys(scratch + layout.keys()),
        values(scratch + layout.values()),
        scores(scratch + layout.scores()),
        queries(scratch + layout.queries()),
        sums(scratch + layout.sums()),
        max(scratch + layout.max()),
        total(scratch + layout.total()),
        shrink(scratch + layout.shrink()) {}

  const std::byte* Entry(const std::byte* page, int64_t position) const {
    return page + (kv_head * static_cast<int64_t>(op.page_tokens) + position) * E::Bytes(op.head_dim);
  }
  void PrefetchEntry(const std::byte* page, int64_t position) const {
    const std::byte* entry = Entry(page, position);
    for (int64_t i = 0; i < E::Bytes(op.head_dim); i += 64) __builtin_prefetch(entry + i);
  }

  // Keys of positions [from, from + count) of a page, count <= kBlock, to `keys`; missing positions are zero.
  void TransposeKeys(const std::byte* page, int64_t from, int64_t count) {
    for (int half = 0; half < 2; ++half) {
      for (int64_t d = 0; d < op.head_dim; d += V::kLanes) {
        F v[V::kLanes];
        for (int i = 0; i < V::kLanes; ++i) {
          const int64_t position = half * V::kLanes + i;
          v[i] = position < count ? E::template Load<V>(Entry(page, from + position), d, op.head_dim) : V::Zero();
        }
        V::Transpose(v);
        for (int i = 0; i < V::kLanes; ++i) V::Store(keys + (d + i) * kBlock + half * V::kLanes, v[i]);
      }
    }
  }

  void ConvertValues(const std::byte* page, int64_t count) {
    for (int64_t p = 0; p < count; ++p) {
      const std::byte* src = Entry(page, p);
      for (int64_t d = 0; d < op.head_dim; d += V::kLanes) {
        V::Store(values + p * layout.padded_dim + d, E::template Load<V>(src, d, op.head_dim));
      }
    }
  }

  const float* Query(int64_t token_begin, int64_t row) const {
    return op.q + (token_begin + row / group) * op.q_stride + (kv_head * group + row % group) * op.head_dim;
  }

  void CopyQuery(int64_t token_begin, int64_t row) {
    float* out = queries + row * layout.padded_dim;
    memset(out, 0, static_cast<size_t>(layout.padded_dim) * sizeof(float));
    memcpy(out, Query(token_begin, row), static_cast<size_t>(op.head_dim) * sizeof(float));
  }

  // Unscaled scores of R rows with positions [from, from + count) of a page, count <= kBlock, those beyond being zero.
  // Meanwhile touches their values in `value_page`.
  template <int R>
  void DotRows(const std::byte* page, const std::byte* value_page, int64_t row, int64_t from, int64_t count) {
    F dot[R][V::kLanes];
    for (int64_t p = 0; p < count; ++p) {
      const std::byte* key = Entry(page, from + p);
      PrefetchEntry(value_page, from + p);
      F acc[R];
      Unroll<R>([&](auto r) { acc[r] = V::Zero(); });
      for (int64_t d = 0; d < op.head_dim; d += V::kLanes) {
        const F k = E::template Load<V>(key, d, op.head_dim);
        Unroll<R>([&](auto r) { acc[r] = V::MulAdd(k, V::Load(queries + (row + r) * layout.padded_dim + d), acc[r]); });
      }
      Unroll<R>([&](auto r) { dot[r][p] = acc[r]; });
    }
    for (int64_t p = count; p < V::kLanes; ++p) Unroll<R>([&](auto r) { dot[r][p] = V::Zero(); });
    Unroll<R>([&](auto r) { V::Store(scores + (row + r) * layout.padded_page + from, V::SumEach(dot[r])); });
  }

  // Unscaled scores of R rows with the kBlock positions in `keys`.
  template <int R>
  void ScoreRows(int64_t token_begin, int64_t row, int64_t from) {
    const float* q[R];
    F acc[R][2];
    Unroll<R>([&](auto r) {
      q[r] = Query(token_begin, row + r);
      acc[r][0] = acc[r][1] = V::Zero();
    });
    for (int64_t d = 0; d < op.head_dim; ++d) {
      const F k0 = V::Load(keys + d * kBlock);
      const F k1 = V::Load(keys + d * kBlock + V::kLanes);
      Unroll<R>([&](auto r) {
        const F x = V::Set(q[r][d]);
        acc[r][0] = V::MulAdd(x, k0, acc[r][0]);
        acc[r][1] = V::MulAdd(x, k1, acc[r][1]);
      });
    }
    Unroll<R>([&](auto r) {
      float* out = scores + (row + r) * layout.padded_page + from;
      V::Store(out, acc[r][0]);
      V::Store(out + V::kLanes, acc[r][1]);
    });
  }

  // Turns the first n scores of a row into weights relative to the row's new maximum.
  void Softmax(int64_t row, int64_t n) {
    float* s = scores + row * layout.padded_page;
    const F lowest = V::Set(-__builtin_inff());
    const F scale = V::Set(op.scale);
    F top = V::Set(max[row]);
    for (int64_t i = 0; i < n; i += V::kLanes) {
      F v = V::Mul(V::Load(s + i), scale);
      if (n - i < V::kLanes) v = V::Select(v, lowest, static_cast<int>(n - i));
      V::Store(s + i, v);
      top = V::Max(top, v);
    }
    const float new_max = V::MaxLane(top);
    F sum = V::Zero();
    for (int64_t i = 0; i < n; i += V::kLanes) {
      const F e = Exp<V>(V::Sub(V::Load(s + i), V::Set(new_max)));
      V::Store(s + i, e);
      sum = V::Add(sum, e);
    }
    float lanes[V::kLanes];
    V::Store(lanes, Exp<V>(V::Set(max[row] - new_max)));
    shrink[row] = lanes[0];
    total[row] = total[row] * lanes[0] + V::Sum(sum);
    max[row] = new_max;
  }

  // Adds n weighted values of a page to columns [d, d + D vectors) of R rows' sums.
  template <int R, int D>
  void SumValues(const std::byte* page, int64_t row, int64_t n, int64_t d) {
    F acc[R][D];
    const float* weight[R];
    Unroll<R>([&](auto r) {
      weight[r] = scores + (row + r) * layout.padded_page;
      const F factor = V::Set(shrink[row + r]);
      Unroll<D>([&](auto i) {
        acc[r][i] = V::Mul(V::Load(sums + (row + r) * layout.padded_dim + d + i * V::kLanes), factor);
      });
    });
    for (int64_t p = 0; p < n; ++p) {
      F v[D];
      Unroll<D>([&](auto i) {
        const int64_t at = d + i * V::kLanes;
        v[i] = kDecode ? E::template Load<V>(Entry(page, p), at, op.head_dim)
                       : V::Load(values + p * layout.padded_dim + at);
      });
      Unroll<R>([&](auto r) {
        const F w = V::Set(weight[r][p]);
        Unroll<D>([&](auto i) { acc[r][i] = V::MulAdd(w, v[i], acc[r][i]); });
      });
    }
    Unroll<R>([&](auto r) {
      Unroll<D>([&](auto i) { V::Store(sums + (row + r) * layout.padded_dim + d + i * V::kLanes, acc[r][i]); });
    });
  }

  // Rows [row, row_end), which all see n positions of the page.
  void SumRows(const std::byte* page, int64_t row, int64_t row_end, int64_t n) {
    ForTokens<kRowsTogether>(row_end - row, [&](auto r, int64_t i) {
      ForTokens<kColumns>(layout.padded_dim / V::kLanes, [&](auto columns, int64_t column) {
        SumValues<r, columns>(page, row + i, n, column * V::kLanes);
      });
    });
  }

  // One page for tokens [token_begin, token_end); rows count from token_begin.
  void Page(int64_t page, int64_t token_begin, int64_t token_end) {
    const int64_t base = page * op.page_tokens;
    const int64_t have = Smaller<int64_t>(op.page_tokens, op.first_position + token_end - base);
    const int64_t blind = base - op.first_position - token_begin;  // tokens that end before this page
    const int64_t first_row = blind > 0 ? blind * group : 0;
    const int64_t rows = (token_end - token_begin) * group;
    for (int64_t from = 0; from < have; from += kBlock) {
      const int64_t count = Smaller<int64_t>(kBlock, have - from);
      if (!kDecode) TransposeKeys(op.k_pages[page], from, count);
      ForTokens<kRowsTogether>(rows - first_row, [&](auto r, int64_t i) {
        if constexpr (kDecode) {
          DotRows<r>(op.k_pages[page], op.v_pages[page], first_row + i, from, count);
        } else {
          ScoreRows<r>(token_begin, first_row + i, from);
        }
      });
    }
    if (!kDecode) ConvertValues(op.v_pages[page], have);
    const auto visible = [&](int64_t row) {
      return Smaller<int64_t>(op.page_tokens, op.first_position + token_begin + row / group + 1 - base);
    };
    for (int64_t row = first_row; row < rows;) {
      const int64_t n = visible(row);
      int64_t end = row;
      for (; end < rows && visible(end) == n; ++end) Softmax(end, n);
      SumRows(op.v_pages[page], row, end, n);
      row = end;
    }
  }

  // Tokens [token_begin, token_end), at most layout.tokens.
  void Tokens(int64_t token_begin, int64_t token_end) {
    const int64_t rows = (token_end - token_begin) * group;
    for (int64_t row = 0; row < rows; ++row) {
      max[row] = -__builtin_inff();
      total[row] = 0;
      if (kDecode) CopyQuery(token_begin, row);
    }
    memset(sums, 0, static_cast<size_t>(rows * layout.padded_dim) * sizeof(float));
    const int64_t pages = (op.first_position + token_end + op.page_tokens - 1) / op.page_tokens;
    for (int64_t page = 0; page < pages; ++page) Page(page, token_begin, token_end);
    for (int64_t row = 0; row < rows; ++row) {
      float* out = op.out + (token_begin + row / group) * op.out_stride + (kv_head * group + row % group) * op.head_dim;
      const float inverse = 1.0f / total[row];
      for (int64_t d = 0; d < op.head_dim; ++d) out[d] = sums[row * layout.padded_dim + d] * inverse;
    }
  }
};

template <class V, class E, Phase kPhase>
inline void AttendHeads(const AttentionOp& op, int kv_head_begin, int kv_head_end, int64_t token_begin,
                        int64_t token_end, float* scratch) {
  for (int head = kv_head_begin; head < kv_head_end; ++head) {
    Attender<V, E, kPhase> attender(op, head, scratch);
    for (int64_t t = token_begin; t < token_end; t += attender.layout.tokens) {
      attender.Tokens(t, Smaller(token_end, t + attender.layout.tokens));
    }
  }
}

template <class V, Phase kPhase>
inline void AttendPhase(const AttentionOp& op, int kv_head_begin, int kv_head_end, int64_t token_begin,
                        int64_t token_end, void* scratch) {
  const auto attend = op.kv_type == DType::kF16   ? AttendHeads<V, KvFloat<ElementF16>, kPhase>
                      : op.kv_type == DType::kF32 ? AttendHeads<V, KvFloat<ElementF32>, kPhase>
                                                  : AttendHeads<V, KvQ8_0, kPhase>;
  attend(op, kv_head_begin, kv_head_end, token_begin, token_end, static_cast<float*>(scratch));
}

template <class V>
inline void AttendKv(const AttentionOp& op, int kv_head_begin, int kv_head_end, int64_t token_begin, int64_t token_end,
                     void* scratch) {
  const auto attend = op.phase == Phase::kDecode ? AttendPhase<V, Phase::kDecode> : AttendPhase<V, Phase::kPrompt>;
  attend(op, kv_head_begin, kv_head_end, token_begin, token_end, scratch);
}

template <class V>
inline size_t AttentionScratch(int heads_per_kv, int head_dim, int page_tokens) {
  return static_cast<size_t>(AttentionLayout<V>(heads_per_kv, head_dim, page_tokens).end()) * sizeof(float);
}

}  // namespace
}  // namespace inkstone
