// Batch norm with its activation for AVX-512 with instructions for bfloat16.
#include <atomic>

#include "includes.hpp"
#include "train.hpp"

YC_TARGET("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,fma,avx2")
namespace norm_avx512_bf16 {
#define YC_HAS_BF16
#include "simd_avx512.hpp"
#include "activations.inl"
using Number = float;
inline Vec exponential(Vec x) { return exp_exact(x); }
// a where x < limit, else b.
inline Vec less(Vec x, Vec limit, Vec a, Vec b) {
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(x, limit, _CMP_LT_OQ), b, a);
}
#include "norm.inl"
}  // namespace norm_avx512_bf16
YC_TARGET_END

const NormTable norm_avx512_bf16_table = {
    {norm_avx512_bf16::norm_forward<float>, norm_avx512_bf16::norm_forward<bf16>},
    {norm_avx512_bf16::norm_backward<float>, norm_avx512_bf16::norm_backward<bf16>},
};
