// 3x3 convolution of stride 1 and padding 1 by Winograd's minimal filtering F(R x R, 3 x 3): windows of N x N
// inputs (N = R + 2) are transformed, multiplied channel by channel as N * N small matrices, and transformed
// back to R x R outputs. F(2 x 2) takes 2.25 times fewer products, F(4 x 4) 4 times. The weights come
// transformed, [panel][N * N][depth][NR]. Matrices after Lavin and Gray, arXiv:1509.09308. In float32 the products
// of STRETCH channels are summed at a time: this too halves the error.

template <int R>
struct Filtering;

template <>
struct Filtering<2> {
    static constexpr int N = 4;

    // B^T d for four vectors that lie `s` apart.
    static inline void enter(const Vec* d, Vec* o, int s) {
        o[0] = sub(d[0], d[2 * s]);
        o[s] = add(d[s], d[2 * s]);
        o[2 * s] = sub(d[2 * s], d[s]);
        o[3 * s] = sub(d[s], d[3 * s]);
    }

    // A^T m: two outputs, `t` apart.
    static inline void leave(const Vec* m, int s, Vec* o, int t) {
        o[0] = add(add(m[0], m[s]), m[2 * s]);
        o[t] = sub(sub(m[s], m[2 * s]), m[3 * s]);
    }
};

// At the points 0, +-1/sqrt 2, +-sqrt 2 and infinity: a quarter of the error of the usual 0, +-1, +-2.
template <>
struct Filtering<4> {
    static constexpr int N = 6;
    static constexpr float HALF_ROOT = 0.70710678f, ROOT = 1.41421356f;

    static inline void enter(const Vec* d, Vec* o, int s) {
        const Vec d1 = d[s], d2 = d[2 * s], d3 = d[3 * s], d4 = d[4 * s];
        const Vec low = set1(HALF_ROOT), high = set1(ROOT);
        o[0] = add(fma(set1(-2.5f), d2, d4), d[0]);
        const Vec even = fma(set1(-2.f), d2, d4), odd = sub(mul(low, d3), mul(high, d1));
        o[s] = add(even, odd);
        o[2 * s] = sub(even, odd);
        const Vec even_far = fma(set1(-.5f), d2, d4), odd_far = sub(mul(high, d3), mul(low, d1));
        o[3 * s] = add(even_far, odd_far);
        o[4 * s] = sub(even_far, odd_far);
        o[5 * s] = add(fma(set1(-2.5f), d3, d[5 * s]), d1);
    }

    static inline void leave(const Vec* m, int s, Vec* o, int t) {
        const Vec a = add(m[s], m[2 * s]), b = sub(m[s], m[2 * s]);
        const Vec c = add(m[3 * s], m[4 * s]), d = sub(m[3 * s], m[4 * s]);
        o[0] = add(add(m[0], a), c);
        o[t] = fma(set1(ROOT), d, mul(set1(HALF_ROOT), b));
        o[2 * t] = fma(set1(2.f), c, mul(set1(.5f), a));
        o[3 * t] = add(fma(set1(2 * ROOT), d, mul(set1(.5f * HALF_ROOT), b)), m[5 * s]);
    }
};

constexpr int64_t STAGED = 8 << 20;  // bytes between the stages that they may take

template <class S, int R>
class Winograd {
public:
    using Weight = typename Product<S>::Weight;
    using Factor = std::conditional_t<std::is_same_v<Weight, float>, float, S>;  // type of transformed inputs
    using Multiply = Product<Factor>;
    static constexpr int N = Filtering<R>::N, MR = Multiply::MR, STRETCH = 64;

    Winograd(const Op& op, Pool& pool) : op_(op), pool_(pool) {
        down_ = (op.out.height + R - 1) / R;
        across_ = (op.out.width + R - 1) / R;
        tiles_ = op.in.images * down_ * across_;
        panels_ = (op.out.channels + NR - 1) / NR;
        const int64_t fit = CACHE / (N * N * op.depth * static_cast<int64_t>(sizeof(Factor)));
        const int64_t all = (tiles_ + MR - 1) / MR * MR;
        in_stages_ = N * N * all * (op.depth + op.out.channels) * static_cast<int64_t>(sizeof(float)) <= STAGED;
        block_ = in_stages_ ? all : std::max<int64_t>(MR, std::min<int64_t>(4 * MR, fit) / MR * MR);
        blocks_ = (tiles_ + block_ - 1) / block_;
    }

    void run() {
        clear_border(op_);
        if (in_stages_)
            run_stages();
        else
            run_blocks();
    }

private:
    // Each unit takes a block of tiles from the input to the output.
    void run_blocks() {
        pool_.run(blocks_, [&](int64_t block, int thread) {
            auto* windows = static_cast<Factor*>(pool_.scratch(thread, 0).grow(window_bytes()));
            enter_block(block, windows);
            for (int64_t panel = 0; panel < panels_; ++panel) compute(block, panel, windows, thread);
        });
    }

    // Few tiles, which need each weight only once or twice: one stage after the other for all of them, so that
    // the weights, then the most of the data, are read once.
    void run_stages() {
        auto* windows = static_cast<Factor*>(pool_.shared(0).grow(window_bytes()));
        auto* sums = static_cast<float*>(pool_.shared(1).grow(panels_ * sum_count() * sizeof(float)));
        const int64_t parts = std::min<int64_t>(tiles_, 4 * pool_.threads());
        pool_.run(parts, [&](int64_t part, int) {
            for (int64_t t = tiles_ * part / parts; t < tiles_ * (part + 1) / parts; ++t) enter_tile(0, t, windows);
        });
        pool_.run(N * N * panels_, [&](int64_t unit, int) {
            const int64_t panel = unit % panels_;
            multiply(0, panel, unit / panels_, windows, sums + panel * sum_count());
        });
        const Finish finish = choose_finish<S>(op_);
        pool_.run(panels_, [&](int64_t panel, int) {
            for (int64_t t = 0; t < tiles_; ++t) leave_tile(t, panel, sums + panel * sum_count() + t * NR, finish);
        });
    }

    int64_t sum_count() const { return N * N * block_ * NR; }

    size_t window_bytes() const { return (N * N * block_ * op_.depth * sizeof(Factor) + 127) / 64 * 64; }
    int64_t count(int64_t block) const { return std::min(block_, tiles_ - block * block_); }

    // The transformed windows of a block, [N * N][block][depth].
    void enter_block(int64_t block, Factor* windows) const {
        for (int64_t t = 0; t < count(block); ++t) enter_tile(block, t, windows);
    }

    void enter_tile(int64_t block, int64_t t, Factor* windows) const {
        const int64_t tile = block * block_ + t, image = tile / (down_ * across_);
        const int64_t y = tile / across_ % down_ * R - 1, x = tile % across_ * R - 1;
        const int64_t rows = op_.in.height + op_.in.border - y, columns = op_.in.width + op_.in.border - x;
        const S* in = pixel_at<S>(op_.in, image, y, x);
        over_channels(op_.in.channels, [&](int64_t c, int n) {
            Vec d[N * N], o[N * N];
            for (int i = 0; i < N; ++i)
                for (int j = 0; j < N; ++j)
                    d[i * N + j] = i < rows && j < columns
                                       ? load_lanes(in + i * op_.in.row + j * op_.in.pixel + c, n)
                                       : zero();
            for (int j = 0; j < N; ++j) Filtering<R>::enter(d + j, o + j, N);
            for (int i = 0; i < N; ++i) Filtering<R>::enter(o + i * N, d + i * N, 1);
            for (int q = 0; q < N * N; ++q) store_lanes(windows + (q * block_ + t) * op_.depth + c, d[q], n);
        });
        for (int q = 0; q < N * N; ++q)
            for (int64_t c = op_.in.channels; c < op_.depth; ++c)
                windows[(q * block_ + t) * op_.depth + c] = Factor{};
    }

    // The outputs of a block for one panel.
    void compute(int64_t block, int64_t panel, const Factor* windows, int thread) {
        auto* sums = static_cast<float*>(pool_.scratch(thread, 1).grow(sum_count() * sizeof(float)));
        for (int64_t q = 0; q < N * N; ++q) multiply(block, panel, q, windows, sums);
        const Finish finish = choose_finish<S>(op_);
        for (int64_t t = 0; t < count(block); ++t) leave_tile(block * block_ + t, panel, sums + t * NR, finish);
    }

    // The sums [block][NR] of one of the N * N matrices.
    void multiply(int64_t block, int64_t panel, int64_t q, const Factor* windows, float* sums) const {
        const int64_t here = 0;
        const Taps taps{&here, 1, op_.depth, STRETCH, op_.depth};
        const Weight* weights = static_cast<const Weight*>(op_.weights) + (panel * N * N + q) * op_.depth * NR;
        for (int64_t t = 0; t < count(block); t += MR)
            Multiply::sum(windows + (q * block_ + t) * op_.depth, taps, weights, op_.depth,
                          sums + (q * block_ + t) * NR, static_cast<int>(std::min<int64_t>(MR, count(block) - t)));
    }

    void leave_tile(int64_t tile, int64_t panel, const float* sums, Finish finish) const {
        alignas(64) float outputs[R * R * NR];
        for (int v = 0; v < NR; v += LANES) {
            Vec m[N * N], o[R * N];
            for (int q = 0; q < N * N; ++q) m[q] = load(sums + q * block_ * NR + v);
            for (int j = 0; j < N; ++j) Filtering<R>::leave(m + j, N, o + j, N);
            for (int i = 0; i < R; ++i) {
                Vec r[R];
                Filtering<R>::leave(o + i * N, 1, r, 1);
                for (int j = 0; j < R; ++j) store(outputs + (i * R + j) * NR + v, r[j]);
            }
        }
        const int64_t y = tile / across_ % down_ * R, x = tile % across_ * R;
        for (int i = 0; i < R; ++i)
            finish(op_, outputs + i * R * NR, {tile / (down_ * across_), y + i, x, R, op_.out.width + R},
                   static_cast<int>(panel));
    }

    const Op& op_;
    Pool& pool_;
    int64_t down_, across_, tiles_, panels_, block_, blocks_;
    bool in_stages_;
};

template <class S>
void convolve_winograd(const Op& op, Pool& pool) {
    if (op.tile == 4)
        Winograd<S, 4>(op, pool).run();
    else
        Winograd<S, 2>(op, pool).run();
}
