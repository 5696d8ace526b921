// Non-maximum suppression with the results of the code in torch (ops/nms.py): the same float64 overlaps from the
// same order of operations, the same order of equal scores, the same meaning of NaN.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

#include "api.hpp"
#include "exact.hpp"
#ifndef __clang__
#pragma GCC optimize("no-trapping-math")  // else comparisons are not vectorised
#endif

namespace {

constexpr int64_t OUT_OF_MEMORY = -1, UNDECIDED = -2;
constexpr double CLOSE = 1e-12;     // powers differ by less among mathematical libraries
constexpr int SHIFT = 17;           // of the bits of a positive float: what is left numbers its bin
constexpr uint32_t TOP = 0x7fffffff, ABOVE_ALL = 0x7f800001;  // infinity is the highest score
constexpr uint32_t BINS = (ABOVE_ALL >> SHIFT) + 1;
constexpr int64_t FEW = 4096;       // pairs that are sorted at once
constexpr int64_t SAMPLE = 8192;    // pairs that show how scores are distributed

struct Undecided {};

struct Corners {
    double left, top, right, bottom;

    bool has_nan() const { return !(left == left && top == top && right == right && bottom == bottom); }
    double area() const { return (right - left) * (bottom - top); }
};

double square(double x) { return x * x; }

// Which boxes a box suppresses; `exponent` below 0: by the overlap alone.
struct Overlap {
    double iou, exponent;

    bool suppresses(const Corners& a, const Corners& b) const {
        const double width = std::min(a.right, b.right) - std::max(a.left, b.left);
        const double height = std::min(a.bottom, b.bottom) - std::max(a.top, b.top);
        if (!(width > 0 && height > 0)) return false;
        const double shared = width * height;
        if (!(shared > 0)) return false;
        const double overlap = shared / (a.area() + b.area() - shared);
        if (!(overlap > iou)) return false;
        return exponent < 0 || is_near(a, b, overlap);
    }

    bool is_near(const Corners& a, const Corners& b, double overlap) const {
        const double across = (a.left + a.right - b.left - b.right) / 2;
        const double down = (a.top + a.bottom - b.top - b.bottom) / 2;
        const double wide = std::max(a.right, b.right) - std::min(a.left, b.left);
        const double high = std::max(a.bottom, b.bottom) - std::min(a.top, b.top);
        const double diagonal = square(wide) + square(high);
        const double ratio = diagonal > 0 ? (square(across) + square(down)) / diagonal : 0;
        const double left = overlap - std::pow(ratio, exponent);
        if (ratio != 0 && std::fabs(left - iou) < CLOSE) throw Undecided();
        return left > iou;
    }
};

// Boxes that were kept, by group (a class, or all of them). Boxes with NaN suppress nothing.
class Kept {
public:
    Kept(Overlap overlap, int64_t groups) : overlap_(overlap), groups_(groups) {}

    // Whether no kept box of the group suppresses this one, which then is kept too.
    bool take(const Corners& box, int64_t group) {
        if (box.has_nan()) return true;
        for (const Corners& other : groups_[group])
            if (overlap_.suppresses(other, box)) return false;
        groups_[group].push_back(box);
        return true;
    }

private:
    Overlap overlap_;
    std::vector<std::vector<Corners>> groups_;
};

}  // namespace

extern "C" {

// How boxes in pixels of the network's input lead to those in pixels of the image (images/preprocess.py).
struct Frame {
    double padding[2], gain[2], size[2];  // across and down; the size is that of the image
    double most;                          // boxes with a coordinate that is not below it are left out; 0: no frame
    int32_t is_clipped;
};

// The mirror of ops/native_nms.py. Arrays: boxes [count, 4] centre and size, objectness [count],
// scores [count, classes]; `wanted` [classes] is 0 or 1, or null for all. Of at most `limit` results, best first:
// number of the box, score, class, and its corners in the image; without a frame none, and boxes are compared as they
// are.
struct BoxChoice {
    const float *boxes, *objectness, *scores;
    const uint8_t* wanted;
    int64_t count, classes, limit;
    double iou, exponent, conf;
    int32_t is_yolor, multi_label, agnostic;
    int64_t* numbers;
    float* out_scores;
    int64_t* out_classes;
    float* out_corners;
    Frame frame;
};

}  // extern "C"

namespace {

// The bits of a positive float have its order.
uint32_t key_of(float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    return bits;
}

float value_of(uint32_t key) {
    float value;
    std::memcpy(&value, &key, sizeof value);
    return value;
}

// How many products of scores are at least `least`, and whether any is infinite or NaN.
struct Hits {
    int32_t high, odd;
};

inline __attribute__((always_inline)) Hits count_hits(const float* scores, float objectness, float least,
                                                      int64_t count) {
    int32_t high = 0, finite = 0;
    for (int64_t i = 0; i < count; ++i) {
        const float value = scores[i] * objectness;
        high += value >= least;
        finite += __builtin_fabsf(value) <= std::numeric_limits<float>::max();
    }
    return {high, int32_t(count) - finite};
}

Hits count_plain(const float* scores, float objectness, float least, int64_t count) {
    return count_hits(scores, objectness, least, count);
}
__attribute__((target("avx2"))) Hits count_avx2(const float* scores, float objectness, float least, int64_t count) {
    return count_hits(scores, objectness, least, count);
}

// The pairs of a box and a class in falling order of their scores, a part of them at a time.
class Candidates {
public:
    explicit Candidates(const BoxChoice& c) : c_(c), conf_(float(c.conf) + 0.0f), bottom_(key_of(conf_) + 1) {}

    // The next pairs (box * classes + class), about `least` if there are so many; false after the last.
    bool next(int64_t least, std::vector<uint64_t>& pairs) {
        if (high_ <= bottom_) return false;
        uint32_t low = bottom_;
        if (high_ != ABOVE_ALL || !collect_all(low, FEW, pairs)) {
            if (bins_.empty()) sample();
            low = choose_low(std::max(least, FEW / 4));
            collect_all(low, std::numeric_limits<int64_t>::max(), pairs);
        }
        std::sort(pairs.begin(), pairs.end());
        high_ = low;
        return true;
    }

    float product(int64_t box, int64_t label) const {
        return c_.scores[box * c_.classes + label] * c_.objectness[box];
    }

private:
    // Counts the scores of some boxes by bins.
    void sample() {
        bins_.resize(BINS);
        step_ = std::max<int64_t>(1, c_.count * c_.classes / SAMPLE);
        for (int64_t box = 0; box < c_.count; box += step_)
            for (int64_t label = 0; label < c_.classes && (!c_.is_yolor || c_.objectness[box] > conf_); ++label) {
                const float value = product(box, label);
                if (value > conf_) ++bins_[key_of(value) >> SHIFT];
            }
    }

    // The pairs whose keys are from `low` to below those so far; false where there are more than `most`.
    bool collect_all(uint32_t low, int64_t most, std::vector<uint64_t>& pairs) const {
        pairs.clear();
        for (int64_t box = 0; box < c_.count && int64_t(pairs.size()) <= most; ++box)
            if (!c_.is_yolor || c_.objectness[box] > conf_) collect(box, low, pairs);
        return int64_t(pairs.size()) <= most;
    }

    // Below the pairs so far, the key above which some `least` pairs are; the sample tells.
    uint32_t choose_low(int64_t least) {
        int64_t many = 0, bin = bin_;
        while (bin > 0 && many < least) many += step_ * bins_[--bin];
        bin_ = bin;
        return std::max(bottom_, uint32_t(bin) << SHIFT);
    }

    // Adds the pairs of a box whose keys are from `low` to below those so far.
    void collect(int64_t box, uint32_t low, std::vector<uint64_t>& pairs) const {
        static const auto count = __builtin_cpu_supports("avx2") ? count_avx2 : count_plain;
        const float least = value_of(low);
        const Hits hits = count(c_.scores + box * c_.classes, c_.objectness[box], least, c_.classes);
        if (hits.odd && !c_.is_yolor) throw Undecided();  // torch's masks turn infinity into NaN
        if (!hits.high) return;
        const bool is_one = c_.is_yolor && !c_.multi_label;
        const int64_t first = is_one ? best(box) : 0, last = is_one ? first + 1 : c_.classes;
        for (int64_t label = first; label < last; ++label) {
            const float value = product(box, label);
            if (!(value >= least) || key_of(value) >= high_) continue;
            if (!c_.is_yolor || !c_.wanted || c_.wanted[label])
                pairs.push_back(sortable(key_of(value), box * c_.classes + label));
        }
    }

    // In the order of these numbers the best scores come first, and of equal ones the first pair.
    static uint64_t sortable(uint32_t key, int64_t pair) { return uint64_t(TOP - key) << 32 | uint64_t(pair); }

    // The first class with the highest product; NaN is higher than all.
    int64_t best(int64_t box) const {
        int64_t found = 0;
        for (int64_t label = 0; label < c_.classes; ++label) {
            const float value = product(box, label);
            if (value != value) return label;
            if (value > product(box, found)) found = label;
        }
        return found;
    }

    const BoxChoice& c_;
    const float conf_;
    const uint32_t bottom_;       // the lowest key of a candidate
    uint32_t high_ = ABOVE_ALL;   // the lowest key of those that were given
    std::vector<int32_t> bins_;
    int64_t bin_ = BINS, step_ = 1;
};

Corners corners_of(const float* box) {
    const double x = box[0], y = box[1], w = box[2], h = box[3];
    return {x - w / 2, y - h / 2, x + w / 2, y + h / 2};
}

// What Placement.to_image makes of a box, with its rounding.
void map_to_image(const Frame& frame, const float* box, float* corners) {
    for (int i = 0; i < 4; ++i) {
        const int axis = i % 2;
        const float half = box[axis + 2] / 2, edge = i < 2 ? box[axis] - half : box[axis] + half;
        const double place = (double(edge) - frame.padding[axis]) / frame.gain[axis];
        corners[i] = float(frame.is_clipped ? std::min(std::max(place, 0.0), frame.size[axis]) : place);
    }
}

// A box by way of its corners, which rounds.
void round_box(const float* box, float* rounded) {
    for (int axis = 0; axis < 2; ++axis) {
        const float half = box[axis + 2] / 2, low = box[axis] - half, high = box[axis] + half;
        rounded[axis] = (low + high) / 2;
        rounded[axis + 2] = high - low;
    }
}

// The boxes as they are compared and as they are reported.
class Boxes {
public:
    explicit Boxes(const BoxChoice& c) : c_(c) {}

    bool has_frame() const { return c_.frame.most > 0; }

    bool is_usable(int64_t box) const {
        if (!has_frame()) return true;
        const float* sides = c_.boxes + 4 * box;
        return std::all_of(sides, sides + 4, [this](float side) { return std::fabs(side) < c_.frame.most; });
    }

    // YOLOR compares in the network's input, Darknet in fractions of the image.
    Corners compared(int64_t box) const {
        const float* own = c_.boxes + 4 * box;
        if (!has_frame() || c_.is_yolor) return corners_of(own);
        float in_image[4], fractions[4];
        map_to_image(c_.frame, own, in_image);
        for (int i = 0; i < 2; ++i) {
            const float low = in_image[i], high = in_image[i + 2], side = float(c_.frame.size[i]);
            fractions[i] = (low + high) / 2 / side;
            fractions[i + 2] = (high - low) / side;
        }
        return corners_of(fractions);
    }

    void report(int64_t box, float* corners) const {
        float rounded[4];
        std::memcpy(rounded, c_.boxes + 4 * box, sizeof rounded);
        if (c_.is_yolor) round_box(c_.boxes + 4 * box, rounded);
        map_to_image(c_.frame, rounded, corners);
    }

private:
    const BoxChoice& c_;
};

int64_t choose(const BoxChoice& c) {
    Candidates candidates(c);
    const Boxes boxes(c);
    Kept kept({c.iou, c.exponent}, c.agnostic ? 1 : c.classes);
    std::vector<uint8_t> told(c.is_yolor || c.multi_label ? 0 : c.count);  // boxes with a result
    std::vector<uint64_t> pairs;
    int64_t found = 0;
    for (int64_t least = 4 * c.limit + 64; found < c.limit && candidates.next(least, pairs); least *= 8)
        for (size_t i = 0; i < pairs.size() && found < c.limit; ++i) {
            const int64_t pair = uint32_t(pairs[i]), box = pair / c.classes, label = pair % c.classes;
            if (!boxes.is_usable(box) || !kept.take(boxes.compared(box), c.agnostic ? 0 : label)) continue;
            if (!told.empty()) {
                if (told[box]) continue;
                told[box] = 1;
            }
            if (!c.is_yolor && c.wanted && !c.wanted[label]) continue;
            if (boxes.has_frame()) boxes.report(box, c.out_corners + 4 * found);
            c.numbers[found] = box;
            c.out_scores[found] = candidates.product(box, label);
            c.out_classes[found++] = label;
        }
    return found;
}

template <class Body>
int64_t guard(const Body& body) {
    try {
        return body();
    } catch (const Undecided&) {
        return UNDECIDED;
    } catch (...) {
        return OUT_OF_MEMORY;
    }
}

}  // namespace

extern "C" {

YC_API int64_t yc_choice_size() { return sizeof(BoxChoice); }

// The number of results; -1 out of memory, -2 where torch has to decide: a power is too close to the threshold, or
// Darknet's scores are infinite.
YC_API int64_t yc_choose_boxes(const BoxChoice* c) {
    return guard([c] { return choose(*c); });
}

// Greedy suppression of `count` candidates, best first: boxes_xyxy [*, 4], the box and the group of each; at most
// `limit` positions. Returns as yc_choose_boxes.
YC_API int64_t yc_suppress(const double* boxes_xyxy, const int64_t* boxes, const int64_t* groups, int64_t count,
                           int64_t group_count, double iou, double exponent, int64_t limit, int64_t* positions) {
    return guard([=] {
        Kept kept({iou, exponent}, group_count);
        int64_t found = 0;
        for (int64_t i = 0; i < count && found < limit; ++i) {
            Corners box;
            std::memcpy(&box, boxes_xyxy + 4 * boxes[i], sizeof box);
            if (kept.take(box, groups[i])) positions[found++] = i;
        }
        return found;
    });
}

}  // extern "C"
