// Direct convolution. With stride 1 the positions of an image are taken in one flat order along its rows,
// borders included, so that a tile may run over the end of a row; otherwise tiles stay within a row.

constexpr int64_t CACHE = 768 << 10;  // bytes of input that a chunk of tiles may read: well inside of L2
constexpr int64_t SMALL = 256 << 10;  // weights up to here are all used for one tile before the next

constexpr int STRETCH = 256;          // products that are summed at a time in float32

// How the positions of an image divide into tiles of MR.
struct Tiling {
    int64_t pitch, by_row, tiles;
    bool flat;

    Tiling(const Op& op, int mr) {
        const int64_t height = op.out.height, width = op.out.width;
        flat = op.stride_y == 1 && op.stride_x == 1;
        pitch = flat ? op.in.row / op.in.pixel : width;
        by_row = (width + mr - 1) / mr;
        tiles = flat ? ((height - 1) * pitch + width + mr - 1) / mr : height * by_row;
        last_ = flat ? (height - 1) * pitch + width : 0;
    }

    Place place(const Op& op, int mr, int64_t image, int64_t tile) const {
        if (flat) {
            const int64_t first = tile * mr;
            const int count = static_cast<int>(std::min<int64_t>(mr, last_ - first));
            return {image, first / pitch, first % pitch, count, pitch};
        }
        const int64_t x = tile % by_row * mr;
        const int count = static_cast<int>(std::min<int64_t>(mr, op.out.width - x));
        return {image, tile / by_row, x, count, op.out.width + mr};
    }

private:
    int64_t last_;
};

// The offsets of the taps from the position that the first tap of an output has.
template <class S>
Taps find_taps(const Op& op, std::vector<int64_t>& offsets) {
    for (int y = 0; y < op.kernel_y; ++y)
        for (int x = 0; x < op.kernel_x; ++x)
            offsets.push_back(op.dilation * (y * op.in.row + x * op.in.pixel));
    return {offsets.data(), static_cast<int>(offsets.size()), op.stride_x * op.in.pixel, STRETCH, op.channels};
}

template <class S>
const S* first_tap(const Op& op, const Place& at) {
    return pixel_at<S>(op.in, at.image, at.y * op.stride_y - op.pad_y, at.x * op.stride_x - op.pad_x);
}

// How the work divides into units: chunks of tiles, and groups of panels where there are few chunks.
struct Units {
    int64_t chunk, chunks, group, groups;

    Units(int64_t images, int64_t tiles, int64_t tile_bytes, int64_t panels, int threads) {
        const int64_t wanted = 4 * threads;
        chunk = std::max<int64_t>(1, std::min(tiles, CACHE / std::max<int64_t>(1, tile_bytes)));
        chunks = (tiles + chunk - 1) / chunk;
        if (threads == 1) {
            group = panels;
        } else {
            const int64_t split = std::min(panels, (wanted + images * chunks - 1) / (images * chunks));
            group = (panels + split - 1) / split;
            chunk = group < panels ? chunk : std::max<int64_t>(1, std::min(chunk, images * tiles / wanted));
            chunks = (tiles + chunk - 1) / chunk;
        }
        groups = (panels + group - 1) / group;
    }
};

template <class S>
void convolve(const Op& op, Pool& pool) {
    using Multiply = Product<S>;
    using Weight = typename Multiply::Weight;
    constexpr int MR = Multiply::MR;
    std::vector<int64_t> offsets;
    const Taps taps = find_taps<S>(op, offsets);
    const Tiling tiling(op, MR);
    const Finish finish = choose_finish<S>(op);
    const int64_t panels = (op.out.channels + NR - 1) / NR;
    const int64_t panel_size = static_cast<int64_t>(taps.count) * op.depth * NR;
    const int64_t tile_bytes = MR * op.stride_y * op.stride_x * op.depth * static_cast<int64_t>(sizeof(S));
    const Units units(op.in.images, tiling.tiles, tile_bytes, panels, pool.threads());
    const bool tile_first = panels * panel_size * static_cast<int64_t>(sizeof(Weight)) <= SMALL;
    clear_border(op);
    pool.run(op.in.images * units.chunks * units.groups, [&](int64_t unit, int) {
        alignas(64) float sums[MR * NR];
        const int64_t group = unit % units.groups, chunk = unit / units.groups % units.chunks;
        const int64_t image = unit / (units.groups * units.chunks);
        const int64_t first_panel = group * units.group, last_panel = std::min(panels, first_panel + units.group);
        const int64_t first = chunk * units.chunk, last = std::min(tiling.tiles, first + units.chunk);
        const auto compute = [&](int64_t tile, int64_t panel) {
            const Place at = tiling.place(op, MR, image, tile);
            const Weight* weights = static_cast<const Weight*>(op.weights) + panel * panel_size;
            Multiply::sum(first_tap<S>(op, at), taps, weights, op.depth, sums, at.count);
            finish(op, sums, at, static_cast<int>(panel));
        };
        Multiply::begin(op.channels);
        if (tile_first) {
            for (int64_t tile = first; tile < last; ++tile)
                for (int64_t panel = first_panel; panel < last_panel; ++panel) compute(tile, panel);
        } else {
            for (int64_t panel = first_panel; panel < last_panel; ++panel)
                for (int64_t tile = first; tile < last; ++tile) compute(tile, panel);
        }
        Multiply::end();
    });
}
