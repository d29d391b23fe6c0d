// Callers that share a pool, for ThreadSanitizer: each runs programs of several stages, in
// which threads read what others wrote in the stage before. Ends with 1 where a sum is wrong.

#include <cstdio>
#include <cstdlib>

#include "pool.h"

namespace {

constexpr int STAGES = 5, CHUNKS = 7;

// Every stage adds up what the one before it has written, all of it.
long program_of(Pool& pool, bool paced, int size) {
  long numbers[STAGES][CHUNKS];
  const auto program = [&](Pool::Worker& worker) {
    for (int stage = 0; stage < STAGES; ++stage)
      worker.each(size, [&](int chunk) {
        long sum = 1;
        for (int before = 0; stage && before < size; ++before) sum += numbers[stage - 1][before];
        numbers[stage][chunk] = sum;
      });
  };
  paced ? pool.run_paced(size, program) : pool.run(program);
  long sum = 0;
  for (int chunk = 0; chunk < size; ++chunk) sum += numbers[STAGES - 1][chunk];
  return sum;
}

long expected(int size) {
  long one = 1;
  for (int stage = 1; stage < STAGES; ++stage) one = 1 + size * one;
  return size * one;
}

}  // namespace

int main(int, char** arguments) {
  const int pools = std::atoi(arguments[1]), programs = std::atoi(arguments[2]);
  std::atomic<int> wrong{0};
  for (int index = 0; index < pools; ++index) {
    Pool pool(1 + index % 4, STAGES);
    std::vector<std::thread> callers;
    for (int caller = 0; caller < 3; ++caller)
      callers.emplace_back([&, caller] {
        for (int number = 0; number < programs; ++number) {
          const int size = 1 + (number + caller) % CHUNKS;
          wrong += program_of(pool, caller % 2, size) != expected(size);
          // Sometimes the threads are asleep by the next one, and sometimes still spinning.
          if (number % 16 == caller) std::this_thread::sleep_for(std::chrono::microseconds(200));
        }
      });
    for (std::thread& caller : callers) caller.join();
  }
  std::printf("%d wrong\n", wrong.load());
  return wrong != 0;
}
