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

// One pixel's vector: n lanes of it, all of them by default.
template <int ACTIVATION, class S, class R>
inline Vec finish_vector(Vec x, const S* extra, int second, int n = LANES) {
    constexpr bool FAST = sizeof(R) == sizeof(bf16);
    x = apply<FAST>(ACTIVATION, x);
    if (!extra) return x;
    x = add(x, n == LANES ? load(extra) : load_part(extra, n));
    return second == LINEAR ? x : apply<FAST>(second, x);
}

// Adjacent pixels of a row whose channels fill the panel.
template <int ACTIVATION, bool EXTRA, class S, class R>
inline void finish_run(const Op& op, const float* sums, int many, const Vec* bias, const S* extra, R* out) {
    for (int i = 0; i < many; ++i, sums += NR, out += op.out.pixel, extra += EXTRA ? op.extra.pixel : 0) {
        const Vec low = add(load(sums), bias[0]), high = add(load(sums + LANES), bias[1]);
        store_2(out, finish_vector<ACTIVATION, S, R>(low, EXTRA ? extra : nullptr, op.second),
                finish_vector<ACTIVATION, S, R>(high, EXTRA ? extra + LANES : nullptr, op.second));
    }
}

// The same where the last panel has only `left` channels.
template <int ACTIVATION, class S, class R>
inline void finish_rest(const Op& op, const float* sums, int many, const Vec* bias, const S* extra, R* out, int left) {
    for (int i = 0; i < many; ++i, sums += NR, out += op.out.pixel) {
        for (int v = 0; v < 2 && v * LANES < left; ++v) {
            const int n = std::min(LANES, left - v * LANES);
            const S* e = extra ? extra + i * op.extra.pixel + v * LANES : nullptr;
            const Vec x = add(load(sums + v * LANES), bias[v]);
            store_part(out + v * LANES, finish_vector<ACTIVATION, S, R>(x, e, op.second, n), n);
        }
    }
}

template <int ACTIVATION, class S, class R>
void finish_tile(const Op& op, const float* sums, Place place, int panel) {
    const int64_t first = static_cast<int64_t>(panel) * NR;
    const int left = static_cast<int>(std::min<int64_t>(NR, op.out.channels - first));
    const Vec bias[2] = {load(op.bias + first), load(op.bias + first + LANES)};
    for (int done = 0; done < place.count;) {
        if (place.x >= place.pitch) {
            place.x -= place.pitch;
            ++place.y;
        }
        const int row = static_cast<int>(std::min<int64_t>(place.count - done, place.pitch - place.x));
        const int many = static_cast<int>(std::min<int64_t>(row, op.out.width - place.x));
        if (many > 0 && place.y < op.out.height) {
            R* out = pixel_at<R>(op.out, place.image, place.y, place.x) + first;
            const S* extra = op.extra.data ? pixel_at<S>(op.extra, place.image, place.y, place.x) + first : nullptr;
            const float* some = sums + done * NR;
            if (left < NR)
                finish_rest<ACTIVATION, S, R>(op, some, many, bias, extra, out, left);
            else if (extra)
                finish_run<ACTIVATION, true, S, R>(op, some, many, bias, extra, out);
            else
                finish_run<ACTIVATION, false, S, R>(op, some, many, bias, extra, out);
        }
        done += row;
        place.x += row;
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
