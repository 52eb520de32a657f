// Causal grouped-query attention over paged keys and values with a running softmax (Milakov & Gimelshein 2018; Dao et
// al. 2022). V as in elements.h, the element types E of keys and values as in kv_cache.h.
//
// A row is one query head of one token. Rows go through spans of positions that begin at multiples of a span's length:
// a span's scores, their softmax, its weighted values. A prompt's many rows share converted keys and values: keys
// transposed, so that lanes are positions, and values in columns of two vectors. Decoding has few rows and takes keys
// and values from the page as it multiplies them, lanes being dimensions. What a row computes depends on its own
// positions and the phase only.
#pragma once

#include "kernels/kernels.h"
#include "kernels/simd/elements.h"
#include "kernels/simd/kv_cache.h"
#include "kernels/simd/matmul_common.h"

namespace inkstone {
namespace {

inline constexpr int kSpanTarget = 128;  // positions between two softmaxes of a row, at least one page's

inline constexpr int64_t RoundUp(int64_t n, int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }

// How the scratch memory of one call is laid out, in floats.
template <class V>
struct AttentionLayout {
  static constexpr int kBlock = 2 * V::kLanes;                   // positions whose keys are transposed together
  static constexpr int kColumn = 2 * V::kLanes;                  // dimensions of values that lie together
  static constexpr int kRowsTogether = V::kLanes == 16 ? 8 : 4;  // that share a load of keys or values in registers
  static constexpr int kRowTarget = 16 * V::kLanes;              // that share a converted span, at least one token's
  int64_t tokens;                                                // that share a converted span
  int64_t rows;                                                  // tokens * heads of the group
  int64_t padded_dim;                                            // head_dim up to whole vectors
  int64_t span;                                                  // whole pages
  int64_t padded_span;                                           // a block may begin at the last position
  AttentionLayout(int group, int head_dim, int page_tokens)
      : tokens(group >= kRowTarget ? 1 : kRowTarget / group),
        rows(tokens * group),
        padded_dim(RoundUp(head_dim, V::kLanes)),
        span(page_tokens >= kSpanTarget ? page_tokens : kSpanTarget / page_tokens * page_tokens),
        padded_span(span + kBlock) {}

  int64_t keys() const { return 0; }                                                 // (padded_dim, kBlock)
  int64_t values() const { return keys() + padded_dim * kBlock; }                    // (columns, span, kColumn)
  int64_t scores() const { return values() + span * RoundUp(padded_dim, kColumn); }  // (rows, padded_span)
  int64_t queries() const { return scores() + rows * padded_span; }                  // (rows, padded_dim), decoding
  int64_t sums() const { return queries() + rows * padded_dim; }                     // (rows, padded_dim)
  int64_t max() const { return sums() + rows * padded_dim; }                         // (rows)
  int64_t total() const { return max() + rows; }                                     // (rows)
  int64_t end() const { return total() + rows; }
};

// What both phases do with a KV head's rows. `Entries` are a head's vectors in a page, `bytes` apart.
template <class V>
struct AttentionRows {
  using F = typename V::F;

  const AttentionOp& op;
  AttentionLayout<V> layout;
  int group;
  int kv_head;
  int64_t k_bytes;  // of one vector
  int64_t v_bytes;
  float* keys;
  float* values;
  float* scores;
  float* queries;
  float* sums;
  float* max;
  float* total;

  AttentionRows(const AttentionOp& o, int head, float* scratch)
      : op(o),
        layout(o.heads / o.kv_heads, o.head_dim, o.page_tokens),
        group(o.heads / o.kv_heads),
        kv_head(head),
        k_bytes(WithKvType(o.types.k, [&](auto e) { return e.Bytes(o.head_dim); })),
        v_bytes(WithKvType(o.types.v, [&](auto e) { return e.Bytes(o.head_dim); })),
        keys(scratch + layout.keys()),
        values(scratch + layout.values()),
        scores(scratch + layout.scores()),
        queries(scratch + layout.queries()),
        sums(scratch + layout.sums()),
        max(scratch + layout.max()),
        total(scratch + layout.total()) {}

  const std::byte* Entries(const std::byte* page, int64_t bytes) const {
    return page + kv_head * static_cast<int64_t>(op.page_tokens) * bytes;
  }
  const float* Query(int64_t token_begin, int64_t row) const {
    return op.q + (token_begin + row / group) * op.q_stride + (kv_head * group + row % group) * op.head_dim;
  }

  // Turns the first n scores of a row into weights relative to the row's new maximum, and its sums so far with them.
  void Softmax(int64_t row, int64_t n) {
    float* s = scores + row * layout.padded_span;
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
    if (new_max != max[row]) Shrink(row, Exp<V>(V::Set(max[row] - new_max)));
    total[row] += V::Sum(sum);
    max[row] = new_max;
  }

  void Shrink(int64_t row, F factor) {
    float* s = sums + row * layout.padded_dim;
    for (int64_t d = 0; d < layout.padded_dim; d += V::kLanes) V::Store(s + d, V::Mul(V::Load(s + d), factor));
    float lanes[V::kLanes];
    V::Store(lanes, factor);
    total[row] *= lanes[0];
  }

  // Adds n weighted values of type E, the span's from `from` on, to columns [d, d + D vectors) of R rows' sums. d is a
  // multiple of E's run.
  template <class E, int R, int D>
  void SumValues(const std::byte* entries, int64_t bytes, int64_t dim, int64_t row, int64_t from, int64_t n,
                 int64_t d) {
    constexpr int kParts = E::template kRun<V> / V::kLanes;
    F acc[R][D];
    const float* weight[R];
    float* sum = sums + row * layout.padded_dim + d;
    Unroll<R>([&](auto r) {
      weight[r] = scores + (row + r) * layout.padded_span + from;
      Unroll<D>([&](auto i) { acc[r][i] = V::Load(sum + r * layout.padded_dim + i * V::kLanes); });
    });
    for (int64_t p = 0; p < n; ++p, entries += bytes) {
      F v[D];
      Unroll<D>([&](auto i) {
        v[i] = E::template LoadPart<V>(entries, d + i / kParts * kParts * V::kLanes, i % kParts, dim);
      });
      Unroll<R>([&](auto r) {
        const F w = V::Set(weight[r][p]);
        Unroll<D>([&](auto i) { acc[r][i] = V::MulAdd(w, v[i], acc[r][i]); });
      });
    }
    Unroll<R>(
        [&](auto r) { Unroll<D>([&](auto i) { V::Store(sum + r * layout.padded_dim + i * V::kLanes, acc[r][i]); }); });
  }

  // When all of a row's values are summed.
  void EndRow(int64_t) {}

  // Positions of the span from `base` on that a row sees, rows counting from token_begin; not positive: none.
  int64_t Visible(int64_t token_begin, int64_t row, int64_t base) const {
    return Smaller<int64_t>(layout.span, op.first_position + token_begin + row / group + 1 - base);
  }

  // Weighs and sums a span's values for rows [row, rows): sum(row, row_end, n) for those that see n positions.
  template <class Sum>
  void WeighRows(int64_t token_begin, int64_t row, int64_t rows, int64_t base, Sum&& sum) {
    while (row < rows) {
      const int64_t n = Visible(token_begin, row, base);
      int64_t end = row;
      for (; end < rows && Visible(token_begin, end, base) == n; ++end) Softmax(end, n);
      sum(row, end, n);
      row = end;
    }
  }

  // body(page, first, count) for a span's pages: the page's first position in the span, and how many of `have` it has.
  template <class Body>
  void ForPages(int64_t base, int64_t have, Body&& body) const {
    for (int64_t first = 0; first < have; first += op.page_tokens) {
      body((base + first) / op.page_tokens, first, Smaller<int64_t>(op.page_tokens, have - first));
    }
  }

  // The first row that sees a position, counting as rows of token_begin do.
  int64_t FirstRow(int64_t token_begin, int64_t position) const {
    const int64_t blind = position - op.first_position - token_begin;  // tokens that come before it
    return blind > 0 ? blind * group : 0;
  }
};

// Keys and values are converted to f32, each by its type, and serve many rows.
template <class V>
struct PromptAttender : AttentionRows<V> {
  using Base = AttentionRows<V>;
  using F = typename V::F;
  using Base::group, Base::keys, Base::layout, Base::op, Base::scores, Base::values;
  static constexpr int kBlock = AttentionLayout<V>::kBlock;
  static constexpr int kColumn = AttentionLayout<V>::kColumn;
  static constexpr int kRowsTogether = AttentionLayout<V>::kRowsTogether;

  void (PromptAttender::*transpose)(const std::byte* entries, int64_t from, int64_t count);
  void (PromptAttender::*convert)(const std::byte* entries, int64_t first, int64_t count);

  PromptAttender(const AttentionOp& o, int head, float* scratch)
      : Base(o, head, scratch),
        transpose(WithKvType(o.types.k, [](auto e) { return &PromptAttender::TransposeKeys<decltype(e)>; })),
        convert(WithKvType(o.types.v, [](auto e) { return &PromptAttender::ConvertValues<decltype(e)>; })) {}

  void BeginRow(int64_t, int64_t) {}

  // Keys of positions [from, from + count) of a page, count <= kBlock, to `keys`; missing positions are zero.
  template <class E>
  void TransposeKeys(const std::byte* entries, int64_t from, int64_t count) {
    for (int half = 0; half < 2; ++half) {
      for (int64_t d = 0; d < op.head_dim; d += V::kLanes) {
        F v[V::kLanes];
        for (int i = 0; i < V::kLanes; ++i) {
          const int64_t p = half * V::kLanes + i;
          v[i] = p < count ? LoadKv<V, E>(entries + (from + p) * this->k_bytes, d, op.head_dim) : V::Zero();
        }
        V::Transpose(v);
        for (int i = 0; i < V::kLanes; ++i) V::Store(keys + (d + i) * kBlock + half * V::kLanes, v[i]);
      }
    }
  }

  // Values of a page to the span's from `first` on.
  template <class E>
  void ConvertValues(const std::byte* entries, int64_t first, int64_t count) {
    for (int64_t p = 0; p < count; ++p) {
      for (int64_t d = 0; d < layout.padded_dim; d += V::kLanes) {
        float* column = values + d / kColumn * layout.span * kColumn;
        V::Store(column + (first + p) * kColumn + d % kColumn,
                 LoadKv<V, E>(entries + p * this->v_bytes, d, op.head_dim));
      }
    }
  }

  // Unscaled scores of R rows with the kBlock positions in `keys`.
  template <int R>
  void ScoreRows(int64_t token_begin, int64_t row, int64_t from) {
    const float* q[R];
    F acc[R][2];
    Unroll<R>([&](auto r) {
      q[r] = this->Query(token_begin, row + r);
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
      float* out = scores + (row + r) * layout.padded_span + from;
      V::Store(out, acc[r][0]);
      V::Store(out + V::kLanes, acc[r][1]);
    });
  }

  // Scores of a page, the span's from `first` on, for the rows that see something of it.
  void ScorePage(int64_t page, int64_t first, int64_t count, int64_t token_begin, int64_t rows) {
    const std::byte* entries = this->Entries(op.k_pages[page], this->k_bytes);
    for (int64_t from = 0; from < count; from += kBlock) {
      (this->*transpose)(entries, from, Smaller<int64_t>(kBlock, count - from));
      const int64_t row = this->FirstRow(token_begin, page * op.page_tokens + from);
      ForTokens<kRowsTogether>(rows - row,
                               [&](auto r, int64_t i) { ScoreRows<r>(token_begin, row + i, first + from); });
    }
  }

  // n values of one column after the other, so that a column stays near while the rows go by.
  void SumColumns(int64_t row, int64_t row_end, int64_t n) {
    for (int64_t d = 0; d < layout.padded_dim; d += kColumn) {
      // SumValues adds d to where a value begins.
      const float* column = values + d * (layout.span - 1);
      const auto sum = [&](auto width) {
        ForTokens<kRowsTogether>(row_end - row, [&](auto r, int64_t i) {
          this->template SumValues<KvFloat<ElementF32>, r, width>(reinterpret_cast<const std::byte*>(column),
                                                                  kColumn * static_cast<int64_t>(sizeof(float)),
                                                                  layout.padded_dim, row + i, 0, n, d);
        });
      };
      if (d + V::kLanes < layout.padded_dim) {
        sum(std::integral_constant<int, 2>());
      } else {
        sum(std::integral_constant<int, 1>());
      }
    }
  }

  // A span for tokens of which rows [row, rows) see something of it; `have` positions are filled.
  void Span(int64_t base, int64_t have, int64_t token_begin, int64_t row, int64_t rows) {
    this->ForPages(base, have, [&](int64_t page, int64_t first, int64_t count) {
      ScorePage(page, first, count, token_begin, rows);
      (this->*convert)(this->Entries(op.v_pages[page], this->v_bytes), first, count);
    });
    this->WeighRows(token_begin, row, rows, base,
                    [&](int64_t begin, int64_t end, int64_t n) { SumColumns(begin, end, n); });
  }
};

// Keys and values come from the page as they are multiplied. What depends on the keys' type and what on the values' are
// functions of their own, so that a pair of types needs no code that its parts do not have.
template <class V>
struct DecodeAttender : AttentionRows<V> {
  using Base = AttentionRows<V>;
  using F = typename V::F;
  using Base::layout, Base::op, Base::queries, Base::scores;
  static constexpr int kRowsTogether = 4;

  void (DecodeAttender::*score)(int64_t page, int64_t first, int64_t count, int64_t row, int64_t rows);
  void (DecodeAttender::*sum)(int64_t page, int64_t first, int64_t count, int64_t row, int64_t row_end);

  DecodeAttender(const AttentionOp& o, int head, float* scratch)
      : Base(o, head, scratch),
        score(WithKvType(o.types.k, [](auto e) { return &DecodeAttender::ScorePage<decltype(e)>; })),
        sum(WithKvType(o.types.v, [](auto e) { return &DecodeAttender::SumPage<decltype(e)>; })) {}

  void BeginRow(int64_t token_begin, int64_t row) {
    float* out = queries + row * layout.padded_dim;
    memset(out, 0, static_cast<size_t>(layout.padded_dim) * sizeof(float));
    memcpy(out, this->Query(token_begin, row), static_cast<size_t>(op.head_dim) * sizeof(float));
  }

  static void Prefetch(const std::byte* vector, int64_t bytes) {
    for (int64_t i = 0; i < bytes; i += 64) __builtin_prefetch(vector + i);
  }

  // Unscaled scores, from `from` on, of R rows with `count` positions, at most lanes; those beyond are zero. Meanwhile
  // touches their values.
  template <class E, int R>
  void DotRows(const std::byte* key, const std::byte* value, int64_t row, int64_t from, int64_t count) {
    constexpr int kRun = E::template kRun<V>;
    F dot[R][V::kLanes];
    for (int64_t p = 0; p < count; ++p, key += this->k_bytes, value += this->v_bytes) {
      Prefetch(value, this->v_bytes);
      // Short vectors, each of another line: the processor's own prefetching falls behind.
      if constexpr (E::kQuantized) Prefetch(key + V::kLanes * this->k_bytes, this->k_bytes);
      F acc[R];
      Unroll<R>([&](auto r) { acc[r] = V::Zero(); });
      for (int64_t d = 0; d < op.head_dim; d += kRun) {
        Unroll<kRun / V::kLanes>([&](auto part) {
          const F k = E::template LoadPart<V>(key, d, part, op.head_dim);
          const float* q = queries + row * layout.padded_dim + d + part * V::kLanes;
          Unroll<R>([&](auto r) { acc[r] = V::MulAdd(k, V::Load(q + r * layout.padded_dim), acc[r]); });
        });
      }
      Unroll<R>([&](auto r) { dot[r][p] = acc[r]; });
    }
    for (int64_t p = count; p < V::kLanes; ++p) Unroll<R>([&](auto r) { dot[r][p] = V::Zero(); });
    Unroll<R>([&](auto r) { V::Store(scores + (row + r) * layout.padded_span + from, V::SumEach(dot[r])); });
  }

  template <class E>
  void ScorePage(int64_t page, int64_t first, int64_t count, int64_t row, int64_t rows) {
    const std::byte* key_entries = this->Entries(op.k_pages[page], this->k_bytes);
    const std::byte* value_entries = this->Entries(op.v_pages[page], this->v_bytes);
    for (int64_t from = 0; from < count; from += V::kLanes) {
      const int64_t positions = Smaller<int64_t>(V::kLanes, count - from);
      ForTokens<kRowsTogether>(rows - row, [&](auto r, int64_t i) {
        DotRows<E, r>(key_entries + from * this->k_bytes, value_entries + from * this->v_bytes, row + i, first + from,
                      positions);
      });
    }
  }

  // kColumns vectors of some rows' sums stay in registers while a page's values stream by.
  template <class E>
  void SumPage(int64_t page, int64_t first, int64_t count, int64_t row, int64_t row_end) {
    constexpr int kParts = E::template kRun<V> / V::kLanes;
    constexpr int kColumns = V::kLanes == 16 || kParts == 4 ? 4 : 2;
    constexpr int kRows = kColumns * kRowsTogether > V::kLanes ? V::kLanes / kColumns : kRowsTogether;
    const std::byte* entries = this->Entries(op.v_pages[page], this->v_bytes);
    const int64_t dim = op.head_dim;
    ForTokens<kRows>(row_end - row, [&](auto r, int64_t i) {
      ForTokens<kColumns>(layout.padded_dim / V::kLanes, [&](auto columns, int64_t column) {
        if constexpr (columns % kParts == 0) {
          this->template SumValues<E, r, columns>(entries, this->v_bytes, dim, row + i, first, count,
                                                  column * V::kLanes);
        }
      });
    });
  }

  void Span(int64_t base, int64_t have, int64_t token_begin, int64_t row, int64_t rows) {
    this->ForPages(base, have, [&](int64_t page, int64_t first, int64_t count) {
      (this->*score)(page, first, count, this->FirstRow(token_begin, base + first), rows);
    });
    this->WeighRows(token_begin, row, rows, base, [&](int64_t begin, int64_t end, int64_t n) {
      this->ForPages(base, n,
                     [&](int64_t page, int64_t first, int64_t count) { (this->*sum)(page, first, count, begin, end); });
    });
  }
};

// Tokens [token_begin, token_end), at most layout.tokens.
template <class Attender>
inline void AttendTokens(Attender& a, int64_t token_begin, int64_t token_end) {
  const AttentionOp& op = a.op;
  const int64_t rows = (token_end - token_begin) * a.group;
  for (int64_t row = 0; row < rows; ++row) {
    a.max[row] = -__builtin_inff();
    a.total[row] = 0;
    a.BeginRow(token_begin, row);
  }
  memset(a.sums, 0, static_cast<size_t>(rows * a.layout.padded_dim) * sizeof(float));
  const int64_t positions = op.first_position + token_end;
  for (int64_t base = 0; base < positions; base += a.layout.span) {
    const int64_t have = Smaller(a.layout.span, positions - base);
    a.Span(base, have, token_begin, a.FirstRow(token_begin, base), rows);
  }
  for (int64_t row = 0; row < rows; ++row) {
    a.EndRow(row);
    float* out =
        op.out + (token_begin + row / a.group) * op.out_stride + (a.kv_head * a.group + row % a.group) * op.head_dim;
    const float inverse = 1.0f / a.total[row];
    for (int64_t d = 0; d < op.head_dim; ++d) out[d] = a.sums[row * a.layout.padded_dim + d] * inverse;
  }
}

template <class Attender>
inline void AttendHeads(const AttentionOp& op, int kv_head_begin, int kv_head_end, int64_t token_begin,
                        int64_t token_end, void* scratch) {
  for (int head = kv_head_begin; head < kv_head_end; ++head) {
    Attender attender(op, head, static_cast<float*>(scratch));
    for (int64_t t = token_begin; t < token_end; t += attender.layout.tokens) {
      AttendTokens(attender, t, Smaller(token_end, t + attender.layout.tokens));
    }
  }
}

template <class V>
inline void AttendKv(const AttentionOp& op, int kv_head_begin, int kv_head_end, int64_t token_begin, int64_t token_end,
                     void* scratch) {
  const auto attend = op.phase == Phase::kDecode ? AttendHeads<DecodeAttender<V>> : AttendHeads<PromptAttender<V>>;
  attend(op, kv_head_begin, kv_head_end, token_begin, token_end, scratch);
}

template <class V>
inline size_t AttentionScratch(int heads_per_kv, int head_dim, int page_tokens) {
  return static_cast<size_t>(AttentionLayout<V>(heads_per_kv, head_dim, page_tokens).end()) * sizeof(float);
}

}  // namespace
}  // namespace inkstone
