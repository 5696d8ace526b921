// Operations without dense weights: depthwise convolution, pooling, enlarging, adding, copying, and the image.

// Calls body(c, n) for the vectors of a pixel's channels: n lanes from channel c.
template <class Body>
inline void over_channels(int64_t channels, const Body& body) {
    int64_t c = 0;
    for (; c + LANES <= channels; c += LANES) body(c, LANES);
    if (c < channels) body(c, static_cast<int>(channels - c));
}

template <class T>
inline Vec load_lanes(const T* p, int n) {
    return n == LANES ? load(p) : load_part(p, n);
}

template <class T>
inline void store_lanes(T* p, Vec x, int n) {
    if (n == LANES)
        store(p, x);
    else
        store_part(p, x, n);
}

// Calls body(image, y) for each row of the output, on all threads, after clearing its border.
template <class Body>
void over_rows(const Op& op, Pool& pool, const Body& body) {
    clear_border(op);
    const int64_t rows = op.out.images * op.out.height, step = std::max<int64_t>(1, rows / (4 * pool.threads()));
    pool.run((rows + step - 1) / step, [&](int64_t unit, int) {
        for (int64_t row = unit * step; row < std::min(rows, (unit + 1) * step); ++row)
            body(row / op.out.height, row % op.out.height);
    });
}

// Weights [taps][channels rounded up to NR] in float32.
template <class S>
void convolve_depthwise(const Op& op, Pool& pool) {
    constexpr bool FAST = sizeof(S) == sizeof(bf16);
    const int64_t width = (op.out.channels + NR - 1) / NR * NR;
    over_rows(op, pool, [&](int64_t image, int64_t y) {
        for (int64_t x = 0; x < op.out.width; ++x) {
            const S* in = pixel_at<S>(op.in, image, y * op.stride_y - op.pad_y, x * op.stride_x - op.pad_x);
            S* out = pixel_at<S>(op.out, image, y, x);
            const S* extra = op.extra.data ? pixel_at<S>(op.extra, image, y, x) : nullptr;
            over_channels(op.out.channels, [&](int64_t c, int n) {
                Vec sum = load(op.bias + c);
                const float* weights = static_cast<const float*>(op.weights) + c;
                for (int ky = 0; ky < op.kernel_y; ++ky)
                    for (int kx = 0; kx < op.kernel_x; ++kx, weights += width) {
                        const int64_t offset = op.dilation * (ky * op.in.row + kx * op.in.pixel);
                        sum = fma(load_lanes(in + offset + c, n), load(weights), sum);
                    }
                sum = apply<FAST>(op.activation, sum);
                if (extra) sum = apply<FAST>(op.second, add(sum, load_lanes(extra + c, n)));
                store_lanes(out + c, sum, n);
            });
        }
    });
}

// The part of a window that lies inside of the map.
struct Span {
    int64_t from, to;
    Span(int64_t start, int64_t size, int64_t length)
        : from(std::max<int64_t>(0, start)), to(std::min(length, start + size)) {}
};

template <class S>
void pool_maximum(const Op& op, Pool& pool) {
    over_rows(op, pool, [&](int64_t image, int64_t y) {
        const Span rows(y * op.stride_y - op.pad_y, op.kernel_y, op.in.height);
        for (int64_t x = 0; x < op.out.width; ++x) {
            const Span columns(x * op.stride_x - op.pad_x, op.kernel_x, op.in.width);
            S* out = pixel_at<S>(op.out, image, y, x);
            over_channels(op.out.channels, [&](int64_t c, int n) {
                Vec most = set1(-INFINITY);
                for (int64_t v = rows.from; v < rows.to; ++v)
                    for (int64_t u = columns.from; u < columns.to; ++u)
                        most = max(most, load_lanes(pixel_at<S>(op.in, image, v, u) + c, n));
                store_lanes(out + c, most, n);
            });
        }
    });
}

template <class S>
void copy_enlarged(const Op& op, Pool& pool) {
    over_rows(op, pool, [&](int64_t image, int64_t y) {
        for (int64_t x = 0; x < op.out.width; ++x) {
            const S* in = pixel_at<S>(op.in, image, y / op.stride_y, x / op.stride_x);
            std::memcpy(pixel_at<S>(op.out, image, y, x), in, op.out.channels * sizeof(S));
        }
    });
}

template <class S, class R>
void add_maps(const Op& op, Pool& pool) {
    constexpr bool FAST = sizeof(R) == sizeof(bf16);
    over_rows(op, pool, [&](int64_t image, int64_t y) {
        for (int64_t x = 0; x < op.out.width; ++x) {
            const S* in = pixel_at<S>(op.in, image, y, x);
            const S* extra = op.extra.data ? pixel_at<S>(op.extra, image, y, x) : nullptr;
            R* out = pixel_at<R>(op.out, image, y, x);
            over_channels(op.out.channels, [&](int64_t c, int n) {
                Vec sum = load_lanes(in + c, n);
                if (extra) sum = add(sum, load_lanes(extra + c, n));
                store_lanes(out + c, apply<FAST>(op.activation, sum), n);
            });
        }
    });
}

// Also copies and changes the type: without `extra` nothing is added.
template <class S>
void add_or_copy(const Op& op, Pool& pool) {
    if (op.out_type == FLOAT32)
        add_maps<S, float>(op, pool);
    else
        add_maps<S, S>(op, pool);
}

inline void store_4(float* p, const float* x) { std::memcpy(p, x, 4 * sizeof *x); }
inline void store_4(bf16* p, const bf16* x) { std::memcpy(p, x, 4 * sizeof *x); }

// in: planes of floats (pixel stride 1); out: the channels of a pixel adjacent, those between in.channels and
// out.channels, a multiple of 4, zero. A stretch of pixels is converted at a time.
template <class R>
void spread_image(const Op& op, Pool& pool) {
    constexpr int STRETCH = 256;
    const int64_t plane = op.in.row * op.in.height;
    over_rows(op, pool, [&](int64_t image, int64_t y) {
        const float* in = static_cast<const float*>(op.in.data) + image * op.in.image + y * op.in.row;
        for (int64_t c = 0; c < op.out.channels; c += 4)
            for (int64_t x = 0; x < op.out.width; x += STRETCH) {
                alignas(64) R planes[4][STRETCH] = {};
                const int many = static_cast<int>(std::min<int64_t>(STRETCH, op.out.width - x));
                for (int i = 0; i < 4 && c + i < op.in.channels; ++i)
                    over_channels(many, [&](int64_t u, int n) {
                        store_lanes(planes[i] + u, load_lanes(in + (c + i) * plane + x + u, n), n);
                    });
                R* out = pixel_at<R>(op.out, image, y, x) + c;
                for (int u = 0; u < many; ++u, out += op.out.pixel) {
                    const R pixel[4] = {planes[0][u], planes[1][u], planes[2][u], planes[3][u]};
                    store_4(out, pixel);
                }
            }
    });
}

inline void spread_image(const Op& op, Pool& pool) {
    if (op.out_type == FLOAT32)
        spread_image<float>(op, pool);
    else
        spread_image<bf16>(op, pool);
}
