// The functions that Python calls (binding.py). Nothing throws across this border: a failure is a number.
#include <chrono>
#include <new>

#include "api.hpp"
#include "ops.hpp"
#include "pool.hpp"

#include <sys/syscall.h>
#include <unistd.h>

namespace {

constexpr long REQUEST_STATE = 0x1023, TILE_DATA = 18;  // arch_prctl: ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA

// The kernel lends the matrix registers on request only.
bool may_use_amx() {
    static const bool granted = syscall(SYS_arch_prctl, REQUEST_STATE, TILE_DATA) == 0;
    return granted;
}

bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }

bool has_avx512() {
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
}

bool has_bit(unsigned leaf_part, int reg, int bit) {
    unsigned r[4] = {};
    __asm__("cpuid" : "=a"(r[0]), "=b"(r[1]), "=c"(r[2]), "=d"(r[3]) : "a"(7), "c"(leaf_part));
    return r[reg] >> bit & 1;
}

bool has_avx512_bf16() { return has_avx512() && has_bit(1, 0, 5); }
bool has_amx() { return has_avx512_bf16() && has_bit(0, 3, 24) && has_bit(0, 3, 22) && may_use_amx(); }

Kernel find_kernel(const Table* table, int kind, int type) {
    while (!table->kernels[kind][type]) table = table->base;
    return table->kernels[kind][type];
}

struct Set {
    const Table* table;
    bool (*present)();
};

// From the simplest to the best.
const Set sets[] = {
    {&avx2_table, has_avx2},
    {&avx512_table, has_avx512},
    {&avx512_bf16_table, has_avx512_bf16},
    {&amx_table, has_amx},
};
constexpr int SETS = sizeof sets / sizeof *sets;

}  // namespace

extern "C" {

YC_API int yc_version() { return YC_VERSION; }
YC_API int yc_op_size() { return sizeof(Op); }

// The table number i if this processor has its instructions; null otherwise, and after the last `*name` is null.
YC_API const Table* yc_table(int i, const char** name) {
    *name = i < SETS ? sets[i].table->name : nullptr;
    return i < SETS && sets[i].present() ? sets[i].table : nullptr;
}

YC_API int yc_panel(const Table* table) { return table->panel; }
YC_API int yc_pairs(const Table* table) { return table->pairs; }
YC_API int yc_depth_step(const Table* table) { return table->depth_step; }

YC_API Pool* yc_pool(int threads) {
    try {
        return new Pool(threads);
    } catch (...) {
        return nullptr;
    }
}

YC_API void yc_free_pool(Pool* pool) { delete pool; }

// Runs the operations in order; `seconds`, unless null, gets the time of each. 0, or -1 out of memory.
YC_API int yc_run(const Table* table, Pool* pool, const Op* ops, int count, double* seconds) {
    using clock = std::chrono::steady_clock;
    try {
        for (int i = 0; i < count; ++i) {
            const auto start = clock::now();
            const int type = ops[i].in_type == BFLOAT16;
            find_kernel(table, ops[i].kind, type)(ops[i], *pool);
            if (seconds) seconds[i] = std::chrono::duration<double>(clock::now() - start).count();
        }
        return 0;
    } catch (...) {
        return -1;
    }
}

}  // extern "C"
