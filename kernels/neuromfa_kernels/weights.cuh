// One weight to its bin on a GPU: the only definition (definitions, section 2).
//
// A block counts in shared memory, in rows of 32 lanes x C neurons of a lane: counter (row, j, lane)
// is word (row*C + j)*32 + lane, so the lanes of a warp never meet in a bank. 8-bit types count
// their 128 codes. The others count the rounded distance, found by arithmetic; four classes are too
// rare to be looked for at every weight:
//   * rows are k = rint(1/abs(w)) from `first` on; rows 0 and 1 together hold all with d < 1.5;
//   * weights below `lowest` (longer than the cutoff, or zero) and NaN go to a trash row. The
//     compiler predicates no shared atomic, it would branch around each;
//   * a group of weights with an abs(w) that is zero, at least 1 or NaN is looked at again, and
//     `set_right` moves these to the rows and totals of their own.
#pragma once
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

extern __shared__ __align__(16) unsigned char dynamic_shared[];

enum Stored { BFLOAT16, FLOAT16, FLOAT32, CODES8 };
template <int S> struct Bytes { static const int of = S == FLOAT32 ? 4 : S == CODES8 ? 1 : 2; };

// A unit of work: some neurons, some of their edges. Written by cuda_counts.py, field by field.
struct Item {
  const u8* weights;                 // of the first edge of the first neuron
  long long down, across;            // bytes from an edge, a neuron, to the next
  u32 edges, neurons;                // fewer than 2^31
  u32 *counts, *near;                // of the first neuron; added to
  u64* dropped;
  long long counts_down, counts_across, near_down, near_across, dropped_across;  // elements
};

struct Pass {                        // the rows of one launch
  float lowest, highest;             // smallest and largest abs(w) to be counted
  u32 first, rows;
};

#define NEAR 1.0f                    // smallest abs(w) with d <= 1
#define NEAREST 2.0f                 // and with d <= 0.5

struct Totals {                      // of a thread
  u32 zero, nonfinite;
};

__device__ __forceinline__ u32* counter(u32 offset) {
  return reinterpret_cast<u32*>(dynamic_shared + offset);
}

// 1/x to one unit in the last place; three are tolerated (see bin_16).
__device__ __forceinline__ float reciprocal(float x) {
#ifdef __CUDA_ARCH__
  float r;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(x));
  return r;
#else
#ifndef RECIPROCAL_ERROR
#define RECIPROCAL_ERROR 0
#endif
  const float r = 1.0f / x;
  return r > 0 && r < 1e30f ? __uint_as_float(__float_as_uint(r) + (RECIPROCAL_ERROR)) : r;
#endif
}

// The larger of two; NaN if one is.
__device__ __forceinline__ float larger(float a, float b) {
#ifdef __CUDA_ARCH__
  float r;
  asm("max.NaN.f32 %0, %1, %2;" : "=f"(r) : "f"(a), "f"(b));
  return r;
#else
  return a > b || a != a ? a : b;
#endif
}

__device__ __forceinline__ float from_half(u16 code) {
#ifdef __CUDA_ARCH__
  float r;
  asm("cvt.f32.f16 %0, %1;" : "=f"(r) : "h"(code));
  return r;
#else
  _Float16 half;
  memcpy(&half, &code, sizeof half);
  return float(half);
#endif
}

// A single value of a 16-bit type as a word of two.
__device__ __forceinline__ u32 in_both_halves(u32 code) { return code * 0x10001u; }

// The h-th value in a word
template <int S>
__device__ __forceinline__ float value_of(u32 word, int h) {
  if constexpr (S == FLOAT32) return __uint_as_float(word);
  else if constexpr (S == BFLOAT16) return __uint_as_float(h ? word & 0xffff0000u : word << 16);
  else return from_half(h ? word >> 16 : word & 0xffff);
}

// abs(w) of the h-th value in a word
template <int S>
__device__ __forceinline__ float size_of(u32 word, int h) {
  return fabsf(value_of<S>(word, h));
}

// Whether it is zero. Its bits say so: CuPy compiles with -ftz=true, and then comparisons take a
// subnormal float32 for zero, which is merely longer than the cutoff.
template <int S>
__device__ __forceinline__ bool is_zero(u32 word, int h) {
  return __float_as_uint(value_of<S>(word, h)) << 1 == 0;
}

// Adding it rounds a number below 2^22 half to even; the integer is then in the low bits.
#define ROUNDING 12582912.0f  // 1.5 * 2^23
#define ROUNDING_BITS 0x4b400000u

// rint(1/size) + ROUNDING_BITS. For 16-bit types the rounded reciprocal is it: 1/size keeps at least
// 1/(2m) away from k + 1/2 for an m-bit significand, more than 3 units of the reciprocal up to the
// radii that cuda_counts.py allows; the device checks it on all codes at the first use. For float32
// the sign of size*(k +- 1/2) - 1, exact after one rounding of a fused multiply-add, decides.
template <int S>
__device__ __forceinline__ u32 rounded_distance(float size) {
  const float y = reciprocal(size) + ROUNDING;
  if (S != FLOAT32) return __float_as_uint(y);
  const float k = y - ROUNDING;
  const float over = fmaf(size, k + 0.5f, -1.0f), under = fmaf(size, 0.5f - k, 1.0f);
  return __float_as_uint(y) + (__float_as_uint(over) >> 31) - (__float_as_uint(under) >> 31);
}

template <bool LATER>
__device__ __forceinline__ bool counted(float size, const Pass& pass) {
  return size >= pass.lowest && (!LATER || size <= pass.highest);
}

// What a thread keeps in registers: where its counters are.
template <int C>
struct Place {
  static const int SHIFT = C == 4 ? 9 : 7;  // log2 of the bytes of a row
  u32 zero, trash;                           // offsets of row `-ROUNDING_BITS - first`, of the trash
  __device__ __forceinline__ Place(const Pass& pass) {
    const u32 lane = 4 * (threadIdx.x & 31);
    zero = lane - ((ROUNDING_BITS + pass.first) << SHIFT);
    trash = lane + (pass.rows << SHIFT);
  }
};

// Largest and smallest of a group of weights: may one of them be of a rare class? Of 16-bit types two
// at a time, by their codes, which are in the order of abs(w); float32 by comparisons.
template <int S>
struct Extremes {
  static const u32 ONE = S == BFLOAT16 ? 0x3f80 : 0x3c00, BOTH = 0x00010001u, SIGNS = 0x80008000u;
  u32 most = 0, least = ~SIGNS;
  __device__ __forceinline__ void see(u32 word) {
    most = __vmaxu2(most, word & ~SIGNS);
    least = __vminu2(least, word & ~SIGNS);
  }
  __device__ __forceinline__ bool rare() const {  // a half is at least ONE, or zero
    return ((most + (SIGNS - ONE * BOTH)) | (least - BOTH)) & SIGNS;
  }
};
template <>
struct Extremes<FLOAT32> {
  float most = 0.0f, least = 1.0f;
  __device__ __forceinline__ void see(u32 word) {
    const float size = fabsf(__uint_as_float(word));
    most = larger(most, size);
    least = fminf(least, size);
  }
  __device__ __forceinline__ bool rare() const { return !(most < NEAR) || least == 0.0f; }
};

template <int S, int C, bool LATER>
__device__ __forceinline__ void count(float size, int j, const Pass& pass, const Place<C>& place) {
  const u32 row = (rounded_distance<S>(size) << Place<C>::SHIFT) + place.zero;
  atomicAdd(counter((counted<LATER>(size, pass) ? row : place.trash) + 128 * j), 1u);
}

// Moves the h-th weight of a word, if it is of a rare class, to where it belongs. Rows: trash, then
// d <= 0.5, then d <= 1.
template <int S, int C>
__device__ __forceinline__ void set_right(u32 word, int h, int j, const Pass& pass,
                                          const Place<C>& place, Totals& totals) {
  const float size = size_of<S>(word, h);
  if (size < NEAR) {
    totals.zero += is_zero<S>(word, h);
    return;
  }
  if (size != size) {  // was put into the trash
    totals.nonfinite++;
    return;
  }
  const u32 row_0 = place.trash - (pass.rows << Place<C>::SHIFT) + 128 * j;
  atomicAdd(counter(row_0), ~0u);
  if (size > 3.402823466e38f) totals.nonfinite++;
  else atomicAdd(counter(place.trash + 128 * j + ((size >= NEAREST ? 1 : 2) << Place<C>::SHIFT)), 1u);
}

// ---- what a block does before and after an item

template <int C>
__device__ __forceinline__ void clear_rows(u32 rows) {
  uint4* all = reinterpret_cast<uint4*>(dynamic_shared);
  for (u32 i = threadIdx.x; i < rows * C * 8; i += blockDim.x) all[i] = make_uint4(0, 0, 0, 0);
  __syncthreads();
}

__device__ __forceinline__ u64 sum_of_warp(u64 mine) {
  for (int by = 16; by > 0; by >>= 1) mine += __shfl_down_sync(~0u, mine, by);
  return mine;
}

// Adds the totals of all threads to dropped[which]; all threads of the block take part.
__device__ __forceinline__ void add_total(const Item& item, int which, u64 mine) {
  mine = sum_of_warp(mine);
  if ((threadIdx.x & 31) == 0 && mine) atomicAdd(item.dropped + which * item.dropped_across, mine);
}

__device__ __forceinline__ void add_to(u32* place, u32 found) {
  if (found) atomicAdd(place, found);
}

__device__ __forceinline__ u32* count_at(const Item& item, u32 radius, u32 neuron) {
  return item.counts + (radius - 1) * item.counts_down + neuron * item.counts_across;
}

__device__ __forceinline__ u32* near_at(const Item& item, u32 row, u32 neuron) {
  return item.near + row * item.near_down + neuron * item.near_across;
}

// Adds the rows of a block to the counts. What is in no row is above the cutoff.
template <int C, bool LATER>
__device__ __forceinline__ void flush(const Item& item, const Pass& pass, Totals totals) {
  const u32 tile = 32 * C, rows = pass.rows + (LATER ? 0 : 3);
  u64 kept = 0, near = 0;
  for (u32 i = threadIdx.x; i < rows * tile; i += blockDim.x) {
    const u32 row = i / tile, neuron = i % tile;
    if (neuron >= item.neurons) continue;
    const u32* own = counter(0) + neuron % C * 32 + neuron / C;
    u32 found = own[row * tile];
    if (row < pass.rows) {
      const u32 radius = pass.first + row;
      if (radius == 0) continue;
      if (radius == 1) found += own[0];
      kept += found;
      add_to(count_at(item, radius, neuron), found);
    } else if (row > pass.rows) {
      near += found;
      add_to(near_at(item, row - pass.rows - 1, neuron), found);
    }
  }
  u64 above = 0 - kept - near - totals.zero - totals.nonfinite;  // of a thread: may be negative
  if (!LATER && threadIdx.x == 0) above += u64(item.edges) * item.neurons;
  add_total(item, 0, near);
  add_total(item, 1, above);
  add_total(item, 2, totals.zero);
  add_total(item, 3, totals.nonfinite);
}

// Codes of 8-bit types: `bins` gives the bin of each code, from the largest abs(w) to the smallest.
__device__ __forceinline__ void deliver(const Item& item, u32 bin, u32 neuron, u32 found,
                                        u32 n_radii, u64 (&totals)[4]) {
  if (bin >= 3 && bin < n_radii + 3) add_to(count_at(item, bin - 2, neuron), found);
  else if (bin == 0) totals[3] += found;
  else if (bin >= 3) totals[bin == n_radii + 3 ? 1 : 2] += found;
  else {
    totals[0] += found;
    add_to(near_at(item, bin - 1, neuron), found);
  }
}

template <int C>
__device__ __forceinline__ void flush_codes(const Item& item, const u16* bins, u32 n_radii) {
  const u32 tile = 32 * C;
  u64 totals[4] = {0, 0, 0, 0};
  for (u32 i = threadIdx.x; i < 128 * tile; i += blockDim.x) {
    const u32 code = i / tile, neuron = i % tile;
    if (neuron >= item.neurons) continue;
    const u32 found = counter(0)[(code * C + neuron % C) * 32 + neuron / C];
    if (found) deliver(item, bins[code], neuron, found, n_radii, totals);
  }
  for (int k = 0; k < 4; k++) add_total(item, k, totals[k]);
}

// The next item for this block; all threads get it. Blocks take items until there are none. The last
// item's number has been read by all: clear_rows has a barrier.
__device__ __forceinline__ u32 next_item(u32* ticket) {
  __shared__ u32 taken;
  if (threadIdx.x == 0) taken = atomicAdd(ticket, 1u);
  __syncthreads();
  return taken;
}
