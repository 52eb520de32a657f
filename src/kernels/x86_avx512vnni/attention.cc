// Prompt attention over quantized keys and values: products of 16-bit words, softmax between them in f32.
//
// Queries and the weights of the softmax are rounded to 15 bits and a sign, queries with one scale for a row, weights
// with one for a row, span and group of dimensions, after the values' own scales are multiplied in: so integer sums
// run over a group's dimensions and a span's positions. Everything that a row's numbers depend on comes from positions
// that it sees.
#include "kernels/simd/attention.h"

#include "kernels/x86_avx512vnni/avx512vnni.h"
#include "kernels/x86_avx512vnni/vec.h"

namespace inkstone {
namespace {

constexpr float kLargest = 32767.0f;  // of a rounded query or weight
constexpr int kMostPositions = 512;   // of a span: a sum of so many products of words and bytes fits into 32 bits
constexpr float kMasked = -1e30f;     // a score: 2 to it is 0, and so it is to its difference from any other

// 32 integers of a cached vector, and the factor that makes them values.
struct GroupQ8 {
  static __m256i Integers(const std::byte* vector, int64_t group) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(vector + group * kKvGroup));
  }
  static float Scale(const std::byte* vector, int64_t group, int64_t dim) {
    float scale;
    memcpy(&scale, vector + dim + group * KvQ8_0::kScaleBytes, sizeof(scale));
    return scale;
  }
};
struct GroupQ4 {
  static __m256i Integers(const std::byte* vector, int64_t group) {
    const __m128i codes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(vector + group * KvQ4_0::kHalf));
    const __m256i both = _mm256_inserti128_si256(_mm256_castsi128_si256(codes), _mm_srli_epi16(codes, 4), 1);
    const __m128i levels = _mm_loadu_si128(reinterpret_cast<const __m128i*>(kQ4Levels));
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(levels), _mm256_and_si256(both, _mm256_set1_epi8(15)));
  }
  static float Scale(const std::byte* vector, int64_t group, int64_t dim) {
    uint16_t high;
    memcpy(&high, vector + dim / 2 + group * KvQ4_0::kScaleBytes, sizeof(high));
    const uint32_t bits = uint32_t{high} << 16;
    float scale;
    memcpy(&scale, &bits, sizeof(scale));
    return scale;
  }
};

// f(GroupQ8()) or f(GroupQ4()).
template <class Body>
auto WithGroup(DType type, Body&& f) {
  return type == DType::kQ8_0 ? f(GroupQ8()) : f(GroupQ4());
}

float Larger(float a, float b) { return a > b ? a : b; }

// 2^x for x <= 0, relative error 1e-7; 0 for kMasked and below.
__m512 PowerOfTwo(__m512 x) {
  const __m512 n = _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  const __m512 r = _mm512_sub_ps(x, n);
  __m512 p = _mm512_set1_ps(0.00132647f);
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.00967151f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.05550734f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.24022242f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.69314698f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f));
  return _mm512_scalef_ps(p, n);
}

// Adds to each of 16 sums the product of a pair of words with the pair at `p`.
__m512i AddPairs(__m512i sums, const int16_t* p, __m512i words) {
  int32_t pair;
  memcpy(&pair, p, sizeof(pair));
  return _mm512_dpwssd_epi32(sums, _mm512_set1_epi32(pair), words);
}

// What the integers need beside the layout of the base, in bytes from its end.
struct WordLayout {
  using Base = AttentionLayout<Vec>;
  int64_t rows;
  int64_t groups;  // of head_dim
  int64_t wide;    // positions of a span, up to whole blocks
  int64_t begin;
  WordLayout(const Base& base, int head_dim)
      : rows(base.rows),
        groups(head_dim / kKvGroup),
        wide(RoundUp(base.span, Base::kBlock)),
        begin(base.end() * static_cast<int64_t>(sizeof(float))) {}

  int64_t keys() const { return RoundUp(begin, 64); }                               // (groups, 16, kBlock, 2) i16
  int64_t key_scales() const { return keys() + groups * 32 * Base::kBlock * 2; }    // (groups, kBlock) f32
  int64_t values() const { return key_scales() + groups * Base::kBlock * 4; }       // (groups, wide / 2, 32, 2) i16
  int64_t value_scales() const { return values() + groups * wide * kKvGroup * 2; }  // (groups, wide) f32
  int64_t nothing() const { return value_scales() + groups * wide * 4; }            // a vector of any type
  int64_t key_entries() const { return RoundUp(nothing() + groups * 48, 8); }       // (wide) pointers
  int64_t value_entries() const { return key_entries() + wide * 8; }                // (wide) pointers
  int64_t queries() const { return value_entries() + wide * 8; }                    // (rows, head_dim) i16
  int64_t weights() const { return queries() + rows * groups * kKvGroup * 2; }      // (rows, wide) i16
  int64_t score_factors() const { return weights() + rows * wide * 2; }             // (rows) f32
  int64_t parts() const { return score_factors() + rows * 4; }                      // (rows) f32
  int64_t sum_factors() const { return parts() + rows * 4; }                        // (rows) f32
  int64_t end() const { return sum_factors() + rows * 4; }
};

class WordAttender : public AttentionRows<Vec> {
 public:
  WordAttender(const AttentionOp& o, int head, float* scratch)
      : AttentionRows<Vec>(o, head, scratch),
        words_(layout, o.head_dim),
        load_keys_(WithGroup(o.types.k, [](auto g) { return &WordAttender::LoadKeys<decltype(g)>; })),
        load_values_(WithGroup(o.types.v, [](auto g) { return &WordAttender::LoadValues<decltype(g)>; })),
        keys_(At<int16_t>(words_.keys())),
        key_scales_(At<float>(words_.key_scales())),
        values_(At<int16_t>(words_.values())),
        value_scales_(At<float>(words_.value_scales())),
        nothing_(At<std::byte>(words_.nothing())),
        key_entries_(At<const std::byte*>(words_.key_entries())),
        value_entries_(At<const std::byte*>(words_.value_entries())),
        queries_(At<int16_t>(words_.queries())),
        weights_(At<int16_t>(words_.weights())),
        score_factors_(At<float>(words_.score_factors())),
        parts_(At<float>(words_.parts())),
        sum_factors_(At<float>(words_.sum_factors())) {
    memset(nothing_, 0, static_cast<size_t>(k_bytes > v_bytes ? k_bytes : v_bytes));
  }

  void BeginRow(int64_t token_begin, int64_t row) {
    const float* q = Query(token_begin, row);
    float top = 0;
    for (int d = 0; d < op.head_dim; d += kKvGroup) top = Larger(top, KvQ8_0::LargestMagnitude<Vec>(q + d));
    const __m512 inverse = Vec::Set(top > 0 ? kLargest / top : 0.0f);
    for (int d = 0; d < op.head_dim; d += 16) {
      StoreWords(queries_ + row * op.head_dim + d, _mm512_mul_ps(Vec::Load(q + d), inverse));
    }
    max[row] = kMasked;
    score_factors_[row] = top / kLargest * op.scale * 1.44269504f;
  }

  // A span for tokens of which rows [row, rows) see something of it; `have` positions are filled.
  void Span(int64_t base, int64_t have, int64_t token_begin, int64_t row, int64_t rows) {
    const int64_t padded = RoundUp(have, kBlock);
    FindEntries(base, have, padded);
    for (int64_t from = 0; from < padded; from += kBlock) {
      (this->*load_keys_)(from);
      const int64_t first = FirstRow(token_begin, base + from);
      for (int64_t g = 0; g < words_.groups; ++g) {
        ForTokens<kTogether>(rows - first, [&](auto r, int64_t i) { ScoreRows<r>(first + i, from, g); });
      }
    }
    (this->*load_values_)(padded);
    for (int64_t r = row; r < rows; ++r) Softmax(r, Visible(token_begin, r, base), padded);
    for (int64_t g = 0; g < words_.groups; ++g) {
      int64_t seen = 0;
      float largest = 0;
      for (int64_t r = row; r < rows; ++r) {
        const int64_t n = Visible(token_begin, r, base);
        if (n != seen) largest = LargestScale(g, seen = n);
        RoundWeights(r, g, largest, padded);
      }
      ForTokens<kTogether>(rows - row, [&](auto r, int64_t i) { SumGroup<r>(row + i, g, padded); });
    }
  }

  // Sums lie as unpacking has left them: of each 32 dimensions, the first vector holds 0-3, 8-11, 16-19 and 24-27.
  void EndRow(int64_t row) {
    const __m512i first = _mm512_setr_epi32(0, 1, 2, 3, 16, 17, 18, 19, 4, 5, 6, 7, 20, 21, 22, 23);
    const __m512i second = _mm512_setr_epi32(8, 9, 10, 11, 24, 25, 26, 27, 12, 13, 14, 15, 28, 29, 30, 31);
    for (int64_t d = 0; d < op.head_dim; d += kKvGroup) {
      float* s = sums + row * layout.padded_dim + d;
      const __m512 a = Vec::Load(s), b = Vec::Load(s + 16);
      Vec::Store(s, _mm512_permutex2var_ps(a, first, b));
      Vec::Store(s + 16, _mm512_permutex2var_ps(a, second, b));
    }
  }

 private:
  static constexpr int64_t kBlock = AttentionLayout<Vec>::kBlock;
  static constexpr int kTogether = 8;  // rows that share a load
  static constexpr int kPairs = 8;     // of positions that a loop takes at once

  template <class T>
  T* At(int64_t offset) const {
    return reinterpret_cast<T*>(reinterpret_cast<std::byte*>(keys) + offset);
  }

  static void StoreWords(int16_t* out, __m512 v) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), _mm512_cvtsepi32_epi16(_mm512_cvtps_epi32(v)));
  }

  // Where the vectors of a span's positions are, and for those from `have` to `padded` zeros.
  void FindEntries(int64_t base, int64_t have, int64_t padded) {
    ForPages(base, have, [&](int64_t page, int64_t first, int64_t count) {
      const std::byte* k = Entries(op.k_pages[page], k_bytes);
      const std::byte* v = Entries(op.v_pages[page], v_bytes);
      for (int64_t i = 0; i < count; ++i, k += k_bytes, v += v_bytes) {
        key_entries_[first + i] = k;
        value_entries_[first + i] = v;
      }
    });
    for (int64_t i = have; i < padded; ++i) key_entries_[i] = value_entries_[i] = nothing_;
  }

  // Keys of kBlock positions: lanes are positions, each with a pair of dimensions.
  template <class Group>
  void LoadKeys(int64_t from) {
    for (int half = 0; half < 2; ++half) {
      const std::byte* const* entry = key_entries_ + from + half * 16;
      for (int64_t g = 0; g < words_.groups; ++g) {
        __m512 v[16];
        float* scales = key_scales_ + g * kBlock + half * 16;
        for (int i = 0; i < 16; ++i) {
          v[i] = _mm512_castsi512_ps(_mm512_cvtepi8_epi16(Group::Integers(entry[i], g)));
          scales[i] = Group::Scale(entry[i], g, op.head_dim);
        }
        Vec::Transpose(v);
        float* out = reinterpret_cast<float*>(keys_) + (g * 16 * kBlock + half * 16);
        for (int i = 0; i < 16; ++i) Vec::Store(out + i * kBlock, v[i]);
      }
    }
  }

  // Values of a span's first `count` positions: lanes are dimensions, each with a pair of positions.
  template <class Group>
  void LoadValues(int64_t count) {
    const int64_t wide = words_.wide;
    for (int64_t p = 0; p < count; p += 2) {
      const std::byte *even = value_entries_[p], *odd = value_entries_[p + 1];
      for (int64_t g = 0; g < words_.groups; ++g) {
        const __m512i a = _mm512_cvtepi8_epi16(Group::Integers(even, g));
        const __m512i b = _mm512_cvtepi8_epi16(Group::Integers(odd, g));
        int16_t* out = values_ + (g * wide + p) * kKvGroup;
        _mm512_storeu_si512(out, _mm512_unpacklo_epi16(a, b));
        _mm512_storeu_si512(out + 32, _mm512_unpackhi_epi16(a, b));
        value_scales_[g * wide + p] = Group::Scale(even, g, op.head_dim);
        value_scales_[g * wide + p + 1] = Group::Scale(odd, g, op.head_dim);
      }
    }
  }

  // The largest magnitude of a group's first n scales of values.
  float LargestScale(int64_t g, int64_t n) const {
    const float* scales = value_scales_ + g * words_.wide;
    __m512 top = Vec::Zero();
    for (int64_t i = 0; i < n; i += 16) {
      const __m512 v = n - i < 16 ? Vec::LoadPart(scales + i, static_cast<int>(n - i)) : Vec::Load(scales + i);
      top = _mm512_max_ps(top, _mm512_abs_ps(v));
    }
    return Vec::MaxLane(top);
  }

  // A group's part of the scores of R rows with the kBlock positions in `keys_`, in units of the row's factor, to the
  // span's from `from` on: the first group's begins them.
  template <int R>
  void ScoreRows(int64_t row, int64_t from, int64_t g) {
    const int16_t* k = keys_ + g * kKvGroup * kBlock;
    const int16_t* q = queries_ + row * op.head_dim + g * kKvGroup;
    const int64_t dim = op.head_dim;
    __m512i acc[R][2];
    Unroll<R>([&](auto r) { acc[r][0] = acc[r][1] = _mm512_setzero_si512(); });
#pragma GCC unroll 16
    for (int i = 0; i < kKvGroup / 2; ++i) {
      const __m512i k0 = _mm512_loadu_si512(k + i * kBlock * 2);
      const __m512i k1 = _mm512_loadu_si512(k + i * kBlock * 2 + 32);
      Unroll<R>([&](auto r) {
        acc[r][0] = AddPairs(acc[r][0], q + r * dim + i * 2, k0);
        acc[r][1] = AddPairs(acc[r][1], q + r * dim + i * 2, k1);
      });
    }
    float* out = scores + row * layout.padded_span + from;
    Unroll<2>([&](auto half) {
      const __m512 scale = Vec::Load(key_scales_ + g * kBlock + half * 16);
      Unroll<R>([&](auto r) {
        float* s = out + r * layout.padded_span + half * 16;
        const __m512 before = g == 0 ? Vec::Zero() : Vec::Load(s);
        Vec::Store(s, _mm512_fmadd_ps(_mm512_cvtepi32_ps(acc[r][half]), scale, before));
      });
    });
  }

  // Turns a row's scores into weights relative to the span's maximum, from n to `padded` 0, and notes what these and
  // the sums so far count.
  void Softmax(int64_t row, int64_t n, int64_t padded) {
    float* s = scores + row * layout.padded_span;
    const __m512 factor = Vec::Set(score_factors_[row]);
    __m512 top = Vec::Set(kMasked);
    for (int64_t i = 0; i < n; i += 16) {
      __m512 v = _mm512_mul_ps(Vec::Load(s + i), factor);
      if (n - i < 16) v = Vec::Select(v, Vec::Set(kMasked), static_cast<int>(n - i));
      Vec::Store(s + i, v);
      top = _mm512_max_ps(top, v);
    }
    const float here = Vec::MaxLane(top), before = max[row];
    __m512 sum = Vec::Zero();
    for (int64_t i = 0; i < n; i += 16) {
      const __m512 e = PowerOfTwo(_mm512_sub_ps(Vec::Load(s + i), Vec::Set(here)));
      Vec::Store(s + i, e);
      sum = _mm512_add_ps(sum, e);
    }
    for (int64_t i = RoundUp(n, 16); i < padded; i += 16) Vec::Store(s + i, Vec::Zero());
    const float less = _mm512_cvtss_f32(PowerOfTwo(Vec::Set(-__builtin_fabsf(here - before))));
    parts_[row] = here < before ? less : 1.0f;
    if (here > before) Shrink(row, Vec::Set(less));
    total[row] += parts_[row] * Vec::Sum(sum);
    max[row] = Larger(here, before);
  }

  // Weights times the scales of a group's values, of which the row sees one as large as `largest`, as words.
  void RoundWeights(int64_t row, int64_t g, float largest, int64_t padded) {
    const float* scale = value_scales_ + g * words_.wide;
    const float* s = scores + row * layout.padded_span;
    int16_t* out = weights_ + row * words_.wide;
    const __m512 factor = Vec::Set(largest > 0 ? kLargest / largest : 0.0f);
    for (int64_t i = 0; i < padded; i += 16) {
      const __m512 weight = _mm512_mul_ps(Vec::Load(s + i), factor);
      StoreWords(out + i, _mm512_mul_ps(weight, Vec::Load(scale + i)));
    }
    sum_factors_[row] = parts_[row] * (largest / kLargest);
  }

  // Adds a group's weighted values of n positions, a multiple of 2 kPairs, to R rows' sums.
  template <int R>
  void SumGroup(int64_t row, int64_t g, int64_t n) {
    __m512i acc[R][2];
    Unroll<R>([&](auto r) { acc[r][0] = acc[r][1] = _mm512_setzero_si512(); });
    const int16_t* v = values_ + g * words_.wide * kKvGroup;
    const int64_t wide = words_.wide;
    const int16_t* weight = weights_ + row * wide;
    const int16_t* const end = weight + n;
    for (; weight != end; weight += 2 * kPairs, v += 64 * kPairs) {
#pragma GCC unroll 8
      for (int p = 0; p < kPairs; ++p) {
        const __m512i v0 = _mm512_loadu_si512(v + p * 64);
        const __m512i v1 = _mm512_loadu_si512(v + p * 64 + 32);
        Unroll<R>([&](auto r) {
          acc[r][0] = AddPairs(acc[r][0], weight + r * wide + p * 2, v0);
          acc[r][1] = AddPairs(acc[r][1], weight + r * wide + p * 2, v1);
        });
      }
    }
    float* sum = sums + row * layout.padded_dim + g * kKvGroup;
    Unroll<R>([&](auto r) {
      const __m512 factor = Vec::Set(sum_factors_[row + r]);
      Unroll<2>([&](auto half) {
        float* s = sum + r * layout.padded_dim + half * 16;
        Vec::Store(s, _mm512_fmadd_ps(_mm512_cvtepi32_ps(acc[r][half]), factor, Vec::Load(s)));
      });
    });
  }

  const WordLayout words_;
  void (WordAttender::*const load_keys_)(int64_t from);
  void (WordAttender::*const load_values_)(int64_t count);
  int16_t* const keys_;
  float* const key_scales_;
  int16_t* const values_;
  float* const value_scales_;
  std::byte* const nothing_;  // zeros: what lies at positions beyond the last
  const std::byte** const key_entries_;
  const std::byte** const value_entries_;
  int16_t* const queries_;
  int16_t* const weights_;  // of the group that is summed
  float* const score_factors_;
  float* const parts_;  // by which the span's weights count less than those before it
  float* const sum_factors_;
};

bool UsesWords(const AttentionOp& op) {
  return op.phase == Phase::kPrompt && !op.exact && op.page_tokens <= kMostPositions && !IsFloat(op.types.k) &&
         !IsFloat(op.types.v);
}

}  // namespace

namespace avx512vnni {

size_t AttentionScratchBytes(int heads_per_kv, int head_dim, int page_tokens) {
  const WordLayout::Base base(heads_per_kv, head_dim, page_tokens);
  return static_cast<size_t>(WordLayout(base, static_cast<int>(RoundUp(head_dim, kKvGroup))).end());
}
void Attention(const AttentionOp& op, int kv_head_begin, int kv_head_end, int64_t token_begin, int64_t token_end,
               void* scratch) {
  if (!UsesWords(op)) return AttendKv<Vec>(op, kv_head_begin, kv_head_end, token_begin, token_end, scratch);
  AttendHeads<WordAttender>(op, kv_head_begin, kv_head_end, token_begin, token_end, scratch);
}

}  // namespace avx512vnni
}  // namespace inkstone
