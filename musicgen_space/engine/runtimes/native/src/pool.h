// A few threads that work through a step together.
//
// A step is a row of stages, a stage a number of equal chunks. Every thread runs the same
// program; whoever is free takes the next chunk, and a stage is over when its chunks are
// done, not when all threads have come by. So a thread that lost its core holds up the
// others only with the chunk in its hands, and none if it holds none.
#pragma once

#include <atomic>
#include <chrono>
#include <exception>
#include <functional>
#include <map>
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

// Whether to share a step or not, by what was faster lately. Where other programs want the
// cores too, threads that wait for each other can be slower than a single one.
class Pace {
 public:
  bool shared() const {
    const bool shared = seconds_[true] <= seconds_[false];
    return steps_ % PROBE == PROBE - 1 ? !shared : shared;
  }
  void took(bool shared, double seconds) {
    double& known = seconds_[shared];
    known = known == 0 ? seconds : (known + seconds) / 2;
    ++steps_;
  }

 private:
  static constexpr int PROBE = 32;  // every so many steps the other way is tried
  double seconds_[2] = {0, 0};      // alone, shared
  int steps_ = 0;
};

class Pool {
 public:
  // What one thread knows while it runs the program.
  class Worker {
   public:
    Worker(Pool& pool, int thread, bool alone) : thread(thread), pool_(pool), alone_(alone) {}

    // Do chunks 0 … count − 1 together with the other threads; back when all are done.
    template <class Chunk>
    void each(int count, Chunk&& chunk) {
      if (alone_) {
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
    const bool alone_;
    int next_ = 0;
  };

  // `stages`: the most that one program has. Where a thread can't be started, fewer do as well.
  Pool(int threads, int stages) : stages_(stages) {
    try {
      for (int thread = 1; thread < threads; ++thread)
        threads_.emplace_back([this, thread] { serve(thread); });
    } catch (const std::exception&) {  // a limit on processes, or no room for another stack
    }
  }

  ~Pool() {
    stopping_ = true;
    ++programs_;
    programs_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }

  // Run `program` on all threads, the caller's among them; one program at a time.
  void run(const std::function<void(Worker&)>& program) {
    std::lock_guard<std::mutex> one(mutex_);
    run_shared(program);
  }

  // Run a `program` in the faster of the two ways; those of one `size` have about as much to do.
  void run_paced(int size, const std::function<void(Worker&)>& program) {
    std::lock_guard<std::mutex> one(mutex_);
    Pace& pace = paces_[size];
    const bool shared = pace.shared();
    const auto start = std::chrono::steady_clock::now();
    shared ? run_shared(program) : run_alone(program);
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    pace.took(shared, took.count());
  }

  int threads() const { return int(threads_.size()) + 1; }

 private:
  struct alignas(64) Stage {
    std::atomic<int> taken{0};
    alignas(64) std::atomic<int> done{0};
  };
  static constexpr int CLOSED = 1 << 30;

  void run_alone(const std::function<void(Worker&)>& program) {
    Worker worker(*this, 0, true);
    program(worker);
  }

  void run_shared(const std::function<void(Worker&)>& program) {
    if (threads_.empty()) return run_alone(program);
    for (Stage& stage : stages_) {
      stage.taken.store(0, std::memory_order_relaxed);
      stage.done.store(0, std::memory_order_relaxed);
    }
    program_ = &program;
    inside_.store(0, std::memory_order_release);
    ++programs_;
    programs_.notify_all();
    Worker worker(*this, 0, false);
    program(worker);
    // The door closes: who is inside must leave, who was late stays outside.
    inside_.fetch_or(CLOSED, std::memory_order_acq_rel);
    await(inside_, [](int inside) { return inside == CLOSED; });
  }

  void serve(int thread) {
    for (int seen = 0;;) {
      await(programs_, [&](int now) { return now != seen; });
      seen = programs_.load();
      if (stopping_) return;
      if (!enter()) continue;
      Worker worker(*this, thread, false);
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
  std::map<int, Pace> paces_;  // by size
  std::vector<std::thread> threads_;  // last: they use all the others
};
