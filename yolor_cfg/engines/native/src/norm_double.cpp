// The same arithmetic on single numbers in double: what gradients are checked with.
#include <algorithm>
#include <atomic>
#include <cmath>

#include "train.hpp"

namespace norm_double {
using Vec = double;
using Number = double;
constexpr int LANES = 1;

inline Vec set1(double x) { return x; }
inline Vec zero() { return 0; }
inline Vec add(Vec a, Vec b) { return a + b; }
inline Vec sub(Vec a, Vec b) { return a - b; }
inline Vec mul(Vec a, Vec b) { return a * b; }
inline Vec div(Vec a, Vec b) { return a / b; }
inline Vec fma(Vec a, Vec b, Vec c) { return a * b + c; }
inline Vec min(Vec a, Vec b) { return a < b ? a : b; }
inline Vec exponential(Vec x) { return std::exp(x); }
inline Vec less(Vec x, Vec limit, Vec a, Vec b) { return x < limit ? a : b; }
inline Vec load(const double* p) { return *p; }
inline void store(double* p, Vec x) { *p = x; }
inline Vec load_part(const double* p, int) { return *p; }
inline void store_part(double* p, Vec x, int) { *p = x; }
#include "norm.inl"
}  // namespace norm_double

const NormKernel norm_double_forward = norm_double::norm_forward<double>;
const NormKernel norm_double_backward = norm_double::norm_backward<double>;
