// Threads that share the units of an operation. They sleep on a condition variable; before that they look for
// work for a bounded while (some tens of microseconds), so that short layers in a row do not pay for waking.
// A thread that wakes up late (the machine is busy) is not waited for: the others do its share.
#pragma once
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <cstddef>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

// Aligned memory that grows and is kept.
class Scratch {
public:
    Scratch() = default;
    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;
    ~Scratch();
    // At least so many bytes, aligned to a cache line; what was there is lost.
    void* grow(size_t bytes);

private:
    void* memory_ = nullptr;
    size_t size_ = 0;
};

class Pool {
public:
    explicit Pool(int threads);
    ~Pool();
    Pool(const Pool&) = delete;
    Pool& operator=(const Pool&) = delete;

    int threads() const { return static_cast<int>(workers_.size()) + 1; }

    // Calls body(unit, thread) for each unit in 0..units-1, on all threads; returns when all are done.
    template <class Body>
    void run(int64_t units, const Body& body) {
        run_task(units, [](const void* b, int64_t unit, int thread) {
            (*static_cast<const Body*>(b))(unit, thread);
        }, &body);
    }

    // The memory of a thread for the operation at hand; two slots.
    Scratch& scratch(int thread, int slot) { return scratch_[2 * thread + slot]; }
    // Memory of all threads together; two slots.
    Scratch& shared(int slot) { return shared_[slot]; }

private:
    using Task = void (*)(const void*, int64_t, int);
    void run_task(int64_t units, Task task, const void* body);
    void work(int thread);
    void take_units(int thread);

    std::vector<std::thread> workers_;
    std::unique_ptr<Scratch[]> scratch_;
    Scratch shared_[2];
    std::mutex mutex_;
    std::condition_variable wake_, done_;
    std::atomic<int64_t> next_{0};
    std::atomic<uint64_t> round_{0};  // rises with each call of run
    std::atomic<int> active_{0};      // workers that take units of the round
    bool open_ = false;               // whether a worker that wakes up may still join the round
    bool stop_ = false;
    Task task_ = nullptr;
    const void* body_ = nullptr;
    int64_t units_ = 0;
};
