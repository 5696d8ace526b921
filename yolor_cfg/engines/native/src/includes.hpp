// What the kernels need of the library, included before any target is set: inline functions of these headers
// are shared with code that runs on every processor.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <vector>

#include <immintrin.h>

#include "ops.hpp"
#include "pool.hpp"

// Functions between YC_TARGET and YC_TARGET_END are compiled for these instructions.
#define YC_TEXT(x) #x
#ifdef __clang__
#define YC_TARGET(features) \
    _Pragma(YC_TEXT(clang attribute push(__attribute__((target(features))), apply_to = function)))
#define YC_TARGET_END _Pragma("clang attribute pop")
#else
#define YC_TARGET(features) _Pragma("GCC push_options") _Pragma(YC_TEXT(GCC target(features)))
#define YC_TARGET_END _Pragma("GCC pop_options")
#endif
