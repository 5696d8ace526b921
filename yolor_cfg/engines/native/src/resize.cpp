// C Darknet's resize_image on a uint8 image, with the results of images/preprocess.py bit by bit: a row of the
// image is first resized across, v / 255 * (1 - dx) + w / 255 * dx in float32, then two such rows down.
#include <cstdint>
#include <vector>

#include "api.hpp"
#include "exact.hpp"

namespace {

// A position between two pixels or rows: the first, the second, and how far it is from the first.
struct Taps {
    const int64_t *before, *after;
    const float* part;
};

// Plane by plane, [channels][width], the row of an image whose pixels have `channels` values; CHANNELS is their
// number where the compiler knows it, else 0.
template <int CHANNELS>
void resize_across(const uint8_t* row, const Taps& taps, int64_t width, int64_t channels, const float* unit,
                   float* out) {
    const int64_t count = CHANNELS ? CHANNELS : channels;
    for (int64_t x = 0; x < width; ++x) {
        const float part = taps.part[x], rest = 1 - part;
        const uint8_t *before = row + taps.before[x] * count, *after = row + taps.after[x] * count;
        for (int64_t c = 0; c < count; ++c) out[c * width + x] = unit[before[c]] * rest + unit[after[c]] * part;
    }
}

// out = above * (1 - part) + below * part.
void mix_rows(const float* above, const float* below, float part, int64_t count, float* out) {
    const float rest = 1 - part;
    for (int64_t i = 0; i < count; ++i) out[i] = above[i] * rest + below[i] * part;
}

// Rows that were resized across, the last two of them kept.
class Rows {
public:
    Rows(int64_t size) : memory_(2 * size), size_(size) {}

    template <class Make>
    const float* get(int64_t number, int64_t other, const Make& make) {
        for (int slot = 0; slot < 2; ++slot)
            if (number_[slot] == number) return data(slot);
        const int slot = number_[0] == other ? 1 : 0;
        number_[slot] = number;
        make(data(slot));
        return data(slot);
    }

private:
    float* data(int slot) { return memory_.data() + slot * size_; }

    std::vector<float> memory_;
    int64_t size_;
    int64_t number_[2] = {-1, -1};
};

}  // namespace

extern "C" {

// image [*, row / channels, channels] -> out, planes of `plane` floats with rows of `pitch`, at [channels, height,
// width]; the taps of rows and columns come from the caller. 0, or -1 out of memory.
YC_API int yc_resize_darknet(const uint8_t* image, int64_t row, int64_t channels, const int64_t* top,
                             const int64_t* bottom, const float* down, int64_t height, const int64_t* left,
                             const int64_t* right, const float* across, int64_t width, float* out, int64_t plane,
                             int64_t pitch) {
    try {
        float unit[256];
        for (int i = 0; i < 256; ++i) unit[i] = float(i) / 255.0f;
        const Taps taps{left, right, across};
        Rows rows(channels * width);
        const auto get = [&](int64_t number, int64_t other) {
            return rows.get(number, other, [&](float* made) {
                const auto way = channels == 3 ? resize_across<3> : resize_across<0>;
                way(image + number * row, taps, width, channels, unit, made);
            });
        };
        for (int64_t y = 0; y < height; ++y) {
            const float* above = get(top[y], bottom[y]);
            const float* below = get(bottom[y], top[y]);
            for (int64_t c = 0; c < channels; ++c)
                mix_rows(above + c * width, below + c * width, down[y], width, out + c * plane + y * pitch);
        }
        return 0;
    } catch (...) {
        return -1;
    }
}

}  // extern "C"
