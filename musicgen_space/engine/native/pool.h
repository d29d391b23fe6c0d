// A few threads that work through a step together.
//
// A step is a row of stages, a stage a number of equal chunks. Every thread runs the same
// program; whoever is free takes the next chunk, and a stage is over when its chunks are
// done, not when all threads have come by. So a thread that lost its core holds up the
// others only with the chunk in its hands, and none if it holds none.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

inline void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Wait until `value` satisfies `done`: spin for some microseconds, then sleep.
template <class Done>
void await(std::atomic<int>& value, Done done) {
  for (int spin = 0; spin < 2000; ++spin) {
    if (done(value.load(std::memory_order_acquire))) return;
    relax();
  }
  for (int seen; !done(seen = value.load(std::memory_order_acquire));) value.wait(seen);
}

class Pool {
 public:
  // What one thread knows while it runs the program.
  class Worker {
   public:
    Worker(Pool& pool, int thread) : thread(thread), pool_(pool) {}

    // Do chunks 0 … count − 1 together with the other threads; back when all are done.
    template <class Chunk>
    void each(int count, Chunk&& chunk) {
      if (pool_.threads_.empty()) {
        for (int index = 0; index < count; ++index) chunk(index);
        return;
      }
      Stage& stage = pool_.stages_[next_++];
      for (int index; (index = stage.taken.fetch_add(1, std::memory_order_relaxed)) < count;) {
        chunk(index);
        if (stage.done.fetch_add(1, std::memory_order_acq_rel) + 1 == count)
          stage.done.notify_all();
      }
      await(stage.done, [&](int done) { return done >= count; });
    }

    const int thread;  // 0 … threads − 1

   private:
    Pool& pool_;
    int next_ = 0;
  };

  // `stages`: the most that one program has.
  Pool(int threads, int stages) : stages_(stages) {
    for (int thread = 1; thread < threads; ++thread)
      threads_.emplace_back([this, thread] { serve(thread); });
  }

  ~Pool() {
    stopping_ = true;
    ++programs_;
    programs_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }

  // Run `program` on all threads, the caller's among them; one program at a time.
  void run(const std::function<void(Worker&)>& program) {
    std::lock_guard<std::mutex> alone(mutex_);
    for (Stage& stage : stages_) {
      stage.taken.store(0, std::memory_order_relaxed);
      stage.done.store(0, std::memory_order_relaxed);
    }
    program_ = &program;
    inside_.store(0, std::memory_order_release);
    ++programs_;
    if (!threads_.empty()) programs_.notify_all();
    Worker worker(*this, 0);
    program(worker);
    // The door closes: who is inside must leave, who was late stays outside.
    inside_.fetch_or(CLOSED, std::memory_order_acq_rel);
    await(inside_, [](int inside) { return inside == CLOSED; });
  }

  int threads() const { return int(threads_.size()) + 1; }

 private:
  struct alignas(64) Stage {
    std::atomic<int> taken{0};
    alignas(64) std::atomic<int> done{0};
  };
  static constexpr int CLOSED = 1 << 30;

  void serve(int thread) {
    for (int seen = 0;;) {
      await(programs_, [&](int now) { return now != seen; });
      seen = programs_.load();
      if (stopping_) return;
      if (!enter()) continue;
      Worker worker(*this, thread);
      (*program_)(worker);
      if (inside_.fetch_sub(1, std::memory_order_acq_rel) - 1 == CLOSED) inside_.notify_all();
    }
  }

  bool enter() {
    int inside = inside_.load(std::memory_order_relaxed);
    do {
      if (inside & CLOSED) return false;
    } while (!inside_.compare_exchange_weak(inside, inside + 1, std::memory_order_acq_rel));
    return true;
  }

  std::vector<Stage> stages_;
  const std::function<void(Worker&)>* program_ = nullptr;
  std::atomic<int> programs_{0};
  std::atomic<int> inside_{CLOSED};
  std::atomic<bool> stopping_{false};
  std::mutex mutex_;
  std::vector<std::thread> threads_;  // last: they use all the others
};
