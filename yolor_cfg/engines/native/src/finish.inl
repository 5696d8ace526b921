// What follows the sums of a tile: bias, activation, residual, second activation, and storing as the type of
// the output. Positions that lie in the border of the map are dropped.

template <class T>
inline T* pixel_at(const View& view, int64_t image, int64_t y, int64_t x) {
    return static_cast<T*>(view.data) + image * view.image + y * view.row + x * view.pixel;
}

// The place of a tile: its first position, how many there are, and after how many a new row starts.
struct Place {
    int64_t image, y, x;
    int count;
    int64_t pitch;
};

template <int ACTIVATION, bool FAST, class S, class R>
inline void finish_pixel(const float* sums, const Vec* bias, const S* extra, R* out, int left, int second) {
    for (int v = 0; v < 2; ++v) {
        const int n = left - v * LANES;
        if (n <= 0) return;
        Vec x = apply<FAST>(ACTIVATION, add(load(sums + v * LANES), bias[v]));
        if (extra) {
            const S* e = extra + v * LANES;
            x = apply<FAST>(second, add(x, n >= LANES ? load(e) : load_part(e, n)));
        }
        if (n >= LANES)
            store(out + v * LANES, x);
        else
            store_part(out + v * LANES, x, n);
    }
}

template <int ACTIVATION, class S, class R>
void finish_tile(const Op& op, const float* sums, Place place, int panel) {
    constexpr bool FAST = sizeof(R) == sizeof(bf16);
    const int64_t first = static_cast<int64_t>(panel) * NR;
    const int left = static_cast<int>(std::min<int64_t>(NR, op.out.channels - first));
    const Vec bias[2] = {load(op.bias + first), load(op.bias + first + LANES)};
    for (int i = 0; i < place.count; ++i, ++place.x, sums += NR) {
        if (place.x >= place.pitch) {
            place.x = 0;
            ++place.y;
        }
        if (place.x >= op.out.width || place.y >= op.out.height) continue;
        R* out = pixel_at<R>(op.out, place.image, place.y, place.x) + first;
        const S* extra = op.extra.data ? pixel_at<S>(op.extra, place.image, place.y, place.x) + first : nullptr;
        finish_pixel<ACTIVATION, FAST>(sums, bias, extra, out, left, op.second);
    }
}

using Finish = void (*)(const Op&, const float*, Place, int);

template <class S, class R>
Finish choose_finish(int activation) {
    static const Finish all[ACTIVATIONS] = {
        finish_tile<LINEAR, S, R>, finish_tile<RELU, S, R>,     finish_tile<LEAKY, S, R>, finish_tile<SILU, S, R>,
        finish_tile<MISH, S, R>,   finish_tile<LOGISTIC, S, R>, finish_tile<RELU6, S, R>, finish_tile<HARD_SWISH, S, R>,
    };
    return all[activation];
}

template <class S>
Finish choose_finish(const Op& op) {
    return op.out_type == FLOAT32 ? choose_finish<S, float>(op.activation) : choose_finish<S, S>(op.activation);
}

// Zeros around the channels of an output, as wide as its border.
template <class R>
void clear_border(const View& out) {
    const int64_t b = out.border;
    if (b == 0) return;
    const auto clear = [&](int64_t image, int64_t y, int64_t from, int64_t to) {
        for (int64_t x = from; x < to; ++x) std::memset(pixel_at<R>(out, image, y, x), 0, out.channels * sizeof(R));
    };
    for (int64_t image = 0; image < out.images; ++image) {
        for (int64_t y = -b; y < out.height + b; ++y) {
            const bool outside = y < 0 || y >= out.height;
            clear(image, y, -b, outside ? out.width + b : 0);
            if (!outside) clear(image, y, out.width, out.width + b);
        }
    }
}

inline void clear_border(const Op& op) {
    if (op.out_type == FLOAT32)
        clear_border<float>(op.out);
    else
        clear_border<bf16>(op.out);
}
