// Batch norm with its activation, for one instruction set. The rows are cut into units that do not depend on the
// number of threads; each leaves partial sums, which are added in order and in double: results are the same
// for any number of threads. A file that includes this has opened its namespace, set its target, included its
// vectors, and defined `exponential`, `less` and `Number`, the type of parameters.

template <int A>
inline Vec activated(Vec z) {
    switch (A) {
        case RELU:
            return less(z, zero(), zero(), z);  // NaN stays NaN
        case LEAKY:
            return less(z, zero(), mul(z, set1(.1)), z);
        case SILU:
            return div(z, add(set1(1), exponential(sub(zero(), z))));
        case MISH: {
            const Vec e = exponential(min(z, set1(20)));
            const Vec n = mul(e, add(e, set1(2)));
            return mul(z, div(n, add(n, set1(2))));
        }
        default:
            return z;
    }
}

// The derivative of the activation at z.
template <int A>
inline Vec slope(Vec z) {
    switch (A) {
        case RELU:
            return less(zero(), z, set1(1), zero());
        case LEAKY:
            return less(zero(), z, set1(1), set1(.1));
        case SILU: {
            const Vec s = div(set1(1), add(set1(1), exponential(sub(zero(), z))));
            return mul(s, fma(z, sub(set1(1), s), set1(1)));
        }
        case MISH: {  // n / (n + 2) + 4 z e (e + 1) / (n + 2)^2; above 20 it is 1
            const Vec low = min(z, set1(20)), e = exponential(low);
            const Vec n = mul(e, add(e, set1(2))), r = div(set1(1), add(n, set1(2)));
            return mul(r, fma(mul(mul(set1(4), low), mul(e, add(e, set1(1)))), r, n));
        }
        default:
            return set1(1);
    }
}

struct Unit {
    int64_t first, last;
    Unit(const NormOp& op, int64_t unit)
        : first(op.rows * unit / op.units), last(op.rows * (unit + 1) / op.units) {}
};

template <class Body>
struct Round {
    const Body* body;
    int64_t units;
    std::atomic<int64_t> next{0};
    static void work(void* data) {
        Round& round = *static_cast<Round*>(data);
        for (int64_t unit; (unit = round.next++) < round.units;) (*round.body)(unit);
    }
};

template <class Body>
void share(const NormOp& op, const Body& body) {
    Round<Body> round{&body, op.units};
    if (op.start_team && op.threads > 1 && op.units > 1)
        op.start_team(Round<Body>::work, &round, op.threads, 0);
    else
        Round<Body>::work(&round);
}

// Calls body(channel, load, store) for groups of LANES channels; the last may be smaller.
template <class Body>
inline void for_channels(int64_t channels, const Body& body) {
    int64_t c = 0;
    for (; c + LANES <= channels; c += LANES)
        body(
            c, [](const auto* p) { return load(p); }, [](auto* p, Vec v) { store(p, v); });
    if (c == channels) return;
    const int rest = static_cast<int>(channels - c);
    body(
        c, [rest](const auto* p) { return load_part(p, rest); },
        [rest](auto* p, Vec v) { store_part(p, v, rest); });
}

// The mean of each channel in a unit, and the sum of squares around it.
template <class T>
void measure(const NormOp& op, int64_t number) {
    const Unit unit(op, number);
    const int64_t channels = op.channels;
    const T* x = static_cast<const T*>(op.x);
    Number* partial = static_cast<Number*>(op.partial) + 2 * number * channels;
    for_channels(channels, [&](int64_t c, auto get, auto put) {
        Vec sums[4] = {zero(), zero(), zero(), zero()};
        int64_t row = unit.first;
        for (; row + 4 <= unit.last; row += 4)
            for (int i = 0; i < 4; ++i) sums[i] = add(sums[i], get(x + (row + i) * channels + c));
        for (; row < unit.last; ++row) sums[0] = add(sums[0], get(x + row * channels + c));
        const Vec count = set1(static_cast<Number>(unit.last - unit.first));
        const Vec mean = div(add(add(sums[0], sums[1]), add(sums[2], sums[3])), count);
        for (Vec& sum : sums) sum = zero();
        for (row = unit.first; row + 4 <= unit.last; row += 4)
            for (int i = 0; i < 4; ++i) {
                const Vec far = sub(get(x + (row + i) * channels + c), mean);
                sums[i] = fma(far, far, sums[i]);
            }
        for (; row < unit.last; ++row) {
            const Vec far = sub(get(x + row * channels + c), mean);
            sums[0] = fma(far, far, sums[0]);
        }
        put(partial + c, mean);
        put(partial + channels + c, add(add(sums[0], sums[1]), add(sums[2], sums[3])));
    });
}

// The means and inverse deviations of all rows, and the running statistics.
inline void join_statistics(const NormOp& op) {
    const Number* partial = static_cast<const Number*>(op.partial);
    Number *mean = static_cast<Number*>(op.mean), *inverse = static_cast<Number*>(op.inverse_deviation);
    Number* running_mean = static_cast<Number*>(op.running_mean);
    Number* running_variance = static_cast<Number*>(op.running_variance);
    for (int64_t c = 0; c < op.channels; ++c) {
        double sum = 0, squares = 0;
        for (int64_t u = 0; u < op.units; ++u) {
            const Unit unit(op, u);
            sum += static_cast<double>(unit.last - unit.first) * partial[2 * u * op.channels + c];
        }
        const double middle = sum / op.rows;
        for (int64_t u = 0; u < op.units; ++u) {
            const Unit unit(op, u);
            const double far = partial[2 * u * op.channels + c] - middle;
            squares += partial[(2 * u + 1) * op.channels + c] + (unit.last - unit.first) * far * far;
        }
        mean[c] = static_cast<Number>(middle);
        inverse[c] = static_cast<Number>(1 / std::sqrt(squares / op.rows + op.eps));
        if (!running_mean) continue;
        const double unbiased = squares / std::max<int64_t>(op.rows - 1, 1);
        running_mean[c] = static_cast<Number>(running_mean[c] + op.momentum * (middle - running_mean[c]));
        running_variance[c] =
            static_cast<Number>(running_variance[c] + op.momentum * (unbiased - running_variance[c]));
    }
}

template <class T, int A>
void write_result(const NormOp& op, int64_t number) {
    const Unit unit(op, number);
    const int64_t channels = op.channels;
    const T* x = static_cast<const T*>(op.x);
    T* out = static_cast<T*>(op.out);
    for_channels(channels, [&](int64_t c, auto get, auto put) {
        const Vec mean = get(static_cast<const Number*>(op.mean) + c);
        const Vec weight = get(static_cast<const Number*>(op.weight) + c);
        const Vec scale = mul(weight, get(static_cast<const Number*>(op.inverse_deviation) + c));
        const Vec bias = get(static_cast<const Number*>(op.bias) + c);
        for (int64_t row = unit.first; row < unit.last; ++row) {
            const Vec z = fma(sub(get(x + row * channels + c), mean), scale, bias);
            put(out + row * channels + c, activated<A>(z));
        }
    });
}

// The sums over a unit of dz and of dz times the normalized x.
template <class T, int A>
void sum_gradients(const NormOp& op, int64_t number) {
    const Unit unit(op, number);
    const int64_t channels = op.channels;
    const T *x = static_cast<const T*>(op.x), *gradient = static_cast<const T*>(op.gradient);
    Number* partial = static_cast<Number*>(op.partial) + 2 * number * channels;
    for_channels(channels, [&](int64_t c, auto get, auto put) {
        const Vec mean = get(static_cast<const Number*>(op.mean) + c);
        const Vec inverse = get(static_cast<const Number*>(op.inverse_deviation) + c);
        const Vec weight = get(static_cast<const Number*>(op.weight) + c);
        const Vec bias = get(static_cast<const Number*>(op.bias) + c);
        Vec plain[2] = {zero(), zero()}, scaled[2] = {zero(), zero()};
        const auto take = [&](int64_t row, int i) {
            const Vec normal = mul(sub(get(x + row * channels + c), mean), inverse);
            const Vec dz = mul(get(gradient + row * op.gradient_pixel + c), slope<A>(fma(normal, weight, bias)));
            plain[i] = add(plain[i], dz);
            scaled[i] = fma(dz, normal, scaled[i]);
        };
        int64_t row = unit.first;
        for (; row + 2 <= unit.last; row += 2) {
            take(row, 0);
            take(row + 1, 1);
        }
        if (row < unit.last) take(row, 0);
        put(partial + c, add(plain[0], plain[1]));
        put(partial + channels + c, add(scaled[0], scaled[1]));
    });
}

inline void join_gradients(const NormOp& op) {
    const Number* partial = static_cast<const Number*>(op.partial);
    for (int64_t c = 0; c < op.channels; ++c) {
        double plain = 0, scaled = 0;
        for (int64_t u = 0; u < op.units; ++u) {
            plain += partial[2 * u * op.channels + c];
            scaled += partial[(2 * u + 1) * op.channels + c];
        }
        static_cast<Number*>(op.bias_gradient)[c] = static_cast<Number>(plain);
        static_cast<Number*>(op.weight_gradient)[c] = static_cast<Number>(scaled);
    }
}

// dx = weight / deviation (dz - mean of dz - normalized x times the mean of dz times it).
template <class T, int A>
void write_gradient(const NormOp& op, int64_t number) {
    const Unit unit(op, number);
    const int64_t channels = op.channels;
    const T *x = static_cast<const T*>(op.x), *gradient = static_cast<const T*>(op.gradient);
    T* out = static_cast<T*>(op.out);
    const Vec share_of_row = set1(static_cast<Number>(1) / op.rows);
    for_channels(channels, [&](int64_t c, auto get, auto put) {
        const Vec mean = get(static_cast<const Number*>(op.mean) + c);
        const Vec inverse = get(static_cast<const Number*>(op.inverse_deviation) + c);
        const Vec weight = get(static_cast<const Number*>(op.weight) + c);
        const Vec bias = get(static_cast<const Number*>(op.bias) + c);
        const Vec plain = mul(share_of_row, get(static_cast<const Number*>(op.bias_gradient) + c));
        const Vec scaled = mul(share_of_row, get(static_cast<const Number*>(op.weight_gradient) + c));
        const Vec scale = mul(weight, inverse);
        for (int64_t row = unit.first; row < unit.last; ++row) {
            const Vec normal = mul(sub(get(x + row * channels + c), mean), inverse);
            const Vec dz = mul(get(gradient + row * op.gradient_pixel + c), slope<A>(fma(normal, weight, bias)));
            put(out + row * channels + c, mul(scale, sub(sub(dz, plain), mul(normal, scaled))));
        }
    });
}

template <class T, int A>
void norm_forward_as(const NormOp& op) {
    share(op, [&](int64_t unit) { measure<T>(op, unit); });
    join_statistics(op);
    share(op, [&](int64_t unit) { write_result<T, A>(op, unit); });
}

template <class T, int A>
void norm_backward_as(const NormOp& op) {
    share(op, [&](int64_t unit) { sum_gradients<T, A>(op, unit); });
    join_gradients(op);
    share(op, [&](int64_t unit) { write_gradient<T, A>(op, unit); });
}

template <class T>
void norm_forward(const NormOp& op) {
    switch (op.activation) {
        case RELU:
            return norm_forward_as<T, RELU>(op);
        case LEAKY:
            return norm_forward_as<T, LEAKY>(op);
        case SILU:
            return norm_forward_as<T, SILU>(op);
        case MISH:
            return norm_forward_as<T, MISH>(op);
        default:
            return norm_forward_as<T, LINEAR>(op);
    }
}

template <class T>
void norm_backward(const NormOp& op) {
    switch (op.activation) {
        case RELU:
            return norm_backward_as<T, RELU>(op);
        case LEAKY:
            return norm_backward_as<T, LEAKY>(op);
        case SILU:
            return norm_backward_as<T, SILU>(op);
        case MISH:
            return norm_backward_as<T, MISH>(op);
        default:
            return norm_backward_as<T, LINEAR>(op);
    }
}
