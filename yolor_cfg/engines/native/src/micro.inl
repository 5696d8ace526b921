// The tile of a convolution: up to ROWS positions by NR channels, summed over all taps and input channels.
// NR is two vectors. The sums go to `sums` [ROWS][NR] as floats.
constexpr int NR = 2 * LANES;

// Where the taps of a tile's first position lie, and the distance to the next position, in elements. In float32
// about `stretch` products are summed before they are added to the others, which keeps long sums exact. A tap has
// `channels` numbers; those up to the depth of the weights may be infinite or NaN, so that zero weights are not enough.
struct Taps {
    const int64_t* offsets;
    int count;
    int64_t step;
    int stretch;
    int channels;
};

inline Vec spread(const float* p) { return set1(*p); }
inline Vec spread(const bf16* p) {
    const uint32_t bits = static_cast<uint32_t>(p->bits) << 16;
    float x;
    std::memcpy(&x, &bits, sizeof x);
    return set1(x);
}

// Writes the sums of a position, or adds them to what is there.
inline void put(float* sums, Vec low, Vec high, bool more) {
    store(sums, more ? add(load(sums), low) : low);
    store(sums + LANES, more ? add(load(sums + LANES), high) : high);
}

// Products in float32; weights [taps][depth][NR].
template <class S, int M>
inline void sum_part(const S* in, const Taps& taps, const float* weights, int depth, float* sums, bool more) {
    Vec low[M], high[M];
#pragma GCC unroll 16
    for (int i = 0; i < M; ++i) low[i] = high[i] = zero();
    for (int t = 0; t < taps.count; ++t) {
        const S* a = in + taps.offsets[t];
        for (int c = 0; c < depth; ++c, weights += NR) {
            const Vec w0 = load(weights), w1 = load(weights + LANES);
#pragma GCC unroll 16
            for (int i = 0; i < M; ++i) {
                const Vec x = spread(a + i * taps.step + c);
                low[i] = fma(x, w0, low[i]);
                high[i] = fma(x, w1, high[i]);
            }
        }
    }
#pragma GCC unroll 16
    for (int i = 0; i < M; ++i) put(sums + i * NR, low[i], high[i], more);
}

// The same in stretches: some taps at a time, or some channels of a tap.
template <class S, int M>
inline void sum_tile(const S* in, const Taps& taps, const float* weights, int depth, float* sums) {
    const int channels = depth < 2 * taps.stretch ? depth : taps.stretch;
    const int at_once = std::max(1, taps.stretch / depth);
    for (int t = 0; t < taps.count; t += at_once) {
        const Taps some{taps.offsets + t, std::min(at_once, taps.count - t), taps.step, taps.stretch,
                        taps.channels};
        const float* tap_weights = weights + static_cast<int64_t>(t) * depth * NR;
        for (int c = 0; c < depth; c += channels)
            sum_part<S, M>(in + c, some, tap_weights + c * NR, std::min(channels, depth - c), sums, t + c > 0);
    }
}

#ifdef YC_HAS_BF16
// Products of pairs in bfloat16, sums in float32; weights [taps][depth / 2][NR][2].
template <class S, int M>
inline void sum_tile(const S* in, const Taps& taps, const bf16* weights, int depth, float* sums) {
    Vec low[M], high[M];
#pragma GCC unroll 16
    for (int i = 0; i < M; ++i) low[i] = high[i] = zero();
    for (int t = 0; t < taps.count; ++t) {
        const S* a = in + taps.offsets[t];
        for (int c = 0; c + 1 < taps.channels; c += 2) {
            const __m512bh w0 = (__m512bh)_mm512_loadu_si512(weights + c * NR);
            const __m512bh w1 = (__m512bh)_mm512_loadu_si512(weights + (c + 1) * NR);
#pragma GCC unroll 16
            for (int i = 0; i < M; ++i) {
                int pair;
                std::memcpy(&pair, a + i * taps.step + c, sizeof pair);
                const __m512bh x = (__m512bh)_mm512_set1_epi32(pair);
                low[i] = _mm512_dpbf16_ps(low[i], x, w0);
                high[i] = _mm512_dpbf16_ps(high[i], x, w1);
            }
        }
        if (taps.channels % 2) {
            const int c = taps.channels - 1;
            const __m512bh w0 = (__m512bh)_mm512_loadu_si512(weights + c * NR);
            const __m512bh w1 = (__m512bh)_mm512_loadu_si512(weights + (c + 1) * NR);
#pragma GCC unroll 16
            for (int i = 0; i < M; ++i) {
                const __m512bh x = (__m512bh)_mm512_set1_epi32(a[i * taps.step + c].bits);
                low[i] = _mm512_dpbf16_ps(low[i], x, w0);
                high[i] = _mm512_dpbf16_ps(high[i], x, w1);
            }
        }
        weights += depth * NR;
    }
#pragma GCC unroll 16
    for (int i = 0; i < M; ++i) put(sums + i * NR, low[i], high[i], false);
}
#endif

// How a type of maps is multiplied: the type of its weights, the size of a tile, and the sums of one.
// `count` positions are wanted; sums of further ones may be left out.
template <class S>
struct Product {
#ifdef YC_HAS_BF16
    using Weight = S;
#else
    using Weight = float;
#endif
    static constexpr int MR = ROWS;

    static void begin(int) {}
    static void end() {}
    static void sum(const S* in, const Taps& taps, const Weight* weights, int depth, float* sums, int count) {
        switch ((count + 1) / 2) {
            case 1:
                return sum_tile<S, 2>(in, taps, weights, depth, sums);
            case 2:
                return sum_tile<S, 4>(in, taps, weights, depth, sums);
            case 3:
                return sum_tile<S, 6>(in, taps, weights, depth, sums);
#if YC_ROWS > 6
            case 4:
                return sum_tile<S, 8>(in, taps, weights, depth, sums);
            case 5:
                return sum_tile<S, 10>(in, taps, weights, depth, sums);
            case 6:
                return sum_tile<S, 12>(in, taps, weights, depth, sums);
            default:
                return sum_tile<S, 14>(in, taps, weights, depth, sums);
#endif
        }
    }
};
