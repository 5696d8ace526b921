// The kernels for AVX2 with FMA: bfloat16 is only how maps are stored, products are float32.
#include "includes.hpp"

YC_TARGET("avx2,fma,f16c")
namespace avx2 {
#define YC_ROWS 6
#include "simd_avx2.hpp"
#include "kernels.inl"
}  // namespace avx2
YC_TARGET_END

const Table avx2_table = {
    "avx2",
    nullptr,
    {
        {avx2::convolve<float>, avx2::convolve<bf16>},
        {avx2::convolve_winograd<float>, avx2::convolve_winograd<bf16>},
        {avx2::convolve_depthwise<float>, avx2::convolve_depthwise<bf16>},
        {avx2::pool_maximum<float>, avx2::pool_maximum<bf16>},
        {avx2::copy_enlarged<float>, avx2::copy_enlarged<bf16>},
        {avx2::add_or_copy<float>, avx2::add_or_copy<bf16>},
        {avx2::add_or_copy<float>, avx2::add_or_copy<bf16>},
        {avx2::spread_image, avx2::spread_image},
    },
    avx2::NR,
    1,
    1,
};
