// The kernels for AVX-512 with products of pairs of bfloat16.
#include "includes.hpp"

YC_TARGET("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,fma,avx2")
namespace avx512_bf16 {
#define YC_ROWS 14
#define YC_HAS_BF16
#include "simd_avx512.hpp"
#include "kernels.inl"
}  // namespace avx512_bf16
YC_TARGET_END

const Table avx512_bf16_table = {
    "avx512-bf16",
    &avx512_table,
    {
        {nullptr, avx512_bf16::convolve<bf16>},
        {nullptr, avx512_bf16::convolve_winograd<bf16>},
        {nullptr, avx512_bf16::convolve_depthwise<bf16>},
        {nullptr, avx512_bf16::pool_maximum<bf16>},
        {nullptr, avx512_bf16::copy_enlarged<bf16>},
        {nullptr, avx512_bf16::add_or_copy<bf16>},
        {nullptr, avx512_bf16::add_or_copy<bf16>},
        {nullptr, avx512_bf16::spread_image},
    },
    avx512_bf16::NR,
    2,
    2,
};
