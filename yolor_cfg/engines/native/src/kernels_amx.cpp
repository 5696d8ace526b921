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
    {
        {amx::convolve<float>, amx::convolve<bf16>},
        {amx::convolve_winograd<float>, amx::convolve_winograd<bf16>},
        {amx::convolve_depthwise<float>, amx::convolve_depthwise<bf16>},
        {amx::pool_maximum<float>, amx::pool_maximum<bf16>},
        {amx::copy_enlarged<float>, amx::copy_enlarged<bf16>},
        {amx::add_or_copy<float>, amx::add_or_copy<bf16>},
        {amx::add_or_copy<float>, amx::add_or_copy<bf16>},
        {amx::spread_image, amx::spread_image},
    },
    amx::NR,
    2,
    32,
};
