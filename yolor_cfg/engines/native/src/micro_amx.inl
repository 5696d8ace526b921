// The tile of a bfloat16 convolution on the matrix unit (AMX): 32 positions by 32 channels as 2 x 2 tiles of
// 16 x 16 sums. A step multiplies 32 input channels of 16 positions by 32 x 16 weights.
// Registers: 0..3 sums, 4, 5 positions, 6, 7 weights.

struct alignas(64) TileShapes {
    uint8_t palette = 1, start_row = 0, reserved[14] = {};
    uint16_t row_bytes[16] = {};
    uint8_t rows[16] = {};
};

template <>
struct Product<bf16> {
    using Weight = bf16;
    static constexpr int MR = 32;

    // The shapes of the registers belong to the thread: set before its tiles, released after them. Fewer than 32
    // channels make narrower tiles.
    static void begin(int channels) {
        const int pairs = std::min(16, (channels + 1) / 2);
        TileShapes shapes;
        for (int i = 0; i < 8; ++i) {
            shapes.row_bytes[i] = i == 4 || i == 5 ? 4 * pairs : 64;
            shapes.rows[i] = i >= 6 ? pairs : 16;
        }
        _tile_loadconfig(&shapes);
    }
    static void end() { _tile_release(); }

    static void sum(const bf16* in, const Taps& taps, const bf16* weights, int depth, float* sums, int count) {
        if (count > 16)
            sum_double(in, taps, weights, depth, sums);
        else
            sum_single(in, taps, weights, depth, sums);
    }

    // The channels of a tap that tiles may be loaded of directly: the last tile without those that reach beyond.
    static int whole(const Taps& taps, int depth) {
        const bool fits = taps.channels == depth || (depth == 32 && taps.channels % 2 == 0);
        return fits ? depth : depth - 32;
    }

    // 16 positions with `channels` numbers of 32, the others zero, for _tile_loadd with a step of 64 bytes.
    struct Tail {
        alignas(64) bf16 cells[16 * 32];

        Tail(const bf16* a, int64_t step, int channels) {
            const __mmask32 kept = (1u << channels) - 1;
            for (int i = 0; i < 16; ++i) _mm512_store_si512(cells + 32 * i, _mm512_maskz_loadu_epi16(kept, a + i * step));
            __asm__ volatile("" ::: "memory");  // the tile instructions do not tell the compiler that they read
        }
    };

    static void sum_double(const bf16* in, const Taps& taps, const bf16* weights, int depth, float* sums) {
        const int64_t bytes = taps.step * sizeof(bf16), lower = 16 * taps.step;
        const int direct = whole(taps, depth), left = taps.channels - direct;
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
        for (int t = 0; t < taps.count; ++t) {
            const bf16* a = in + taps.offsets[t];
            for (int c = 0; c < direct; c += 32, weights += 32 * NR) {
                _tile_loadd(4, a + c, bytes);
                _tile_loadd(6, weights, 4 * NR);
                _tile_loadd(7, weights + 32, 4 * NR);
                _tile_dpbf16ps(0, 4, 6);
                _tile_dpbf16ps(1, 4, 7);
                _tile_loadd(5, a + lower + c, bytes);
                _tile_dpbf16ps(2, 5, 6);
                _tile_dpbf16ps(3, 5, 7);
            }
            if (direct < depth) {
                const Tail upper(a + direct, taps.step, left), under(a + lower + direct, taps.step, left);
                _tile_loadd(4, upper.cells, 64);
                _tile_loadd(6, weights, 4 * NR);
                _tile_loadd(7, weights + 32, 4 * NR);
                _tile_dpbf16ps(0, 4, 6);
                _tile_dpbf16ps(1, 4, 7);
                _tile_loadd(5, under.cells, 64);
                _tile_dpbf16ps(2, 5, 6);
                _tile_dpbf16ps(3, 5, 7);
                weights += 32 * NR;
            }
        }
        _tile_stored(0, sums, 4 * NR);
        _tile_stored(1, sums + 16, 4 * NR);
        _tile_stored(2, sums + 16 * NR, 4 * NR);
        _tile_stored(3, sums + 16 * NR + 16, 4 * NR);
    }

    static void sum_single(const bf16* in, const Taps& taps, const bf16* weights, int depth, float* sums) {
        const int64_t bytes = taps.step * sizeof(bf16);
        const int direct = whole(taps, depth), left = taps.channels - direct;
        _tile_zero(0);
        _tile_zero(1);
        for (int t = 0; t < taps.count; ++t) {
            const bf16* a = in + taps.offsets[t];
            for (int c = 0; c < direct; c += 32, weights += 32 * NR) {
                _tile_loadd(4, a + c, bytes);
                _tile_loadd(6, weights, 4 * NR);
                _tile_loadd(7, weights + 32, 4 * NR);
                _tile_dpbf16ps(0, 4, 6);
                _tile_dpbf16ps(1, 4, 7);
            }
            if (direct < depth) {
                const Tail upper(a + direct, taps.step, left);
                _tile_loadd(4, upper.cells, 64);
                _tile_loadd(6, weights, 4 * NR);
                _tile_loadd(7, weights + 32, 4 * NR);
                _tile_dpbf16ps(0, 4, 6);
                _tile_dpbf16ps(1, 4, 7);
                weights += 32 * NR;
            }
        }
        _tile_stored(0, sums, 4 * NR);
        _tile_stored(1, sums + 16, 4 * NR);
    }
};
