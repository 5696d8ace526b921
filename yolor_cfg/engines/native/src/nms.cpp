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

namespace {

constexpr int64_t OUT_OF_MEMORY = -1, UNDECIDED = -2;
constexpr double CLOSE = 1e-12;     // powers differ by less among mathematical libraries
constexpr int SHIFT = 15;           // of the bits of a positive float: what is left numbers its bin
constexpr int BINS = 1 << 16;
constexpr size_t FEW = 4096;        // pairs that are sorted without bins
constexpr uint32_t TOP = 0x7fffffff;

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

// The mirror of ops/native_nms.py. Arrays: boxes [count, 4] centre and size, objectness [count],
// scores [count, classes]; `wanted` [classes] is 0 or 1, or null for all. Of at most `limit` results, best first:
// number of the box, score, class.
struct BoxChoice {
    const float *boxes, *objectness, *scores;
    const uint8_t* wanted;
    int64_t count, classes, limit;
    double iou, exponent, conf;
    int32_t is_yolor, multi_label, agnostic;
    int64_t* numbers;
    float* out_scores;
    int64_t* out_classes;
};

}  // extern "C"

namespace {

// The pairs of a box and a class in falling order of their scores, a part of them at a time.
class Candidates {
public:
    explicit Candidates(const BoxChoice& c) : c_(c), conf_(static_cast<float>(c.conf)) {
        visit([this](uint32_t key, int64_t pair) {
            few_.push_back(sortable(key, pair));
            return few_.size() <= FEW;
        });
        if (few_.size() <= FEW) {
            std::sort(few_.begin(), few_.end());
            return;
        }
        bins_.resize(BINS);
        visit([this](uint32_t key, int64_t) { return ++bins_[key >> SHIFT] > 0; });
    }

    // The next pairs (box * classes + class), at least `least` if there are so many; false after the last.
    bool next(int64_t least, std::vector<uint64_t>& pairs) {
        return bins_.empty() ? next_few(least, pairs) : next_bins(least, pairs);
    }

    float product(int64_t box, int64_t label) const {
        return c_.scores[box * c_.classes + label] * c_.objectness[box];
    }

private:
    // In the order of these numbers the best scores come first, and of equal ones the first pair.
    static uint64_t sortable(uint32_t key, int64_t pair) { return uint64_t(TOP - key) << 32 | uint64_t(pair); }

    bool next_few(int64_t least, std::vector<uint64_t>& pairs) {
        const auto begin = few_.begin() + told_;
        const int64_t many = std::min<int64_t>(least, few_.end() - begin);
        pairs.assign(begin, begin + many);
        told_ += many;
        return many > 0;
    }

    bool next_bins(int64_t least, std::vector<uint64_t>& pairs) {
        const int end = bin_;
        int64_t many = 0;
        while (bin_ > 0 && many < least) many += bins_[--bin_];
        pairs.clear();
        pairs.reserve(many);
        const uint32_t low = uint32_t(bin_) << SHIFT, high = (uint32_t(end) << SHIFT) - 1;
        if (many)
            visit([&](uint32_t key, int64_t pair) {
                if (key >= low && key <= high) pairs.push_back(sortable(key, pair));
                return true;
            });
        std::sort(pairs.begin(), pairs.end());
        return many > 0;
    }

    // The bits of a positive float have its order.
    static uint32_t key_of(float value) {
        uint32_t bits;
        std::memcpy(&bits, &value, sizeof bits);
        return bits;
    }

    // Until the visitor returns false.
    template <class Visitor>
    void visit(const Visitor& visitor) const {
        bool goes_on = true;
        for (int64_t box = 0; box < c_.count && goes_on; ++box)
            goes_on = c_.is_yolor ? visit_yolor(box, visitor) : visit_darknet(box, visitor);
    }

    template <class Visitor>
    bool visit_yolor(int64_t box, const Visitor& visitor) const {
        if (!(c_.objectness[box] > conf_)) return true;
        const int64_t first = c_.multi_label ? 0 : best(box), last = c_.multi_label ? c_.classes : first + 1;
        for (int64_t label = first; label < last; ++label) {
            const float value = product(box, label);
            if (value > conf_ && (!c_.wanted || c_.wanted[label]) &&
                !visitor(key_of(value), box * c_.classes + label))
                return false;
        }
        return true;
    }

    template <class Visitor>
    bool visit_darknet(int64_t box, const Visitor& visitor) const {
        for (int64_t label = 0; label < c_.classes; ++label) {
            const float value = product(box, label);
            if (!std::isfinite(value)) throw Undecided();  // torch's masks turn infinity into NaN
            if (value > conf_ && !visitor(key_of(value), box * c_.classes + label)) return false;
        }
        return true;
    }

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
    std::vector<uint64_t> few_;
    int64_t told_ = 0;
    std::vector<int64_t> bins_;
    int bin_ = BINS;
};

Corners corners_of(const float* box) {
    const double x = box[0], y = box[1], w = box[2], h = box[3];
    return {x - w / 2, y - h / 2, x + w / 2, y + h / 2};
}

int64_t choose(const BoxChoice& c) {
    Candidates candidates(c);
    Kept kept({c.iou, c.exponent}, c.agnostic ? 1 : c.classes);
    std::vector<uint8_t> told(c.is_yolor || c.multi_label ? 0 : c.count);  // boxes with a result
    std::vector<uint64_t> pairs;
    int64_t found = 0;
    for (int64_t least = 4 * c.limit + 64; found < c.limit && candidates.next(least, pairs); least *= 8)
        for (size_t i = 0; i < pairs.size() && found < c.limit; ++i) {
            const int64_t pair = uint32_t(pairs[i]), box = pair / c.classes, label = pair % c.classes;
            if (!kept.take(corners_of(c.boxes + 4 * box), c.agnostic ? 0 : label)) continue;
            if (!told.empty()) {
                if (told[box]) continue;
                told[box] = 1;
            }
            if (!c.is_yolor && c.wanted && !c.wanted[label]) continue;
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
