// Batch norm and the activation after it, forward and backward, as one: what training adds to the library.
// The Python side (norms.py) mirrors the struct field by field.
#pragma once
#include <cstdint>

#include "ops.hpp"

constexpr int FLOAT64 = 2;  // beside the types of maps: proves the arithmetic, and needs no instruction set

// GOMP_parallel of the OpenMP library that torch has loaded: the threads that are there already.
using StartTeam = void (*)(void (*)(void*), void*, unsigned, unsigned);

// Values [rows, channels], adjacent channels. Statistics and parameters are float, with FLOAT64 double.
struct NormOp {
    int32_t type, activation, threads;
    int32_t units;           // of `partial`: count_units(rows, channels)
    int64_t rows, channels;
    int64_t gradient_pixel;  // from a row of `gradient` to the next
    const void* x;
    const void* gradient;    // of the result; forward: null
    void* out;               // the result, or the gradient of x
    const void *weight, *bias;
    void *mean, *inverse_deviation;         // written forward, read backward
    void *running_mean, *running_variance;  // null: not kept
    void *weight_gradient, *bias_gradient;
    void* partial;           // 2 units channels
    double momentum, eps;
    StartTeam start_team;    // null: this thread alone
};

using NormKernel = void (*)(const NormOp&);

// By type: float, bfloat16.
struct NormTable {
    NormKernel forward[2], backward[2];
};

extern const NormTable norm_avx2_table, norm_avx512_table, norm_avx512_bf16_table;
extern const NormKernel norm_double_forward, norm_double_backward;
