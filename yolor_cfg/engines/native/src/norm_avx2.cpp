// Batch norm with its activation for AVX2 and FMA.
#include <atomic>

#include "includes.hpp"
#include "train.hpp"

YC_TARGET("avx2,fma,f16c")
namespace norm_avx2 {
#include "simd_avx2.hpp"
#include "activations.inl"
using Number = float;
inline Vec exponential(Vec x) { return exp_exact(x); }
// a where x < limit, else b.
inline Vec less(Vec x, Vec limit, Vec a, Vec b) {
    return _mm256_blendv_ps(b, a, _mm256_cmp_ps(x, limit, _CMP_LT_OQ));
}
#include "norm.inl"
}  // namespace norm_avx2
YC_TARGET_END

const NormTable norm_avx2_table = {
    {norm_avx2::norm_forward<float>, norm_avx2::norm_forward<bf16>},
    {norm_avx2::norm_backward<float>, norm_avx2::norm_backward<bf16>},
};
