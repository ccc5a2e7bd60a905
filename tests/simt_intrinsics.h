// CUDA's device functions on the CPU. Add what a kernel needs; each does what the CUDA manual says.
#pragma once

#define SIMT_VECTOR(type, name)                                  \
  struct alignas(2 * sizeof(type)) name##2 { type x, y; };       \
  struct alignas(16) name##4 { type x, y, z, w; };               \
  inline name##2 make_##name##2(type x, type y) { return {x, y}; } \
  inline name##4 make_##name##4(type x, type y, type z, type w) { return {x, y, z, w}; }
SIMT_VECTOR(float, float)
SIMT_VECTOR(unsigned, uint)
SIMT_VECTOR(int, int)
SIMT_VECTOR(double, double)
SIMT_VECTOR(unsigned long long, ulonglong)

// ---- barriers and fences
inline void __syncthreads(SIMT_PLACE) { simt::barrier(false, simt::COUNT, at); }
inline int __syncthreads_count(int p, SIMT_PLACE) { return simt::barrier(p != 0, simt::COUNT, at); }
inline int __syncthreads_or(int p, SIMT_PLACE) { return simt::barrier(p != 0, simt::OR, at); }
inline int __syncthreads_and(int p, SIMT_PLACE) { return simt::barrier(p != 0, simt::AND, at); }
inline void __syncwarp(unsigned mask = ~0u, SIMT_PLACE) { simt::exchange(mask, 0, at); }
inline void __threadfence() {}
inline void __threadfence_block() {}

// ---- warp intrinsics
namespace simt {
template <class T>
uint64_t bits(T value) {
  static_assert(sizeof(T) <= 8 && std::is_trivially_copyable_v<T>);
  uint64_t u = 0;
  memcpy(&u, &value, sizeof value);
  return u;
}
inline unsigned lane() { return unsigned(state->now->lane); }
template <class T>
SIMT_RUNTIME T shuffle(unsigned mask, T value, unsigned source, Place at) {
  const uint64_t* all = exchange(mask, bits(value), at);
  T found;
  memcpy(&found, all + source, sizeof found);
  return found;
}
// f(value of a lane, its bit) for every live lane of the mask
template <class T, class F>
SIMT_RUNTIME void each_lane(unsigned mask, T value, Place at, F f) {
  const unsigned live = mask & ~state->warps[state->now->id >> 5].exited;
  const uint64_t* all = exchange(mask, bits(value), at);
  for (unsigned m = live; m; m &= m - 1) {
    T other;
    memcpy(&other, all + std::countr_zero(m), sizeof other);
    f(other, m & -m);
  }
}
}  // namespace simt

template <class T>
T __shfl_sync(unsigned mask, T v, int source, int width = 32, SIMT_PLACE) {
  return simt::shuffle(mask, v, (simt::lane() & ~(width - 1)) | (source & (width - 1)), at);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T v, int x, int width = 32, SIMT_PLACE) {
  const unsigned lane = simt::lane(), source = lane ^ x;
  return simt::shuffle(mask, v, source < ((lane & ~(width - 1)) + width) ? source : lane, at);
}
template <class T>
T __shfl_down_sync(unsigned mask, T v, unsigned by, int width = 32, SIMT_PLACE) {
  const unsigned lane = simt::lane();
  return simt::shuffle(mask, v, (lane & (width - 1)) + by < unsigned(width) ? lane + by : lane, at);
}
template <class T>
T __shfl_up_sync(unsigned mask, T v, unsigned by, int width = 32, SIMT_PLACE) {
  const unsigned lane = simt::lane();
  return simt::shuffle(mask, v, (lane & (width - 1)) >= by ? lane - by : lane, at);
}
inline unsigned __ballot_sync(unsigned mask, int p, SIMT_PLACE) {
  unsigned found = 0;
  simt::each_lane(mask, int(p != 0), at, [&](int v, unsigned bit) { found |= v ? bit : 0; });
  return found;
}
inline int __any_sync(unsigned mask, int p, SIMT_PLACE) {
  int found = 0;
  simt::each_lane(mask, int(p != 0), at, [&](int v, unsigned) { found |= v; });
  return found;
}
inline int __all_sync(unsigned mask, int p, SIMT_PLACE) {
  int found = 1;
  simt::each_lane(mask, int(p != 0), at, [&](int v, unsigned) { found &= v; });
  return found;
}
template <class T>
unsigned __match_any_sync(unsigned mask, T mine, SIMT_PLACE) {
  unsigned found = 0;
  simt::each_lane(mask, mine, at, [&](T v, unsigned bit) { found |= v == mine ? bit : 0; });
  return found;
}
#define SIMT_REDUCE(name, first, combine)                                                    \
  template <class T>                                                                         \
  T __reduce_##name##_sync(unsigned mask, T mine, SIMT_PLACE) {                              \
    static_assert(sizeof(T) == 4 && std::is_integral_v<T>);                                  \
    T all = first;                                                                           \
    simt::each_lane(mask, mine, at, [&](T v, unsigned) { all = T(combine); });               \
    return all;                                                                              \
  }
SIMT_REDUCE(add, 0, all + v)
SIMT_REDUCE(max, mine, std::max(all, v))
SIMT_REDUCE(min, mine, std::min(all, v))
SIMT_REDUCE(or, 0, all | v)
SIMT_REDUCE(and, ~T(0), all & v)

// ---- atomics: one thread runs at a time, so plain arithmetic is atomic
#define SIMT_ATOMIC(name, expression)                                   \
  template <class T>                                                    \
  SIMT_RUNTIME T name(T* p, std::type_identity_t<T> v) {                \
    simt::note_atomic(p, sizeof(T));                                    \
    const T old = *p;                                                   \
    *p = T(expression);                                                 \
    return old;                                                         \
  }
SIMT_ATOMIC(atomicAdd, old + v)
SIMT_ATOMIC(atomicSub, old - v)
SIMT_ATOMIC(atomicMax, std::max(old, v))
SIMT_ATOMIC(atomicMin, std::min(old, v))
SIMT_ATOMIC(atomicOr, old | v)
SIMT_ATOMIC(atomicAnd, old & v)
SIMT_ATOMIC(atomicXor, old ^ v)
SIMT_ATOMIC(atomicExch, v)
template <class T>
SIMT_RUNTIME T atomicCAS(T* p, std::type_identity_t<T> expected, std::type_identity_t<T> v) {
  simt::note_atomic(p, sizeof(T));
  const T old = *p;
  if (old == expected) *p = v;
  return old;
}

// ---- loads that differ in caching only
template <class T> T __ldg(const T* p) { return *p; }
template <class T> T __ldcs(const T* p) { return *p; }
template <class T> T __ldcg(const T* p) { return *p; }
template <class T> void __stcs(T* p, std::type_identity_t<T> v) { *p = v; }

// ---- bits
inline int __popc(unsigned v) { return std::popcount(v); }
inline unsigned __vmaxu2(unsigned a, unsigned b) {
  return std::max(a & 0xffff0000u, b & 0xffff0000u) | std::max(a & 0xffffu, b & 0xffffu);
}
inline unsigned __vminu2(unsigned a, unsigned b) {
  return std::min(a & 0xffff0000u, b & 0xffff0000u) | std::min(a & 0xffffu, b & 0xffffu);
}
inline int __popcll(unsigned long long v) { return std::popcount(v); }
inline int __clz(int v) { return std::countl_zero(unsigned(v)); }
inline int __clzll(long long v) { return std::countl_zero(static_cast<unsigned long long>(v)); }
inline int __ffs(int v) { return v ? std::countr_zero(unsigned(v)) + 1 : 0; }
inline int __float_as_int(float v) { return std::bit_cast<int>(v); }
inline float __int_as_float(int v) { return std::bit_cast<float>(v); }
inline unsigned __float_as_uint(float v) { return std::bit_cast<unsigned>(v); }
inline float __uint_as_float(unsigned v) { return std::bit_cast<float>(v); }
inline long long __double_as_longlong(double v) { return std::bit_cast<long long>(v); }
inline double __longlong_as_double(long long v) { return std::bit_cast<double>(v); }
inline int __double2hiint(double v) { return int(std::bit_cast<uint64_t>(v) >> 32); }
inline int __double2loint(double v) { return int(std::bit_cast<uint64_t>(v)); }
inline double __hiloint2double(int high, int low) {
  return std::bit_cast<double>(uint64_t(unsigned(high)) << 32 | unsigned(low));
}

// ---- arithmetic; the harness is built without contraction, so * and + are _rn already
inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __frcp_rn(float a) { return 1.0f / a; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline double __fma_rn(double a, double b, double c) { return fma(a, b, c); }
inline double __dmul_rn(double a, double b) { return a * b; }
inline double __dadd_rn(double a, double b) { return a + b; }
inline double __dsub_rn(double a, double b) { return a - b; }
inline double __ddiv_rn(double a, double b) { return a / b; }
inline double __drcp_rn(double a) { return 1.0 / a; }
inline double __uint2double_rn(unsigned v) { return double(v); }
inline int __double2int_rn(double v) { return int(std::nearbyint(v)); }
template <class A, class B>
constexpr std::common_type_t<A, B> max(A a, B b) {
  return std::max<std::common_type_t<A, B>>(a, b);
}
template <class A, class B>
constexpr std::common_type_t<A, B> min(A a, B b) {
  return std::min<std::common_type_t<A, B>>(a, b);
}
