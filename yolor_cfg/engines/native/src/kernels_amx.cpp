// The kernels for processors with a matrix unit for bfloat16 (AMX).
#include "includes.hpp"

YC_TARGET("amx-tile,amx-bf16,avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,fma,avx2")
namespace amx {
#define YC_ROWS 14
#define YC_HAS_BF16
#define YC_HAS_AMX
#include "simd_avx512.hpp"
#include "kernels.inl"
}  // namespace amx
YC_TARGET_END

const Table amx_table = {
    "amx-bf16",
    &avx512_bf16_table,
    {
        {nullptr, amx::convolve<bf16>},
    },
    amx::NR,
    2,
    32,
};
