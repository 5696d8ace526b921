// The kernels for AVX-512: bfloat16 is only how maps are stored, products are float32.
#include "includes.hpp"

YC_TARGET("avx512f,avx512bw,avx512vl,avx512dq,fma,avx2")
namespace avx512 {
#define YC_ROWS 14
#include "simd_avx512.hpp"
#include "kernels.inl"
}  // namespace avx512
YC_TARGET_END

const Table avx512_table = {
    "avx512",
    nullptr,
    {
        {avx512::convolve<float>, avx512::convolve<bf16>},
        {avx512::convolve_winograd<float>, avx512::convolve_winograd<bf16>},
        {avx512::convolve_depthwise<float>, avx512::convolve_depthwise<bf16>},
        {avx512::pool_maximum<float>, avx512::pool_maximum<bf16>},
        {avx512::copy_enlarged<float>, avx512::copy_enlarged<bf16>},
        {avx512::add_or_copy<float>, avx512::add_or_copy<bf16>},
        {avx512::add_or_copy<float>, avx512::add_or_copy<bf16>},
        {avx512::spread_image, avx512::spread_image},
    },
    avx512::NR,
    1,
    1,
};
