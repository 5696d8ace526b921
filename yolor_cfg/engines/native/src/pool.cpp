#include "pool.hpp"

#include <cstdlib>
#include <new>

#include <immintrin.h>

namespace {

constexpr int SPINS = 400;  // pauses before a thread goes to sleep: 10 to 30 microseconds
constexpr size_t LINE = 64;

// Waits a bounded while for a condition; tells whether it came true.
template <class Condition>
bool spin(const Condition& condition) {
    for (int i = 0; i < SPINS; ++i) {
        if (condition()) return true;
        _mm_pause();
    }
    return condition();
}

}  // namespace

Scratch::~Scratch() { std::free(memory_); }

void* Scratch::grow(size_t bytes) {
    if (bytes > size_) {
        std::free(memory_);
        size_ = (bytes + 2 * LINE) / LINE * LINE;
        memory_ = std::aligned_alloc(LINE, size_);
        if (!memory_) {
            size_ = 0;
            throw std::bad_alloc();
        }
    }
    return memory_;
}

Pool::Pool(int threads) : scratch_(new Scratch[2 * threads]) {
    for (int i = 1; i < threads; ++i) workers_.emplace_back([this, i] { work(i); });
}

Pool::~Pool() {
    {
        std::lock_guard<std::mutex> lock(mutex_);
        stop_ = true;
        round_.fetch_add(1);
    }
    wake_.notify_all();
    for (auto& worker : workers_) worker.join();
}

void Pool::run_task(int64_t units, Task task, const void* body) {
    if (workers_.empty() || units < 2) {
        for (int64_t unit = 0; unit < units; ++unit) task(body, unit, 0);
        return;
    }
    {
        std::lock_guard<std::mutex> lock(mutex_);
        task_ = task;
        body_ = body;
        units_ = units;
        next_.store(0);
        open_ = true;
        round_.fetch_add(1, std::memory_order_release);
    }
    wake_.notify_all();
    take_units(0);
    {
        std::lock_guard<std::mutex> lock(mutex_);
        open_ = false;
    }
    if (spin([&] { return active_.load(std::memory_order_acquire) == 0; })) return;
    std::unique_lock<std::mutex> lock(mutex_);
    done_.wait(lock, [&] { return active_.load() == 0; });
}

void Pool::take_units(int thread) {
    for (int64_t unit; (unit = next_.fetch_add(1)) < units_;) task_(body_, unit, thread);
}

void Pool::work(int thread) {
    uint64_t seen = 0;
    for (;;) {
        if (!spin([&] { return round_.load(std::memory_order_acquire) != seen; })) {
            std::unique_lock<std::mutex> lock(mutex_);
            wake_.wait(lock, [&] { return round_.load() != seen; });
        }
        {
            std::lock_guard<std::mutex> lock(mutex_);
            if (stop_) return;
            seen = round_.load();
            if (!open_) continue;
            active_.fetch_add(1);
        }
        take_units(thread);
        if (active_.fetch_sub(1) == 1) {
            std::lock_guard<std::mutex> lock(mutex_);
            done_.notify_one();
        }
    }
}
