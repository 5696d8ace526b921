// The functions of training that Python calls (norms.py).
#include "train.hpp"

#define YC_API __attribute__((visibility("default")))

namespace {

bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }

bool has_avx512() {
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
}

struct Set {
    const char* name;
    const NormTable* table;
    bool present;
};

constexpr int SETS = 3;

// From the simplest to the best.
const Set* sets() {
    static const Set found[SETS] = {
        {"avx2", &norm_avx2_table, has_avx2()},
        {"avx512", &norm_avx512_table, has_avx512()},
        {"avx512-bf16", &norm_avx512_bf16_table, has_avx512() && __builtin_cpu_supports("avx512bf16")},
    };
    return found;
}

}  // namespace

extern "C" {

YC_API int yc_norm_size() { return sizeof(NormOp); }

// The table number i if this processor has its instructions; null otherwise, and after the last `*name` is null.
YC_API const NormTable* yc_norm_table(int i, const char** name) {
    *name = i < SETS ? sets()[i].name : nullptr;
    return i < SETS && sets()[i].present ? sets()[i].table : nullptr;
}

YC_API void yc_norm_forward(const NormTable* table, const NormOp* op) {
    (op->type == FLOAT64 ? norm_double_forward : table->forward[op->type])(*op);
}

YC_API void yc_norm_backward(const NormTable* table, const NormOp* op) {
    (op->type == FLOAT64 ? norm_double_backward : table->backward[op->type])(*op);
}

}  // extern "C"
