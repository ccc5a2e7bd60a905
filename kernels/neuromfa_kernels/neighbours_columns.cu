// Neighbour counts where neurons are columns (nn.Linear): definitions, section 2.
//
// A warp reads a row segment of 32 lanes x C neurons at once; the warps of a block take rows in
// turn and share its counters. Launch: 512 threads, any number of blocks; they take items from a
// ticket. Shared memory: (rows + 3) x C x 128 bytes. Floor: the bytes of the weights, once; the
// machine code of sm_90 has ten instructions for a bfloat16, one of them a shared atomic.
#include "weights.cuh"
#define THREADS 512

template <int N> struct Words { u32 word[N]; };

// The C values of a lane, as words. Streaming loads: nothing is read twice.
template <int S, int C>
struct Segment {
  static const int N = (C * Bytes<S>::of + 3) / 4;
  static const int PER_WORD = C == 1 ? 1 : 4 / Bytes<S>::of;
  static __device__ __forceinline__ Words<N> load(const u8* p) {
    Words<N> found;
    if constexpr (C * Bytes<S>::of == 16) {
      const uint4 v = __ldcs(reinterpret_cast<const uint4*>(p));
      const u32 all[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
      for (int k = 0; k < N; k++) found.word[k] = all[k];
    } else if constexpr (C * Bytes<S>::of == 8) {
      const uint2 v = __ldcs(reinterpret_cast<const uint2*>(p));
      const u32 all[2] = {v.x, v.y};
#pragma unroll
      for (int k = 0; k < N; k++) found.word[k] = all[k & 1];
    } else if constexpr (C * Bytes<S>::of == 4) {
      found.word[0] = __ldcs(reinterpret_cast<const u32*>(p));
    } else if constexpr (C * Bytes<S>::of == 2) {
      found.word[0] = in_both_halves(__ldcs(reinterpret_cast<const u16*>(p)));
    } else {
      found.word[0] = __ldcs(p);
    }
    return found;
  }
};

// Counts U row segments; says whether one of their weights is of a rare class.
template <int S, int C, bool LATER, int U>
__device__ __forceinline__ bool count_group(const Words<Segment<S, C>::N> (&rows)[U],
                                            const Pass& pass, const Place<C>& place) {
  typedef Segment<S, C> Seg;
  Extremes<S> extremes;
#pragma unroll
  for (int u = 0; u < U; u++)
#pragma unroll
    for (int j = 0; j < C; j++) {
      const u32 word = rows[u].word[j / Seg::PER_WORD];
      if constexpr (S == CODES8) {
        const u32 code = word >> (8 * j) & 0x7f;
        atomicAdd(counter((code << Place<C>::SHIFT) + 4 * (threadIdx.x & 31) + 128 * j), 1u);
      } else {
        count<S, C, LATER>(size_of<S>(word, j % Seg::PER_WORD), j, pass, place);
        if (!LATER && j % Seg::PER_WORD == 0) extremes.see(word);
      }
    }
  return S != CODES8 && !LATER && extremes.rare();
}

// Looks at U row segments before `end` again. They are read once more: that is rare, and costs no
// registers elsewhere.
template <int S, int C, int U>
__device__ __forceinline__ void set_group_right(const u8* end, long long step, const Pass& pass,
                                                const Place<C>& place, Totals& totals) {
  typedef Segment<S, C> Seg;
  if constexpr (S != CODES8) {
    const u8* p = end - U * step;
#pragma unroll 1
    for (int u = 0; u < U; u++, p += step) {
      const Words<Seg::N> row = Seg::load(p);
#pragma unroll
      for (int j = 0; j < C; j++)
        set_right<S>(row.word[j / Seg::PER_WORD], j % Seg::PER_WORD, j, pass, place, totals);
    }
  }
}

template <int S, int C, int U>
__device__ __forceinline__ void load_group(Words<Segment<S, C>::N> (&rows)[U], const u8*& p,
                                           long long step) {
#pragma unroll
  for (int u = 0; u < U; u++) {
    rows[u] = Segment<S, C>::load(p);
    p += step;
  }
}

// Two groups in different registers: one is on its way while the other is counted. (A single group
// filled again in place does not overlap: the compiler moves its loads to the end and waits.)
template <int S, int C, bool LATER, int U>
__device__ __forceinline__ void count_item(const Item& item, const Pass& pass,
                                           const Place<C>& place, Totals& totals) {
  const u32 lane = threadIdx.x & 31, warp = threadIdx.x >> 5, warps = THREADS / 32;
  if (lane * C >= item.neurons || warp >= item.edges) return;
  const u8* p = item.weights + lane * (C * Bytes<S>::of) + warp * item.down;
  const long long step = item.down * warps;
  u32 left = (item.edges - warp + warps - 1) / warps;
  Words<Segment<S, C>::N> a[U], b[U], one[1];
  if (left >= 2 * U) {
    load_group<S, C, U>(a, p, step);
#pragma unroll 1
    for (;;) {
      load_group<S, C, U>(b, p, step);
      if (count_group<S, C, LATER, U>(a, pass, place))
        set_group_right<S, C, U>(p - U * step, step, pass, place, totals);
      left -= 2 * U;
      const bool more = left >= 2 * U;
      if (more) load_group<S, C, U>(a, p, step);
      if (count_group<S, C, LATER, U>(b, pass, place))
        set_group_right<S, C, U>(more ? p - U * step : p, step, pass, place, totals);
      if (!more) break;
    }
  }
#pragma unroll 1
  for (; left > 0; left--) {
    load_group<S, C, 1>(one, p, step);
    if (count_group<S, C, LATER, 1>(one, pass, place))
      set_group_right<S, C, 1>(p, step, pass, place, totals);
  }
}

template <int S, int C, bool LATER, int U>
__device__ __forceinline__ void count_columns(const Item* items, u32 n_items, u32* ticket,
                                              const Pass& pass, const u16* bins, u32 n_radii) {
  const Place<C> place(pass);
  for (u32 k = next_item(ticket); k < n_items; k = next_item(ticket)) {
    const Item& item = items[k];  // read where needed: registers are scarce
    Totals totals = {0, 0};
    clear_rows<C>(S == CODES8 ? 128 : pass.rows + 3);
    count_item<S, C, LATER, U>(item, pass, place, totals);
    __syncthreads();
    if (S == CODES8) flush_codes<C>(item, bins, n_radii);
    else flush<C, LATER>(item, pass, totals);
  }
}

#define COLUMNS(name, S, C, LATER, U)                                                            \
  extern "C" __global__ void __launch_bounds__(THREADS, 2)                                       \
      name(const Item* items, u32 n_items, u32* ticket, float lowest, float highest, u32 first,  \
           u32 rows) {                                                                           \
    count_columns<S, C, LATER, U>(items, n_items, ticket,                                        \
                                  Pass{lowest, highest, first, rows}, 0, 0);                     \
  }
#define COLUMNS_OF(type, S, U)                          \
  COLUMNS(columns_##type##_x4, S, 4, false, U)          \
  COLUMNS(columns_##type##_x4_later, S, 4, true, U)     \
  COLUMNS(columns_##type##_x1, S, 1, false, 4)          \
  COLUMNS(columns_##type##_x1_later, S, 1, true, 4)
COLUMNS_OF(bfloat16, BFLOAT16, 4)
COLUMNS_OF(float16, FLOAT16, 4)
COLUMNS_OF(float32, FLOAT32, 2)

#define CODES(name, C)                                                                           \
  extern "C" __global__ void __launch_bounds__(THREADS, 2)                                       \
      name(const Item* items, u32 n_items, u32* ticket, const u16* bins, u32 n_radii) {          \
    count_columns<CODES8, C, false, 4>(items, n_items, ticket, Pass{0, 0, 0, 0}, bins,           \
                                       n_radii);                                                 \
  }
CODES(columns_codes8_x4, 4)
CODES(columns_codes8_x1, 1)

// Does the arithmetic of this device give these bins for these values? Adds to `wrong` if not.
template <int S>
__device__ __forceinline__ void check_bins(const u32* words, const u16* bins, u32 n, Pass pass,
                                           u32 n_radii, u32* wrong) {
  const u32 i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  const float size = size_of<S>(words[i], 0);
  const u32 k = rounded_distance<S>(size) - ROUNDING_BITS;
  Extremes<S> extremes;
  extremes.see(S == FLOAT32 ? words[i] : in_both_halves(words[i]));
  u32 bin = n_radii + 3;
  if (counted<false>(size, pass)) bin = k < 2 ? 3 : k + 2;
  if (extremes.rare()) {
    if (size < NEAR) bin = is_zero<S>(words[i], 0) ? n_radii + 4 : bin;
    else if (size != size || size > 3.402823466e38f) bin = 0;
    else bin = size >= NEAREST ? 1 : 2;
    if (size >= NEAR && k > 1) bin = ~0u;  // set_right expects it in row 0 or 1
  }
  if (bin != bins[i]) atomicAdd(wrong, 1u);
}
#define CHECK(name, S)                                                                           \
  extern "C" __global__ void __launch_bounds__(256)                                              \
      name(const u32* words, const u16* bins, u32 n, float lowest, u32 n_radii, u32* wrong) {    \
    check_bins<S>(words, bins, n, Pass{lowest, 0, 0, 0}, n_radii, wrong);                        \
  }
CHECK(check_bfloat16, BFLOAT16)
CHECK(check_float16, FLOAT16)
CHECK(check_float32, FLOAT32)
