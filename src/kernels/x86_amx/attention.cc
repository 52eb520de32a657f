// Prompt attention over a cache of any type but f32: scores and weighted values as products of bf16 tiles, softmax
// between them in f32 with a running maximum (Milakov & Gimelshein 2018; Dao et al. 2022). The score matrix never
// exists.
//
// A row is one query head of one token; the heads that share a KV head are neighbours. Rows go through blocks of kKeys
// positions that begin at multiples of kKeys, so what a row computes does not depend on where its chunk began.
#include "kernels/simd/kv_cache.h"
#include "kernels/simd/matmul_common.h"
#include "kernels/x86_amx/amx.h"
#include "kernels/x86_amx/tiling.h"
#include "kernels/x86_avx512vnni/avx512vnni.h"
#include "kernels/x86_avx512vnni/vec.h"

namespace inkstone {
namespace {

// Positions converted to bf16 together: keys, values, scores and weights of a pair of row tiles (24 KB) stay near, and
// sums travel to the tiles and back once for so many. A multiple of kPair.
constexpr int kKeys = 128;
constexpr int kKeyPairs = kKeys / kPair;
// Rows that share converted keys and values: their sums and queries (head_dim 128: 192 KB) fit in L2.
constexpr int kRows = 256;
constexpr float kMasked = -1e30f;

// How the scratch memory of a call is laid out. Tiles are 1 KB; step s sums over 32 columns.
struct Layout {
  int group;            // query heads of a KV head
  int steps;            // of head_dim
  int64_t token_count;  // tokens that are worked on together
  int64_t pairs;        // of row tiles
  Layout(int heads_per_kv, int head_dim)
      : group(heads_per_kv),
        steps(head_dim / kStep),
        token_count(heads_per_kv >= kRows ? 1 : kRows / heads_per_kv),
        pairs(Pairs(token_count * heads_per_kv)) {}

  // In bytes.
  int64_t queries() const { return 0; }                                             // (pairs, steps, 2 A tiles)
  int64_t keys() const { return queries() + pairs * steps * 2 * kTileBytes; }       // (kKeyPairs, steps, 2 B tiles)
  int64_t values() const { return keys() + kKeyPairs * steps * 2 * kTileBytes; }    // (steps, kKeyPairs, 2 B tiles)
  int64_t scores() const { return values() + kKeyPairs * steps * 2 * kTileBytes; }  // (kKeyPairs, square), f32
  int64_t weights() const { return scores() + kKeyPairs * kSquare * 4; }            // (kKeyPairs, 2 A tiles)
  int64_t sums() const { return weights() + kKeyPairs * 2 * kTileBytes; }           // (pairs, steps, square), f32
  int64_t totals() const { return sums() + pairs * steps * kSquare * 4; }           // (rows, 16 lanes), f32
  int64_t maxima() const { return totals() + pairs * kPair * 64; }                  // (rows), f32
  int64_t end() const { return maxima() + pairs * kPair * 4; }
};

// 32 elements of a cached vector from `step` * 32 on. E as in simd/kv_cache.h.
template <class E>
__m512i LoadBf16(const std::byte* vector, int step, int head_dim) {
  return ToBf16(LoadKv<Vec, E>(vector, int64_t{step} * kStep, head_dim),
                LoadKv<Vec, E>(vector, int64_t{step} * kStep + 16, head_dim));
}

// 2^x for x <= 0, relative error 1e-4, which is below that of the bf16 weights; 0 for kMasked.
__m512 PowerOfTwo(__m512 x) {
  const __m512 n = _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  const __m512 r = _mm512_sub_ps(x, n);
  __m512 p = _mm512_set1_ps(0.05550411f);
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.24022651f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.69314718f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f));
  return _mm512_scalef_ps(p, n);
}

class Attender {
 public:
  Attender(const AttentionOp& op, int kv_head, std::byte* scratch)
      : op_(op),
        layout_(op.heads / op.kv_heads, op.head_dim),
        kv_head_(kv_head),
        k_bytes_(WithKvType(op.types.k, [&](auto e) { return e.Bytes(op.head_dim); })),
        v_bytes_(WithKvType(op.types.v, [&](auto e) { return e.Bytes(op.head_dim); })),
        load_keys_(WithKvType(op.types.k, [](auto e) { return &Attender::LoadKeys<decltype(e)>; })),
        load_values_(WithKvType(op.types.v, [](auto e) { return &Attender::LoadValues<decltype(e)>; })),
        queries_(scratch + layout_.queries()),
        keys_(scratch + layout_.keys()),
        values_(scratch + layout_.values()),
        weights_(scratch + layout_.weights()),
        scores_(reinterpret_cast<float*>(scratch + layout_.scores())),
        sums_(reinterpret_cast<float*>(scratch + layout_.sums())),
        totals_(reinterpret_cast<float*>(scratch + layout_.totals())),
        maxima_(reinterpret_cast<float*>(scratch + layout_.maxima())),
        log2_scale_(op.scale * 1.44269504f) {}

  int64_t token_count() const { return layout_.token_count; }

  // Tokens [begin, end), at most token_count().
  void Attend(int64_t begin, int64_t end) {
    begin_ = begin;
    rows_ = (end - begin) * layout_.group;
    const int64_t pairs = Pairs(rows_);
    Begin(pairs);
    const int64_t positions = op_.first_position + end;
    for (int64_t base = 0; base < positions; base += kKeys) {
      (this->*load_keys_)(base, positions);
      (this->*load_values_)(base, positions);
      for (int64_t pair = 0; pair < pairs; ++pair) {
        // The pair's last row sees the most; a block that it does not see changes nothing.
        if (Visible(pair * kPair + kPair - 1, base) > 0) Block(pair, base);
      }
    }
    for (int64_t row = 0; row < rows_; ++row) Write(row);
  }

 private:
  // Positions from `base` on that a row sees; rows beyond the last see what it sees.
  int64_t Visible(int64_t row, int64_t base) const {
    return op_.first_position + begin_ + Smaller(row, rows_ - 1) / layout_.group + 1 - base;
  }
  float* Total(int64_t row) const { return totals_ + row * 16; }
  int64_t HeadOffset(int64_t row) const { return (kv_head_ * layout_.group + row % layout_.group) * op_.head_dim; }

  void Begin(int64_t pairs) {
    memset(sums_, 0, static_cast<size_t>(pairs * layout_.steps * kSquare) * sizeof(float));
    memset(totals_, 0, static_cast<size_t>(pairs * kPair * 16) * sizeof(float));
    for (int64_t row = 0; row < pairs * kPair; ++row) {
      maxima_[row] = kMasked;
      const float* q = op_.q + (begin_ + row / layout_.group) * op_.q_stride + HeadOffset(row);
      for (int s = 0; s < layout_.steps; ++s) {
        std::byte* out = queries_ + ((row / kPair * layout_.steps + s) * 2 + row / kTile % 2) * kTileBytes;
        const __m512i v = row < rows_ ? ToBf16(_mm512_loadu_ps(q + s * kStep), _mm512_loadu_ps(q + s * kStep + 16))
                                      : _mm512_setzero_si512();
        _mm512_store_si512(out + row % kTile * 64, v);
      }
    }
  }

  // The entry of a position, or null beyond the last.
  const std::byte* Entry(const std::byte* const* pages, int64_t bytes, int64_t position, int64_t positions) const {
    if (position >= positions) return nullptr;
    const int64_t slot = kv_head_ * static_cast<int64_t>(op_.page_tokens) + position % op_.page_tokens;
    return pages[position / op_.page_tokens] + slot * bytes;
  }

  // Keys as B tiles: columns are positions, rows pairs of dimensions.
  template <class E>
  void LoadKeys(int64_t base, int64_t positions) const {
    for (int64_t first = 0; first < kKeys; first += kTile) {
      const std::byte* entry[kTile];
      for (int i = 0; i < kTile; ++i) entry[i] = Entry(op_.k_pages, k_bytes_, base + first + i, positions);
      for (int s = 0; s < layout_.steps; ++s) {
        __m512 v[kTile];
        for (int i = 0; i < kTile; ++i) {
          v[i] = entry[i] != nullptr ? _mm512_castsi512_ps(LoadBf16<E>(entry[i], s, op_.head_dim)) : Vec::Zero();
        }
        Vec::Transpose(v);
        std::byte* out = keys_ + ((first / kPair * layout_.steps + s) * 2 + first / kTile % 2) * kTileBytes;
        for (int i = 0; i < kTile; ++i) _mm512_store_ps(out + i * 64, v[i]);
      }
    }
  }

  // Values as B tiles: rows are pairs of positions, columns dimensions, in the order in which unpacking interleaves
  // them: of each 32, the first tile holds 0-3, 8-11, 16-19, 24-27 and the second the others.
  template <class E>
  void LoadValues(int64_t base, int64_t positions) const {
    for (int64_t first = 0; first < kKeys; first += 2) {
      const std::byte* even = Entry(op_.v_pages, v_bytes_, base + first, positions);
      const std::byte* odd = Entry(op_.v_pages, v_bytes_, base + first + 1, positions);
      for (int s = 0; s < layout_.steps; ++s) {
        const __m512i a = even != nullptr ? LoadBf16<E>(even, s, op_.head_dim) : _mm512_setzero_si512();
        const __m512i b = odd != nullptr ? LoadBf16<E>(odd, s, op_.head_dim) : _mm512_setzero_si512();
        std::byte* out = values_ + (s * kKeyPairs + first / kPair) * 2 * kTileBytes + first / 2 % kTile * 64;
        _mm512_store_si512(out, _mm512_unpacklo_epi16(a, b));
        _mm512_store_si512(out + kTileBytes, _mm512_unpackhi_epi16(a, b));
      }
    }
  }

  // Where the score of (row of a pair, 16 positions) lies.
  float* Score(int row, int positions) const {
    return scores_ + positions / 2 * kSquare + (row / kTile * 2 + positions % 2) * 256 + row % kTile * 16;
  }

  void Block(int64_t pair, int64_t base) const {
    const std::byte* q = queries_ + pair * layout_.steps * 2 * kTileBytes;
    for (int k = 0; k < kKeyPairs; ++k) {
      ZeroSquare();
      const std::byte* keys = keys_ + k * layout_.steps * 2 * kTileBytes;
      for (int s = 0; s < layout_.steps; ++s) MultiplySquare(q + s * 2 * kTileBytes, keys + s * 2 * kTileBytes);
      StoreSquare(scores_ + k * kSquare);
    }
    float shrink[kPair];
    bool same = true;
    for (int r = 0; r < kPair; ++r) {
      const int64_t visible = Visible(pair * kPair + r, base);
      if (visible < kKeys) Mask(r, visible);
      shrink[r] = Softmax(pair * kPair + r, r);
      same &= shrink[r] == 1.0f;
    }
    for (int s = 0; s < layout_.steps; ++s) {
      float* sums = sums_ + (pair * layout_.steps + s) * kSquare;
      if (!same) Shrink(sums, shrink);
      LoadSquare(sums);
      const std::byte* values = values_ + s * kKeyPairs * 2 * kTileBytes;
      for (int k = 0; k < kKeyPairs; ++k) MultiplySquare(weights_ + k * 2 * kTileBytes, values + k * 2 * kTileBytes);
      StoreSquare(sums);
    }
  }

  void Mask(int row, int64_t visible) const {
    for (int i = 0; i < kKeys / 16; ++i) {
      const int64_t left = visible - i * 16;
      if (left >= 16) continue;
      const auto hidden = static_cast<__mmask16>(left <= 0 ? 0xffff : 0xffff << left);
      float* s = Score(row, i);
      _mm512_store_ps(s, _mm512_mask_mov_ps(_mm512_load_ps(s), hidden, _mm512_set1_ps(kMasked)));
    }
  }

  // Turns scores of row `r` of a pair into weights relative to the new maximum of `row`; gives what the sums so far
  // shrink by.
  float Softmax(int64_t row, int r) const {
    __m512 s[kKeys / 16];
    __m512 top = _mm512_set1_ps(kMasked);
    Unroll<kKeys / 16>([&](auto i) {
      s[i] = _mm512_load_ps(Score(r, i));
      top = _mm512_max_ps(top, s[i]);
    });
    const float old_max = maxima_[row];
    const float new_max =
        Vec::MaxLane(_mm512_max_ps(_mm512_set1_ps(old_max), _mm512_mul_ps(top, _mm512_set1_ps(log2_scale_))));
    const float shrink = new_max == old_max ? 1.0f : _mm512_cvtss_f32(PowerOfTwo(_mm512_set1_ps(old_max - new_max)));
    maxima_[row] = new_max;
    const __m512 scale = _mm512_set1_ps(log2_scale_), minus_max = _mm512_set1_ps(-new_max);
    __m512 total = _mm512_mul_ps(_mm512_load_ps(Total(row)), _mm512_set1_ps(shrink));
    std::byte* out = weights_ + r / kTile * kTileBytes + r % kTile * 64;
    Unroll<kKeyPairs>([&](auto k) {
      const __m512 low = PowerOfTwo(_mm512_fmadd_ps(s[2 * k], scale, minus_max));
      const __m512 high = PowerOfTwo(_mm512_fmadd_ps(s[2 * k + 1], scale, minus_max));
      total = _mm512_add_ps(total, _mm512_add_ps(low, high));
      _mm512_store_si512(out + k * 2 * kTileBytes, ToBf16(low, high));
    });
    _mm512_store_ps(Total(row), total);
    return shrink;
  }

  static void Shrink(float* sums, const float (&shrink)[kPair]) {
    for (int r = 0; r < kPair; ++r) {
      const __m512 factor = _mm512_set1_ps(shrink[r]);
      for (int half = 0; half < 2; ++half) {
        float* s = sums + (r / kTile * 2 + half) * 256 + r % kTile * 16;
        _mm512_store_ps(s, _mm512_mul_ps(_mm512_load_ps(s), factor));
      }
    }
  }

  void Write(int64_t row) const {
    const __m512i first = _mm512_setr_epi32(0, 1, 2, 3, 16, 17, 18, 19, 4, 5, 6, 7, 20, 21, 22, 23);
    const __m512i second = _mm512_setr_epi32(8, 9, 10, 11, 24, 25, 26, 27, 12, 13, 14, 15, 28, 29, 30, 31);
    const __m512 inverse = _mm512_set1_ps(1.0f / Vec::Sum(_mm512_load_ps(Total(row))));
    float* out = op_.out + (begin_ + row / layout_.group) * op_.out_stride + HeadOffset(row);
    for (int s = 0; s < layout_.steps; ++s) {
      const float* sums =
          sums_ + (row / kPair * layout_.steps + s) * kSquare + row / kTile % 2 * 512 + row % kTile * 16;
      const __m512 a = _mm512_mul_ps(_mm512_load_ps(sums), inverse);
      const __m512 b = _mm512_mul_ps(_mm512_load_ps(sums + 256), inverse);
      _mm512_storeu_ps(out + s * kStep, _mm512_permutex2var_ps(a, first, b));
      _mm512_storeu_ps(out + s * kStep + 16, _mm512_permutex2var_ps(a, second, b));
    }
  }

  const AttentionOp& op_;
  Layout layout_;
  int kv_head_;
  int64_t k_bytes_;  // of one vector
  int64_t v_bytes_;
  void (Attender::*load_keys_)(int64_t base, int64_t positions) const;
  void (Attender::*load_values_)(int64_t base, int64_t positions) const;
  std::byte* queries_;
  std::byte* keys_;
  std::byte* values_;
  std::byte* weights_;
  float* scores_;
  float* sums_;
  float* totals_;
  float* maxima_;
  float log2_scale_;
  int64_t begin_ = 0;
  int64_t rows_ = 0;
};

bool UsesTiles(const AttentionOp& op) {
  return op.phase == Phase::kPrompt && !op.exact && op.types.k != DType::kF32 && op.types.v != DType::kF32 &&
         op.head_dim % kStep == 0;
}

void AttendHeads(const AttentionOp& op, int kv_head_begin, int kv_head_end, int64_t token_begin, int64_t token_end,
                 std::byte* scratch) {
  const TileRegisters registers;
  for (int head = kv_head_begin; head < kv_head_end; ++head) {
    Attender attender(op, head, scratch);
    for (int64_t t = token_begin; t < token_end; t += attender.token_count()) {
      attender.Attend(t, Smaller(token_end, t + attender.token_count()));
    }
  }
}

}  // namespace

namespace amx {

size_t AttentionScratchBytes(int heads_per_kv, int head_dim, int page_tokens) {
  const auto tiles = static_cast<size_t>(Layout(heads_per_kv, head_dim).end());
  const size_t vectors = avx512vnni::AttentionScratchBytes(heads_per_kv, head_dim, page_tokens);
  return tiles > vectors ? tiles : vectors;
}

void Attention(const AttentionOp& op, int kv_head_begin, int kv_head_end, int64_t token_begin, int64_t token_end,
               void* scratch) {
  if (!UsesTiles(op)) return avx512vnni::Attention(op, kv_head_begin, kv_head_end, token_begin, token_end, scratch);
  AttendHeads(op, kv_head_begin, kv_head_end, token_begin, token_end, static_cast<std::byte*>(scratch));
}

}  // namespace amx
}  // namespace inkstone
