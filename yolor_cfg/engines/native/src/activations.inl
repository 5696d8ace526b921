// Activations of a vector. FAST ones are right to about 1e-4 and serve results that are stored as bfloat16;
// the others are right to a few units in the last place of a float.

// e^x by e^r 2^n with |r| <= ln 2 / 2; ln 2 is split so that n ln 2 is exact (Cephes' expf).
inline Vec exp_exact(Vec x) {
    x = min(max(x, set1(-87.f)), set1(88.f));
    const Vec n = nearest(mul(x, set1(1.44269504f)));
    Vec r = fma(n, set1(-0.693359375f), x);
    r = fma(n, set1(2.12194440e-4f), r);
    Vec p = fma(set1(1.9875691500e-4f), r, set1(1.3981999507e-3f));
    p = fma(p, r, set1(8.3334519073e-3f));
    p = fma(p, r, set1(4.1665795894e-2f));
    p = fma(p, r, set1(1.6666665459e-1f));
    p = fma(p, r, set1(5.0000001201e-1f));
    p = fma(p, mul(r, r), add(r, set1(1.f)));
    return times_power_of_2(p, n);
}

// e^x by a polynomial of degree 3 for the fraction of x / ln 2.
inline Vec exp_fast(Vec x) {
    x = min(max(mul(x, set1(1.44269504f)), set1(-126.f)), set1(126.f));
    const Vec n = nearest(x);
    const Vec r = sub(x, n);
    Vec p = fma(set1(0.0555041f), r, set1(0.2402265f));
    p = fma(p, r, set1(0.6931472f));
    p = fma(p, r, set1(1.f));
    return times_power_of_2(p, n);
}

template <bool FAST>
inline Vec exp_of(Vec x) {
    return FAST ? exp_fast(x) : exp_exact(x);
}

template <bool FAST>
inline Vec over(Vec a, Vec b) {
    return FAST ? mul(a, about_1_over(b)) : div(a, b);
}

template <bool FAST>
inline Vec apply(int activation, Vec x) {
    switch (activation) {
        case RELU:
            return max(x, zero());
        case LEAKY:
            return max(x, mul(x, set1(.1f)));
        case SILU:
            return over<FAST>(x, add(set1(1.f), exp_of<FAST>(sub(zero(), x))));
        case MISH: {  // x tanh(ln(1 + e^x)) = x n / (n + 2) with n = e^x (e^x + 2); above 20 it is x
            const Vec e = exp_of<FAST>(min(x, set1(20.f)));
            const Vec n = mul(e, add(e, set1(2.f)));
            return mul(x, over<FAST>(n, add(n, set1(2.f))));
        }
        case LOGISTIC:
            return over<FAST>(set1(1.f), add(set1(1.f), exp_of<FAST>(sub(zero(), x))));
        case RELU6:
            return min(max(x, zero()), set1(6.f));
        case HARD_SWISH:
            return mul(mul(x, set1(1.f / 6)), min(max(add(x, set1(3.f)), zero()), set1(6.f)));
        default:
            return x;
    }
}
