// Boxes of [yolo] heads from their raw maps, those alone whose objectness may reach a threshold. Everything is
// computed in float64 and rounded once, by operations that all sets of instructions round alike: results do not
// depend on the processor, nor on where a value stands.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include "api.hpp"
#include "exact.hpp"
#ifndef __clang__
#pragma GCC optimize("no-trapping-math")  // else comparisons are not vectorised
#endif

extern "C" {

// The mirror of ops/native_decode.py: a raw map [images, anchors, rows, columns, values] with its strides, counted in
// values, and how it is decoded. `least` is the raw objectness that is reached in one of the images; `likely` says
// how many boxes reach it.
struct HeadMap {
    const float* data;
    int64_t sizes[5], strides[5];
    const double* anchors;  // width and height of each
    double stride_x, stride_y, spread, least;
    int32_t has_squared_sizes, has_linear_sizes;
    int64_t likely;
};

}  // extern "C"

namespace {

enum { IMAGE, ANCHOR, ROW, COLUMN, VALUE };
constexpr int64_t BLOCK = 32;  // boxes that are decoded at a time
constexpr int64_t GROUP = 8;   // marks that are looked at together
constexpr int64_t AHEAD = 16;  // columns that are asked for
constexpr int64_t FIRST = 5;   // values before the classes

// e^x with an error below 2^-31 of it; beyond +-708 as there, which float32 cannot tell from 0 and infinity.
inline __attribute__((always_inline)) double exponential(double x) {
    constexpr double ROUND = 6755399441055744.0;  // 1.5 * 2^52: the sum's last bits are the nearest whole number
    constexpr double LOG2_E = 0x1.71547652b82fep+0, LN_2 = 0x1.62e42fefa39efp-1;
    x = x < -708.0 ? -708.0 : x;
    x = x > 708.0 ? 708.0 : x;
    const double shifted = __builtin_fma(x, LOG2_E, ROUND), whole = shifted - ROUND;
    const double rest = __builtin_fma(whole, -LN_2, x);
    double sum = 1.0 / 40320;
    sum = __builtin_fma(sum, rest, 1.0 / 5040);
    sum = __builtin_fma(sum, rest, 1.0 / 720);
    sum = __builtin_fma(sum, rest, 1.0 / 120);
    sum = __builtin_fma(sum, rest, 1.0 / 24);
    sum = __builtin_fma(sum, rest, 1.0 / 6);
    sum = __builtin_fma(sum, rest, 0.5);
    sum = __builtin_fma(sum, rest, 1.0);
    sum = __builtin_fma(sum, rest, 1.0);
    int64_t bits;
    std::memcpy(&bits, &shifted, sizeof bits);
    bits = (bits << 52) + 0x3ff0000000000000;  // 2^whole
    double power;
    std::memcpy(&power, &bits, sizeof power);
    return sum * power;
}

inline __attribute__((always_inline)) double sigmoid(double x) { return 1.0 / (1.0 + exponential(-x)); }

// What is done with many values at a time; `work` makes versions of it for several sets of instructions.
struct Sigmoids {
    static inline __attribute__((always_inline)) void run(float* values, int64_t count) {
        for (int64_t i = 0; i < count; ++i) values[i] = float(sigmoid(double(values[i])));
    }
};

struct WideSigmoids {
    static inline __attribute__((always_inline)) void run(double* values, int64_t count) {
        for (int64_t i = 0; i < count; ++i) values[i] = sigmoid(values[i]);
    }
};

struct WideExponentials {
    static inline __attribute__((always_inline)) void run(double* values, int64_t count) {
        for (int64_t i = 0; i < count; ++i) values[i] = exponential(values[i]);
    }
};

template <class Body, class Number>
__attribute__((target("avx2,fma"))) void work_avx2(Number* values, int64_t count) {
    Body::run(values, count);
}

template <class Body, class Number>
__attribute__((target("avx512f,avx512dq,avx512vl,fma"))) void work_avx512(Number* values, int64_t count) {
    Body::run(values, count);
}

bool has_avx512() { return __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"); }

template <class Body, class Number>
void work(Number* values, int64_t count) {
    static const auto way = has_avx512() ? work_avx512<Body, Number> : work_avx2<Body, Number>;
    way(values, count);
}

// Marks [anchors, rows, columns] where the objectness of an image reaches the threshold. Values of an anchor that are
// far from each other are asked for ahead.
void mark_image(const HeadMap& head, int64_t image, uint8_t* marks) {
    const int64_t columns = head.sizes[COLUMN], step = head.strides[COLUMN], plane = head.sizes[ROW] * columns;
    const int64_t anchors = head.sizes[ANCHOR], apart = head.strides[ANCHOR];
    const float least = float(head.least);
    for (int64_t row = 0; row < head.sizes[ROW]; ++row) {
        const float* from = head.data + image * head.strides[IMAGE] + row * head.strides[ROW];
        const float* objectness = from + (FIRST - 1) * head.strides[VALUE];
        for (int64_t column = 0; column < columns; ++column)
            for (int64_t anchor = 0; anchor < anchors; ++anchor) {
                const float* value = objectness + column * step + anchor * apart;
                __builtin_prefetch(value + AHEAD * step);
                marks[anchor * plane + row * columns + column] |= *value >= least;
            }
    }
}

// The numbers of the marked boxes; `numbers` has room for all.
int64_t collect(const uint8_t* marks, int64_t count, int32_t* numbers) {
    int64_t found = 0;
    for (int64_t i = 0; i < count; i += GROUP) {
        uint64_t any = 0;
        const int64_t end = std::min(i + GROUP, count);
        std::memcpy(&any, marks + i, end - i);
        for (int64_t at = i; any && at < end; ++at) {
            numbers[found] = int32_t(at);
            found += marks[at];
        }
    }
    return found;
}

// What a thread found, until it is decoded.
struct Likely {
    std::vector<uint8_t> marks;
    std::vector<int32_t> numbers;  // of boxes, in the order of anchors, rows and columns; head after head
    int64_t count = 0;

    int64_t add(const HeadMap& head) {
        const int64_t boxes = head.sizes[ANCHOR] * head.sizes[ROW] * head.sizes[COLUMN];
        marks.assign(boxes, 0);
        for (int64_t image = 0; image < head.sizes[IMAGE]; ++image) mark_image(head, image, marks.data());
        if (int64_t(numbers.size()) < count + boxes) numbers.resize(count + boxes);
        const int64_t found = collect(marks.data(), boxes, numbers.data() + count);
        count += found;
        return found;
    }
};

thread_local Likely likely;

// Where a box is in its map.
struct Place {
    int64_t anchor, row, column, offset;
};

Place find_place(const HeadMap& head, uint32_t number) {
    const uint32_t columns = uint32_t(head.sizes[COLUMN]), rows = uint32_t(head.sizes[ROW]), line = number / columns;
    const int64_t column = number % columns, row = line % rows, anchor = line / rows, *strides = head.strides;
    return {anchor, row, column, anchor * strides[ANCHOR] + row * strides[ROW] + column * strides[COLUMN]};
}

// Coordinates of at most BLOCK boxes, one kind after the other.
struct Coordinates {
    double x[BLOCK], y[BLOCK], w[BLOCK], h[BLOCK];
};

// Raw widths or heights to multiples of the anchors'.
void scale_sizes(const HeadMap& head, double* sizes, int64_t count) {
    if (head.has_squared_sizes) {
        work<WideSigmoids>(sizes, count);
        for (int64_t i = 0; i < count; ++i) sizes[i] = 2 * sizes[i] * (2 * sizes[i]);
        return;
    }
    double raw[BLOCK];
    std::memcpy(raw, sizes, count * sizeof(double));
    work<WideExponentials>(sizes, count);
    for (int64_t i = 0; head.has_linear_sizes && i < count; ++i) sizes[i] = raw[i] > 0 ? raw[i] : sizes[i];
}

void decode_boxes(const HeadMap& head, const Place* places, Coordinates& raw, int64_t count, float* boxes) {
    const double shift = (head.spread - 1) / 2;
    work<WideSigmoids>(raw.x, count);
    work<WideSigmoids>(raw.y, count);
    scale_sizes(head, raw.w, count);
    scale_sizes(head, raw.h, count);
    for (int64_t i = 0; i < count; ++i) {
        const double* anchor = head.anchors + 2 * places[i].anchor;
        boxes[4 * i] = float((raw.x[i] * head.spread - shift + double(places[i].column)) * head.stride_x);
        boxes[4 * i + 1] = float((raw.y[i] * head.spread - shift + double(places[i].row)) * head.stride_y);
        boxes[4 * i + 2] = float(raw.w[i] * anchor[0]);
        boxes[4 * i + 3] = float(raw.h[i] * anchor[1]);
    }
}

// The arrays that are filled: of each image boxes [boxes, 4], objectness [boxes] and scores [boxes, classes].
struct Out {
    float *boxes, *objectness, *scores;
};

// At most BLOCK boxes of an image.
void decode_block(const HeadMap& head, const float* image, const int32_t* numbers, int64_t count, Out out) {
    const int64_t step = head.strides[VALUE], classes = head.sizes[VALUE] - FIRST;
    Place places[BLOCK];
    Coordinates raw;
    for (int64_t i = 0; i < count; ++i) {
        places[i] = find_place(head, numbers[i]);
        const float* from = image + places[i].offset;
        raw.x[i] = from[0], raw.y[i] = from[step], raw.w[i] = from[2 * step], raw.h[i] = from[3 * step];
        out.objectness[i] = from[4 * step];
        float* scores = out.scores + i * classes;
        if (step == 1)
            std::memcpy(scores, from + FIRST, classes * sizeof(float));
        else
            for (int64_t k = 0; k < classes; ++k) scores[k] = from[(FIRST + k) * step];
    }
    decode_boxes(head, places, raw, count, out.boxes);
    work<Sigmoids>(out.objectness, count);
    work<Sigmoids>(out.scores, count * classes);
}

}  // namespace

extern "C" {

// Whether the processor has the instructions.
YC_API int yc_can_decode() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }

YC_API int64_t yc_head_size() { return sizeof(HeadMap); }

// Finds the likely boxes of each head. Returns how many there are, or -1 out of memory.
YC_API int64_t yc_find_likely(HeadMap* heads, int64_t count) {
    try {
        likely.count = 0;
        for (HeadMap* head = heads; head != heads + count; ++head) head->likely = likely.add(*head);
        return likely.count;
    } catch (...) {
        return -1;
    }
}

// What this thread found last, decoded: boxes [images, found, 4], objectness [images, found], scores [images, found,
// classes].
YC_API void yc_decode_likely(const HeadMap* heads, int64_t count, float* boxes, float* objectness, float* scores) {
    const int32_t* numbers = likely.numbers.data();
    for (const HeadMap* head = heads; head != heads + count; numbers += head++->likely) {
        const int64_t classes = head->sizes[VALUE] - FIRST;
        for (int64_t image = 0; image < head->sizes[IMAGE]; ++image)
            for (int64_t i = 0; i < head->likely; i += BLOCK) {
                const int64_t many = std::min(head->likely - i, BLOCK), at = image * likely.count + i;
                decode_block(*head, head->data + image * head->strides[IMAGE], numbers + i, many,
                             {boxes + 4 * at, objectness + at, scores + classes * at});
            }
        boxes += 4 * head->likely, objectness += head->likely, scores += classes * head->likely;
    }
}

}  // extern "C"
