// Partition functions Z and Z_log of tiles of TILE neurons (definitions, section 3).
//
// The order of summation is part of the definition: thread = (tile, radius), and that thread adds
// the tile's counted neurons one after another with a fused multiply-add. Every operation is
// written with its rounding, in the order of the processor's kernel: with the same tables
// (powers.py) the bits are those of the processor, whatever the launch shape, the split or the
// number of GPUs. Only neurons with more edges than a table holds, and q that are not equally
// spaced, take log and exp of CUDA's library.
//
// q = q_0 + 8 h m + h n: p^q = u_m v_n, as in powers.py. The 2 x 64 sums of Z and Z_log do not fit
// in a thread's registers, so a thread takes ROWS of the 8 m, of one of the two: 8 for large
// inputs, 2 for more threads where there are few tiles. The threads of a block that share WIDTH
// (tile, radius) share their reads.
//
//   kernel           thread                          memory moved, per neuron and radius
//   cumulate         32 neurons a warp               4 B read twice (then from L2), 4 B written
//   invert           neuron                          nothing that counts
//   sum_factorised   (tile, radius, rows m, which)   4 B read, 16 B of table (from L1 and L2)
//   sum_general      (tile, radius, 8 q)             4 B read
//
// Floor for 61 q, ROWS 8: 182 float64 instructions for each (neuron, radius), 128 of them the sums
// themselves, against 64 per clock and multiprocessor (sm_90, sm_100); 12 B from and to the memory.
// An H200 takes three times that; its units for float64 are busy a third of the time, and what warps
// wait for was not found. Reading a third as much of the table brought 2 %. What did not help: asking
// four neurons earlier, through a ring in shared memory; powers made while others are added; ten warps
// instead of eight; blocks of few radii, whose entries of the table stay in L1.
//
// Compile options (cuda_partition.py): TILE, THREADS, COLUMNS, MOMENTS, ROWS, WIDTH, BLOCK.

typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long i64;

struct __align__(16) Pair {
  double first, second;
};
struct Entry {      // of the table of powers
  Pair power;       // k^h, k^q_0
  Pair logarithm;   // ln k in two parts
};

constexpr u32 LANES = 32, WARPS = THREADS / LANES, PITCH = LANES + 1, ALL = 0xffffffffu;

// N_i(r) as within[neuron, radius]; N_i(T) as total[neuron], 0 if the neuron is not counted; adds
// to observed[radius], counted[tile] and counted_in_all.
extern "C" __global__ void __launch_bounds__(THREADS)
cumulate(const u32* __restrict__ counts, i64 by_radius, i64 by_neuron, u32 n, u32 n_radii,
         u64 min_neighbours, u32* __restrict__ within, u32* __restrict__ total, u64* observed,
         u64* counted, u64* counted_in_all) {
  __shared__ u32 panels[WARPS][LANES * PITCH];
  __shared__ u32 seen[WARPS][LANES];
  const u32 lane = threadIdx.x % LANES, warp = threadIdx.x / LANES;
  const u32 first = blockIdx.x * THREADS + warp * LANES, own = first + lane;
  u32* panel = panels[warp];
  u64 edges = 0;
  if (own < n)
#pragma unroll 8
    for (u32 r = 0; r < n_radii; ++r) edges += counts[r * by_radius + own * by_neuron];
  const bool is_counted = edges > min_neighbours;
  if (own < n) total[own] = is_counted ? u32(edges + 1) : 0;
  const u32 mask = __ballot_sync(ALL, is_counted);
  if (lane == 0 && mask) {
    atomicAdd(counted + first / TILE, u64(__popc(mask)));
    atomicAdd(counted_in_all, u64(__popc(mask)));
  }

  u32 running = 1;
  for (u32 r0 = 0; r0 < n_radii; r0 += LANES) {
    const u32 r = r0 + lane;
#pragma unroll 8
    for (u32 k = 0; k < LANES; ++k) {  // adjacent lanes read adjacent numbers in either order
      const u32 i = by_neuron == 1 ? lane : k, j = by_neuron == 1 ? k : lane;
      const bool inside = first + i < n && r0 + j < n_radii;
      panel[i * PITCH + j] = inside ? counts[(r0 + j) * by_radius + (first + i) * by_neuron] : 0;
    }
    __syncwarp();
    u32 with_edges = 0;
    for (u32 i = 0; i < LANES; ++i) with_edges += (mask >> i & 1) && panel[i * PITCH + lane];
    seen[warp][lane] = with_edges;
    __syncwarp();
    for (u32 j = 0; j < LANES; ++j) {
      running += panel[lane * PITCH + j];
      panel[lane * PITCH + j] = running;
    }
    __syncthreads();
    for (u32 i = 0; i < LANES; ++i)
      if (first + i < n && r < n_radii)
        within[u64(first + i) * n_radii + r] = panel[i * PITCH + lane];
    if (warp == 0 && r < n_radii) {
      u64 sum = 0;
      for (u32 w = 0; w < WARPS; ++w) sum += seen[w][lane];
      if (sum) atomicAdd(observed + r, sum);
    }
    __syncthreads();
  }
}

// 1/N^h, 1/N^q_0 and ln N for N = N_i(T), where the table has them.
extern "C" __global__ void __launch_bounds__(THREADS)
invert(const u32* __restrict__ total, u32 n, const Entry* __restrict__ powers, u32 size,
       Entry* __restrict__ inverse) {
  const u32 i = blockIdx.x * THREADS + threadIdx.x;
  if (i >= n) return;
  const u32 b = total[i];
  Entry entry = {{0.0, 0.0}, {0.0, 0.0}};
  if (b > 0 && b < size) {
    entry = powers[b];
    entry.power = {__ddiv_rn(1.0, entry.power.first), __ddiv_rn(1.0, entry.power.second)};
  }
  inverse[i] = entry;
}

// ln(a/b) to full relative precision.
__device__ __forceinline__ double log_measure(u32 a, u32 b) {
  if (2ull * a < b) return log(__ddiv_rn(double(a), double(b)));
  return log1p(__ddiv_rn(-double(b - a), double(b)));
}

// p^(h n), and p^(q_0 + 8 h m) for ROWS m from `row`, in the processor's order of products.
struct Powers {
  double u[ROWS], v[COLUMNS];
};
__device__ __forceinline__ Powers raised(double x, double u, u32 row) {
  Powers made;
  double* v = made.v;
  v[0] = 1.0;
  v[1] = x;
  v[2] = __dmul_rn(x, x);
  v[3] = __dmul_rn(v[2], x);
  v[4] = __dmul_rn(v[2], v[2]);
  v[5] = __dmul_rn(v[4], x);
  v[6] = __dmul_rn(v[4], v[2]);
  v[7] = __dmul_rn(v[4], v[3]);
  double factor = __dmul_rn(v[4], v[4]);
  made.u[0] = u;
#pragma unroll
  for (u32 bit = 1; bit < COLUMNS; bit *= 2) {  // m in binary, the lowest bit first
#pragma unroll
    for (u32 m = 0; m < ROWS; ++m) {
      if (bit < ROWS && m >= bit && m < 2 * bit) made.u[m] = __dmul_rn(made.u[m - bit], factor);
      if (bit >= ROWS && (row & bit)) made.u[m] = __dmul_rn(made.u[m], factor);
    }
    factor = __dmul_rn(factor, factor);
  }
  return made;
}

struct Where {  // of a thread: its tile's neurons, and its radius
  u32 tile, first, last, radius;
};
__device__ __forceinline__ Where where(u32 element, u32 n, u32 n_radii) {
  const u32 tile = element / n_radii, first = tile * TILE;
  return {tile, first, min(first + TILE, n), element - tile * n_radii};
}

struct Tables {
  const Entry *powers, *inverse;
  u32 size;
  double h, q_0;
};

constexpr u32 HALF = LANES / 2;

// Adds p^q, or p^q ln p if `of_log`, of a tile's neurons one after another. What neuron i needs is
// asked for while i - 1 is added; its N_i(r), on which the place in the table depends, while i - 2 is.
// Entries of the table lie anywhere, so they are read once: of the two lanes of an element the one for
// Z reads the powers and the one for Z_log the logarithms, and Z_log is given the powers.
__device__ __forceinline__ void add_tile(double (&sums)[ROWS][COLUMNS], const Where& at, u32 row,
                                         bool of_log, const u32* mine, u32 n_radii,
                                         const u32* total, const Tables& tables, u32 together) {
  const u32 ends = at.last - 1, source = threadIdx.x % HALF;
  const u32 longest = __shfl_sync(together, at.last - at.first, 0);  // tiles ascend with the lanes
  const Pair* powers = of_log ? &tables.powers->logarithm : &tables.powers->power;
  const Pair* inverse = of_log ? &tables.inverse->logarithm : &tables.inverse->power;
  constexpr u32 STEP = sizeof(Entry) / sizeof(Pair);
  u32 a = *mine, b = total[at.first];
  Pair pair = powers[STEP * min(a, tables.size - 1)], inverted = inverse[u64(STEP) * at.first];
  if (at.first < ends) mine += n_radii;
  u32 a_next = *mine;
#pragma unroll 1
  for (u32 k = 0; k < longest; ++k) {
    const u32 i = at.first + k, next = min(i + 1, ends);
    const u32 a_now = a, b_now = i < at.last ? b : 0;
    const Pair own = pair, over = inverted;
    a = a_next;
    b = total[next];
    pair = powers[STEP * min(a, tables.size - 1)];
    inverted = inverse[u64(STEP) * next];
    if (next < ends) mine += n_radii;
    a_next = *mine;
    double x = __shfl_sync(together, __dmul_rn(own.first, over.first), source);
    double u = __shfl_sync(together, __dmul_rn(own.second, over.second), source);
    if (b_now == 0) continue;
    double log_p = __dadd_rn(__dadd_rn(own.first, -over.first), __dadd_rn(own.second, -over.second));
    if (a_now == b_now) x = u = 1.0;
    if (b_now >= tables.size) {
      log_p = log_measure(a_now, b_now);
      x = exp(__dmul_rn(tables.h, log_p));
      u = exp(__dmul_rn(tables.q_0, log_p));
    }
    const double times = of_log ? log_p : 1.0;
    const Powers p = raised(x, u, row);
#pragma unroll
    for (u32 m = 0; m < ROWS; ++m) {
      const double left = __dmul_rn(p.u[m], times);
      sums[m][0] = __dadd_rn(left, sums[m][0]);  // times v[0] = 1
#pragma unroll
      for (u32 n = 1; n < COLUMNS; ++n) sums[m][n] = __fma_rn(left, p.v[n], sums[m][n]);
    }
  }
}

// Up to 64 moments q_0 + h k, k < n_q, written to Z[tile, start + k, radius] of `stride` moments.
extern "C" __global__ void __launch_bounds__(BLOCK, 2)
sum_factorised(const u32* __restrict__ within, const u32* __restrict__ total,
               const u64* __restrict__ counted, const Entry* __restrict__ powers, u32 size,
               const Entry* __restrict__ inverse, double h, double q_0, u32 n, u32 n_radii,
               u32 start, u32 n_q, u32 stride, i64 zero, double* __restrict__ Z,
               double* __restrict__ Z_log) {
  const u32 warp = threadIdx.x / LANES, row = warp / (WIDTH / HALF) * ROWS;
  const bool of_log = threadIdx.x % LANES >= HALF;
  const u32 element = warp % (WIDTH / HALF) * HALF + threadIdx.x % HALF;
  const Where at = where(blockIdx.x * WIDTH + element, n, n_radii);
  const u32 together = __ballot_sync(ALL, at.first < n);
  if (at.first >= n) return;
  const u32* mine = within + u64(at.first) * n_radii + at.radius;
  const Tables tables = {powers, inverse, size, h, q_0};
  double sums[ROWS][COLUMNS] = {};
  add_tile(sums, at, row, of_log, mine, n_radii, total, tables, together);
  double* out = of_log ? Z_log : Z;
#pragma unroll
  for (u32 m = 0; m < ROWS; ++m)
#pragma unroll
    for (u32 k = 0; k < COLUMNS; ++k) {
      const u32 moment = (row + m) * COLUMNS + k;
      if (moment >= n_q) continue;
      const bool known = !of_log && start + moment == zero;
      out[(u64(at.tile) * stride + start + moment) * n_radii + at.radius] =
          known ? double(counted[at.tile]) : sums[m][k];
    }
}

// MOMENTS of any moments in each thread.
extern "C" __global__ void __launch_bounds__(THREADS)
sum_general(const u32* __restrict__ within, const u32* __restrict__ total,
            const u64* __restrict__ counted, const double* __restrict__ q, u32 n, u32 n_radii,
            u32 n_q, double* __restrict__ Z, double* __restrict__ Z_log) {
  const Where at = where(blockIdx.x * THREADS + threadIdx.x, n, n_radii);
  if (at.first >= n) return;
  const u32 start = blockIdx.y * MOMENTS;
  double own[MOMENTS], sums[MOMENTS] = {}, logs[MOMENTS] = {};
#pragma unroll
  for (u32 k = 0; k < MOMENTS; ++k) own[k] = q[min(start + k, n_q - 1)];
#pragma unroll 1
  for (u32 i = at.first; i < at.last; ++i) {
    const u32 b = total[i];
    if (b == 0) continue;
    const double log_p = log_measure(within[u64(i) * n_radii + at.radius], b);
#pragma unroll
    for (u32 k = 0; k < MOMENTS; ++k) {
      const double power = exp(__dmul_rn(own[k], log_p));
      sums[k] = __dadd_rn(sums[k], power);
      logs[k] = __fma_rn(power, log_p, logs[k]);
    }
  }
#pragma unroll
  for (u32 k = 0; k < MOMENTS; ++k) {
    if (start + k >= n_q) continue;
    const u64 to = (u64(at.tile) * n_q + start + k) * n_radii + at.radius;
    Z[to] = own[k] == 0.0 ? double(counted[at.tile]) : sums[k];
    Z_log[to] = logs[k];
  }
}
