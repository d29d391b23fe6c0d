// What this processor can do, and its operating system lets it.
//
// The processor is asked itself, since __builtin_cpu_supports needs a table that a
// compiler's runtime fills, which not every one does.
#pragma once

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#elif defined(__aarch64__) && defined(__APPLE__)
#include <sys/sysctl.h>
#endif

struct Cpu {
  bool avx2 = false;    // with FMA and F16C
  bool avx512 = false;  // F, BW, VL and VNNI
  bool bfloat16 = false;  // its products, in AVX-512
  bool dotprod = false;
};

#if defined(__x86_64__)

// Bits of CPUID leaves 1 and 7 and of XCR0: Intel's Software Developer's Manual, volume 1,
// chapters 14 and 15.
inline Cpu this_cpu() {
  const auto has = [](unsigned bits, unsigned wanted) { return (bits & wanted) == wanted; };
  constexpr unsigned FMA = 1u << 12, OSXSAVE = 1u << 27, F16C = 1u << 29;
  constexpr unsigned AVX2 = 1u << 5, F = 1u << 16, BW = 1u << 30, VL = 1u << 31;
  constexpr unsigned VNNI = 1u << 11, BF16 = 1u << 5;
  constexpr unsigned YMM = 0x06, ZMM = 0xe6;  // registers that the system saves

  unsigned a, b, c1, b7, c7, d, a71 = 0, unused;
  if (!__get_cpuid(1, &a, &b, &c1, &d) || !has(c1, OSXSAVE)) return {};
  if (!__get_cpuid_count(7, 0, &a, &b7, &c7, &d)) return {};
  if (a >= 1) __get_cpuid_count(7, 1, &a71, &b, &unused, &d);
  unsigned saved, upper;
  asm("xgetbv" : "=a"(saved), "=d"(upper) : "c"(0));

  Cpu cpu;
  cpu.avx2 = has(saved, YMM) && has(c1, FMA | F16C) && has(b7, AVX2);
  cpu.avx512 = cpu.avx2 && has(saved, ZMM) && has(b7, F | BW | VL) && has(c7, VNNI);
  cpu.bfloat16 = cpu.avx512 && has(a71, BF16);
  return cpu;
}

#elif defined(__aarch64__) && defined(__linux__)

inline Cpu this_cpu() {
  constexpr unsigned long ASIMDDP = 1ul << 20;  // asm/hwcap.h, where old headers lack it
  Cpu cpu;
  cpu.dotprod = getauxval(AT_HWCAP) & ASIMDDP;
  return cpu;
}

#elif defined(__aarch64__) && defined(__APPLE__)

inline Cpu this_cpu() {
  int found = 0;
  size_t size = sizeof found;
  Cpu cpu;
  cpu.dotprod = !sysctlbyname("hw.optional.arm.FEAT_DotProd", &found, &size, nullptr, 0) && found;
  return cpu;
}

#else

inline Cpu this_cpu() { return {}; }

#endif
