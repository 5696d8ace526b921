// What a plan consists of: views of maps and operations on them. The Python side (binding.py) mirrors both
// structs field by field; YC_VERSION changes with them.
#pragma once
#include <cstdint>

constexpr int YC_VERSION = 3;

// A bfloat16 number: the upper half of a float.
struct bf16 {
    uint16_t bits;
};

enum Type : int32_t { FLOAT32 = 0, BFLOAT16 = 1 };

enum Kind : int32_t {
    CONVOLVE = 0,   // dense convolution of any kernel, stride and dilation
    WINOGRAD = 1,   // 3x3 convolution of stride 1 and padding 1 by Winograd's minimal filtering
    DEPTHWISE = 2,  // one filter per channel
    MAX_POOL = 3,
    UPSAMPLE = 4,  // nearest; sy, sx are the factors
    ADD = 5,       // in + extra
    COPY = 6,
    IMAGE = 7,  // planes [N, C, H, W] float32 into a map with its channels last
    KINDS = 8
};

enum Activation : int32_t {
    LINEAR = 0,
    RELU = 1,
    LEAKY = 2,
    SILU = 3,
    MISH = 4,
    LOGISTIC = 5,
    RELU6 = 6,
    HARD_SWISH = 7,
    ACTIVATIONS = 8
};

// A map with its channels last. `data` is its first pixel inside the border; strides count elements, and the
// channels of a pixel are adjacent. `border` pixels of zeros lie around the map, for the padding of readers.
struct View {
    void* data;
    int64_t images, height, width, channels;
    int64_t image, row, pixel;
    int64_t border;
};

// One operation. `extra` is the residual of a convolution or the second addend (data is null without one).
// `out` = second(activation(conv(in) + bias) + extra).
struct Op {
    int32_t kind, in_type, out_type, activation, second;
    int32_t kernel_y, kernel_x, stride_y, stride_x, pad_y, pad_x, dilation;
    int32_t depth;     // numbers by tap of the packed weights: `channels`, rounded up
    int32_t channels;  // numbers by tap of the input; what lies behind them may be anything
    int32_t tile;      // WINOGRAD: rows and columns of outputs by tile, 2 or 4
    View in, out, extra;
    const void* weights;
    const float* bias;  // one per channel of `out`, rounded up to whole panels
};

class Pool;
using Kernel = void (*)(const Op&, Pool&);

// The kernels of one instruction set, by kind and type of the input. MR positions by NR channels are computed
// at a time; the weights are packed in panels of `panel` channels. Kernels that are null are those of `base`, a
// simpler set with the same panels. A NEON table would stand beside the others.
struct Table {
    const char* name;
    const Table* base;
    Kernel kernels[KINDS][2];
    int32_t panel;       // NR
    int32_t pairs;       // bf16 weights: 2 = pairs of input channels adjacent, as bf16; 1 = float32 weights
    int32_t depth_step;  // input channels of bf16 weights are padded to a multiple of this
};

extern const Table avx2_table, avx512_table, avx512_bf16_table, amx_table;
