#include "kernels/simd/matmul_common.h"
#include "kernels/x86_amx/amx.h"
#include "kernels/x86_amx/tiling.h"

namespace inkstone {
namespace {

int64_t Tiles(int64_t rounds) {
  using namespace amx;
  const TileRegisters registers;
  ZeroSquare();
  ZeroTile<4>();
  ZeroTile<6>();
  for (int64_t i = 0; i < rounds; ++i) Unroll<4>([](auto c) { MultiplyBf16<c, 4, 6>(); });
  return rounds * 4 * kTile * kTile * kStep * 2;
}

}  // namespace

MultiplyLoop amx::MultiplyOnly(ActivationFormat) { return {"tdpbf16ps", Tiles}; }

}  // namespace inkstone
