// Neighbour counts where neurons are rows (Conv1D): definitions, section 2.
//
// A lane owns a neuron. Pieces of 512 bytes of 32 rows are staged in shared memory, two on their way
// while one is counted; a lane reads its own row from there, 16 bytes at a time. A staged row is 16
// bytes longer than its piece, so the lanes meet in no bank. Launch: 256 threads, any number of
// blocks; they take items from a ticket. Shared memory: (rows + 3) x 128 bytes (16 KiB for codes),
// then 3 stages of 16.5 KiB. Floor: the bytes of the weights, once.
#include "weights.cuh"
#define THREADS 256
#define WARPS (THREADS / 32)
#define PIECE 512u
#define PITCH (PIECE + 16u)
#define STAGES 3
#define VECTORS (PIECE / 16u)  // of a row's piece

// 16 bytes from global to shared memory, without waiting.
__device__ __forceinline__ void copy_async(u8* to, const u8* from) {
#ifdef __CUDA_ARCH__
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(
                   static_cast<u32>(__cvta_generic_to_shared(to))),
               "l"(from)
               : "memory");
#else
  *reinterpret_cast<uint4*>(to) = *reinterpret_cast<const uint4*>(from);
#endif
}

__device__ __forceinline__ void close_group() {
#ifdef __CUDA_ARCH__
  asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

// Waits until no more than N groups of copies are on their way.
template <int N>
__device__ __forceinline__ void wait_group() {
#ifdef __CUDA_ARCH__
  asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
#endif
}

template <int SIZE>
__device__ __forceinline__ void copy_values(u8* to, const u8* from, u32 bytes) {
  for (u32 i = 0; i < bytes; i += SIZE) {
    if constexpr (SIZE == 4) *reinterpret_cast<u32*>(to + i) = *reinterpret_cast<const u32*>(from + i);
    else if constexpr (SIZE == 2)
      *reinterpret_cast<u16*>(to + i) = *reinterpret_cast<const u16*>(from + i);
    else to[i] = from[i];
  }
}

// The part of a piece that one thread copies, if the item has 32 rows that all begin at multiples of
// 16 bytes: every eighth row. In registers, since the item is read anew after every copy.
struct Share {
  const u8* from;       // of the first piece; null for other items
  long long rows_down;  // bytes
  u32 to;
};
__device__ __forceinline__ Share share_of(const Item& item) {
  const u32 row = threadIdx.x / VECTORS, at = threadIdx.x % VECTORS * 16;
  const bool simple = item.neurons == 32 && ((u64(item.weights) | item.across) & 15) == 0;
  return {simple ? item.weights + row * item.across + at : nullptr,
          item.across * (THREADS / VECTORS), row * PITCH + at};
}

// Starts the copies of piece `c` of all rows; one group, empty past the end.
template <int S>
__device__ __forceinline__ void stage(const Item& item, const Share& share, u64 row_bytes,
                                      u8* stages, u32 c) {
  const u64 from = u64(c) * PIECE;
  u8* to = stages + c % STAGES * (32 * PITCH);
  if (share.from && from + PIECE <= row_bytes) {
    const u8* p = share.from + from;
#pragma unroll
    for (u32 k = 0; k < 32 * VECTORS / THREADS; k++, p += share.rows_down)
      copy_async(to + share.to + k * (THREADS / VECTORS * PITCH), p);
  } else if (from < row_bytes) {
    const u32 bytes = row_bytes - from < PIECE ? u32(row_bytes - from) : PIECE;
    for (u32 i = threadIdx.x; i < item.neurons * VECTORS; i += THREADS) {
      const u32 row = i / VECTORS, at = i % VECTORS * 16;
      if (at >= bytes) continue;
      const u8* p = item.weights + row * item.across + from + at;
      if (bytes - at >= 16 && (reinterpret_cast<u64>(p) & 15) == 0)
        copy_async(to + row * PITCH + at, p);
      else
        copy_values<Bytes<S>::of>(to + row * PITCH + at, p, min(bytes - at, 16u));
    }
  }
  close_group();
}

// Counts the values of N words of the lane's row, or one value that lies low in a word.
template <int S, bool LATER, int N>
__device__ __forceinline__ void count_words(const u32 (&word)[N], const Pass& pass,
                                            const Place<1>& place, Totals& totals) {
  const int PER_WORD = N == 1 ? 1 : 4 / Bytes<S>::of;
  if constexpr (S == CODES8) {
#pragma unroll
    for (u32 k = 0; k < N * PER_WORD; k++)
      atomicAdd(counter(((word[k / PER_WORD] >> (k % PER_WORD * 8) & 0x7f) << 7) +
                        4 * (threadIdx.x & 31)), 1u);
  } else {
    Extremes<S> extremes;
#pragma unroll
    for (u32 k = 0; k < N * PER_WORD; k++) {
      count<S, 1, LATER>(size_of<S>(word[k / PER_WORD], k % PER_WORD), 0, pass, place);
      if (!LATER && k % PER_WORD == 0) extremes.see(word[k / PER_WORD]);
    }
    if constexpr (!LATER) {
      if (!extremes.rare()) return;
#pragma unroll
      for (u32 k = 0; k < N * PER_WORD; k++)
        set_right<S>(word[k / PER_WORD], k % PER_WORD, 0, pass, place, totals);
    }
  }
}

template <int S, bool LATER>
__device__ __forceinline__ void count_item(const Item& item, u8* stages, const Pass& pass,
                                           const Place<1>& place, Totals& totals) {
  const u32 lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
  const u64 row_bytes = u64(item.edges) * Bytes<S>::of;
  const u32 pieces = u32((row_bytes + PIECE - 1) / PIECE);
  const Share share = share_of(item);
  const bool mine = lane < item.neurons;
  for (u32 c = 0; c < STAGES - 1; c++) stage<S>(item, share, row_bytes, stages, c);
#pragma unroll 1
  for (u32 c = 0; c < pieces; c++) {
    wait_group<STAGES - 2>();
    __syncthreads();  // piece c is there for all, and all have read piece c - 1
    stage<S>(item, share, row_bytes, stages, c + STAGES - 1);
    if (!mine) continue;
    const u64 left = row_bytes - u64(c) * PIECE;
    const u8* row = stages + c % STAGES * (32 * PITCH) + lane * PITCH;
    u32 at = warp * 16;
#pragma unroll 1
    for (; at < PIECE && at + 16 <= left; at += WARPS * 16) {
      const uint4 v = *reinterpret_cast<const uint4*>(row + at);
      count_words<S, LATER, 4>({v.x, v.y, v.z, v.w}, pass, place, totals);
    }
#pragma unroll 1
    for (const u32 end = min(at + 16, PIECE); at < end && at < left; at += Bytes<S>::of) {
      if constexpr (Bytes<S>::of == 4) {
        count_words<S, LATER, 1>({*reinterpret_cast<const u32*>(row + at)}, pass, place, totals);
      } else if constexpr (Bytes<S>::of == 2) {
        const u32 word = in_both_halves(*reinterpret_cast<const u16*>(row + at));
        count_words<S, LATER, 1>({word}, pass, place, totals);
      } else {
        count_words<S, LATER, 1>({row[at]}, pass, place, totals);
      }
    }
  }
  wait_group<0>();
}

template <int S, bool LATER>
__device__ __forceinline__ void count_rows(const Item* items, u32 n_items, u32* ticket,
                                           const Pass& pass, const u16* bins, u32 n_radii) {
  const Place<1> place(pass);
  const u32 rows = S == CODES8 ? 128 : pass.rows + 3;
  u8* stages = dynamic_shared + rows * 128;
  for (u32 k = next_item(ticket); k < n_items; k = next_item(ticket)) {
    const Item& item = items[k];
    Totals totals = {0, 0};
    clear_rows<1>(rows);
    count_item<S, LATER>(item, stages, pass, place, totals);
    __syncthreads();
    if (S == CODES8) flush_codes<1>(item, bins, n_radii);
    else flush<1, LATER>(item, pass, totals);
  }
}

#define ROWS(name, S, LATER)                                                                     \
  extern "C" __global__ void __launch_bounds__(THREADS, 3)                                       \
      name(const Item* items, u32 n_items, u32* ticket, float lowest, float highest, u32 first,  \
           u32 rows) {                                                                           \
    count_rows<S, LATER>(items, n_items, ticket,                                                 \
                         Pass{lowest, highest, first, rows}, 0, 0);                              \
  }
ROWS(rows_bfloat16, BFLOAT16, false)
ROWS(rows_bfloat16_later, BFLOAT16, true)
ROWS(rows_float16, FLOAT16, false)
ROWS(rows_float16_later, FLOAT16, true)
ROWS(rows_float32, FLOAT32, false)
ROWS(rows_float32_later, FLOAT32, true)

extern "C" __global__ void __launch_bounds__(THREADS, 3)
    rows_codes8(const Item* items, u32 n_items, u32* ticket, const u16* bins, u32 n_radii) {
  count_rows<CODES8, false>(items, n_items, ticket, Pass{0, 0, 0, 0}, bins, n_radii);
}
