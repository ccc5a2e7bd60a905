// Neighbour counts of any stored type, table, strides and alignment: definitions, section 2.
//
// Exact by construction, and the slower way: the bin of a code is looked up (8 and 16 bits) or
// found by bisection of the table's bounds (32 and 64 bits). A lane owns a neuron; warps take edges
// in turn. Launch: 256 threads, any number of blocks; they take items from a ticket. Shared memory:
// n_bins x 128 bytes for the bins from `first` on.
#include "weights.cuh"
#define THREADS 256

template <int SIZE>
__device__ __forceinline__ u64 code_at(const u8* p) {
  if ((reinterpret_cast<u64>(p) & (SIZE - 1)) == 0) {
    if constexpr (SIZE == 8) return *reinterpret_cast<const u64*>(p);
    else if constexpr (SIZE == 4) return *reinterpret_cast<const u32*>(p);
    else if constexpr (SIZE == 2) return *reinterpret_cast<const u16*>(p);
    else return *p;
  }
  u64 code = 0;
  for (int i = 0; i < SIZE; i++) code |= u64(p[i]) << (8 * i);
  return code;
}

struct Bins {
  const u16* of_code;  // 1 and 2 bytes: of abs(w)
  const u64* bounds;   // 4 and 8 bytes: smallest code of a bin or a lower one; they never grow
  u32 n_bounds, n_radii, first, n;
};

template <int SIZE>
__device__ __forceinline__ u32 bin_of(u64 code, const Bins& bins) {
  code &= ~u64(0) >> (65 - 8 * SIZE);  // without the sign
  if constexpr (SIZE <= 2) {
    return __ldg(bins.of_code + code);
  } else {
    u32 low = 0, high = bins.n_bounds;
    while (low < high) {
      const u32 middle = (low + high) / 2;
      if (__ldg(bins.bounds + middle) <= code) high = middle;
      else low = middle + 1;
    }
    return low;
  }
}

template <int SIZE>
__device__ __forceinline__ void count_any(const Item* items, u32 n_items, u32* ticket,
                                          const Bins& bins) {
  const u32 lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
  for (u32 k = next_item(ticket); k < n_items; k = next_item(ticket)) {
    const Item& item = items[k];
    clear_rows<1>(bins.n);
    if (lane < item.neurons) {
      const u8* p = item.weights + lane * item.across;
      for (u32 edge = warp; edge < item.edges; edge += THREADS / 32) {
        const u32 row = bin_of<SIZE>(code_at<SIZE>(p + edge * item.down), bins) - bins.first;
        if (row < bins.n) atomicAdd(counter(row * 128 + lane * 4), 1u);
      }
    }
    __syncthreads();
    u64 totals[4] = {0, 0, 0, 0};
    for (u32 i = threadIdx.x; i < bins.n * 32; i += THREADS) {
      const u32 found = counter(0)[i];
      if (found && i % 32 < item.neurons)
        deliver(item, bins.first + i / 32, i % 32, found, bins.n_radii, totals);
    }
    for (int t = 0; t < 4; t++) add_total(item, t, totals[t]);
  }
}

#define ANY(name, SIZE)                                                                        \
  extern "C" __global__ void __launch_bounds__(THREADS)                                        \
      name(const Item* items, u32 n_items, u32* ticket, const u16* of_code, const u64* bounds, \
           u32 n_bounds, u32 n_radii, u32 first, u32 n) {                                      \
    count_any<SIZE>(items, n_items, ticket,                                                    \
                    Bins{of_code, bounds, n_bounds, n_radii, first, n});                       \
  }
ANY(any_1, 1)
ANY(any_2, 2)
ANY(any_4, 4)
ANY(any_8, 8)
