// Shortest paths over one more layer on a GPU: a pruned (min,+) product (definitions, section 7).
//
// A block holds the shortest sums of SOURCES sources x TARGETS targets in registers, a warp those of
// ROWS sources. Units are taken UNITS at a time; the lengths of their edges lie in shared memory and
// serve all sources of the block. A warp adds only units that may still shorten a way of its source:
// a path through unit m is at least as long as the way to m plus the shortest edge that leaves m.
// Units are taken in shells of growing distance, and a source is done when the next shell begins
// beyond its longest way here, or the cutoff. All comparisons are made on the float64 sums themselves,
// whose rounding is monotone, and a minimum has no order: the bits are the processor's.
//
// Floor: every pair of a source and a unit that is not passed over costs one read of shared memory,
// one addition and one comparison for each target.
//
// Compile options: THREADS, ROWS, UNITS, TARGETS (cuda_paths.py).

typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long i64;

extern __shared__ __align__(16) unsigned char dynamic_shared[];

#define WARPS (THREADS / 32)
#define SOURCES (ROWS * WARPS)
#define COLUMNS (TARGETS / 32)
#define SHELL 1.5  // ratio of the radii of neighbouring shells

__device__ __forceinline__ double infinity() {
  return __longlong_as_double(0x7ff0000000000000ll);
}
__device__ __forceinline__ double smaller(double a, double b) { return a < b ? a : b; }
__device__ __forceinline__ double larger(double a, double b) { return a < b ? b : a; }

__device__ __forceinline__ double least_of_warp(double mine) {
#pragma unroll
  for (u32 by = 16; by; by >>= 1) mine = smaller(mine, __shfl_xor_sync(~0u, mine, by));
  return mine;
}

// Smallest number of each row of a matrix [rows, columns], 0 if one is NaN: a warp a row.
extern "C" __global__ void __launch_bounds__(THREADS)
row_minima(const double* __restrict__ matrix, u64 by_row, u32 rows, u32 columns, double* minima) {
  const u32 lane = threadIdx.x % 32, row = blockIdx.x * WARPS + threadIdx.x / 32;
  if (row >= rows) return;
  double least = infinity();
  for (u32 k = lane; k < columns; k += 32) {
    const double x = matrix[row * by_row + k];
    least = smaller(least, x == x ? x : 0.0);
  }
  least = least_of_warp(least);
  if (lane == 0) minima[row] = least;
}

struct State {  // of a source: this shell, and beyond what nothing matters
  double inner, outer, furthest;
};

// May unit m, `way` away, shorten a way of a source? `least` is its shortest edge.
__device__ __forceinline__ bool matters(double way, double least, const State& state,
                                        double cutoff) {
  if (!(way > state.inner && way <= state.outer)) return false;
  const double best = __dadd_rn(way, least);
  return best < state.furthest && best <= cutoff;
}

// out[s, j], s < n_sources, j < n_targets: shortest sum of a way [s, m] and an edge [m, j], m < n_units.
extern "C" __global__ void __launch_bounds__(THREADS, 2)
extend(const double* __restrict__ ways, const double* __restrict__ nearest, u32 n_sources,
       u32 n_units, const double* __restrict__ lengths, const double* __restrict__ least,
       u32 n_targets, double cutoff, double* __restrict__ out, u64 out_by_row) {
  __shared__ double edges[UNITS][TARGETS];
  __shared__ State states[SOURCES];
  const u32 lane = threadIdx.x % 32, first = threadIdx.x / 32 * ROWS;  // sources of this warp
  const u32 source = blockIdx.y * SOURCES, target = blockIdx.x * TARGETS;
  for (u32 s = threadIdx.x; s < SOURCES; s += THREADS) {
    const bool real = source + s < n_sources;
    states[s].inner = real ? 0.0 : infinity();
    states[s].outer = real ? __dmul_rn(nearest[source + s], SHELL) : 0.0;
    states[s].furthest = infinity();
  }
  double best[ROWS][COLUMNS];
#pragma unroll
  for (u32 r = 0; r < ROWS; ++r)
#pragma unroll
    for (u32 c = 0; c < COLUMNS; ++c)  // what is no target is there already
      best[r][c] = target + 32 * c + lane < n_targets ? infinity() : 0.0;
  __syncthreads();
  for (bool more = true; more;) {
    for (u32 unit = 0; unit < n_units; unit += UNITS) {
      const u32 m = unit + lane;
      const bool real = lane < UNITS && m < n_units;
      const double shortest = real ? least[m] : infinity();
      u32 masks[ROWS], any = 0;
#pragma unroll
      for (u32 r = 0; r < ROWS; ++r) {
        const u32 s = min(source + first + r, n_sources - 1);
        const double way = real ? ways[u64(s) * n_units + m] : infinity();
        masks[r] = __ballot_sync(~0u, matters(way, shortest, states[first + r], cutoff));
        any |= masks[r];
      }
      if (!__syncthreads_or(any)) continue;
      for (u32 k = threadIdx.x; k < UNITS * TARGETS; k += THREADS) {
        const u32 i = k / TARGETS, j = k % TARGETS;
        const bool known = unit + i < n_units && target + j < n_targets;
        edges[i][j] = known ? lengths[u64(unit + i) * n_targets + target + j] : infinity();
      }
      __syncthreads();
#pragma unroll
      for (u32 r = 0; r < ROWS; ++r) {
        const u32 s = min(source + first + r, n_sources - 1);
        for (u32 mask = masks[r]; mask; mask &= mask - 1) {
          const u32 i = __ffs(mask) - 1;
          const double way = ways[u64(s) * n_units + unit + i];
#pragma unroll
          for (u32 c = 0; c < COLUMNS; ++c)
            best[r][c] = smaller(__dadd_rn(way, edges[i][32 * c + lane]), best[r][c]);
        }
      }
      __syncthreads();
    }
    bool mine = false;
#pragma unroll
    for (u32 r = 0; r < ROWS; ++r) {
      double furthest = 0.0;
#pragma unroll
      for (u32 c = 0; c < COLUMNS; ++c) furthest = larger(furthest, best[r][c]);
#pragma unroll
      for (u32 by = 16; by; by >>= 1)
        furthest = larger(furthest, __shfl_xor_sync(~0u, furthest, by));
      State& state = states[first + r];
      const double inner = state.inner == infinity() ? infinity() : state.outer;
      const double outer = __dmul_rn(state.outer, SHELL);
      __syncwarp();
      if (lane == 0) state = State{inner, outer, furthest};
      mine |= inner < smaller(furthest, cutoff);
    }
    more = __syncthreads_or(mine);
  }
#pragma unroll
  for (u32 r = 0; r < ROWS; ++r)
#pragma unroll
    for (u32 c = 0; c < COLUMNS; ++c) {
      const u32 s = source + first + r, j = target + 32 * c + lane;
      if (s < n_sources && j < n_targets) out[u64(s) * out_by_row + j] = best[r][c];
    }
}

// Adds to counts[radius - 1, s] the units at each radius up to the cutoff: a block a source.
extern "C" __global__ void __launch_bounds__(THREADS)
count(const double* __restrict__ ways, u64 by_row, u32 n_units, double cutoff, u32 n_radii,
      u32* counts, i64 by_radius, i64 by_source) {
  u32* bins = reinterpret_cast<u32*>(dynamic_shared);
  for (u32 r = threadIdx.x; r < n_radii; r += THREADS) bins[r] = 0;
  __syncthreads();
  for (u32 j = threadIdx.x; j < n_units; j += THREADS) {
    const double way = ways[blockIdx.x * by_row + j];
    if (way <= cutoff) atomicAdd(bins + (__double2int_rn(way) - 1), 1u);
  }
  __syncthreads();
  for (u32 r = threadIdx.x; r < n_radii; r += THREADS)
    counts[r * by_radius + blockIdx.x * by_source] += bins[r];
}

// ---- lengths of edges from weights as they are stored

// Length of an edge from a weight, or from a table of the lengths of all codes; NaN if not finite.
__device__ __forceinline__ double length_of(double weight, const double*) {
  const double size = fabs(weight);
  return size < infinity() ? __ddiv_rn(1.0, size) : __longlong_as_double(0x7ff8000000000000ll);
}
__device__ __forceinline__ double length_of(float weight, const double* table) {
  return length_of(double(weight), table);
}
__device__ __forceinline__ double length_of(unsigned char code, const double* table) {
  return table[code];
}
__device__ __forceinline__ double length_of(unsigned short code, const double* table) {
  return table[code];
}

// out[m, j]: lengths of the edges from unit m to target j, infinite out of range; *wrong becomes 1 if
// a weight is not finite. Tiles of 32 x 32 are read along the smaller stride and written along j.
template <class T>
__device__ __forceinline__ void measure(const T* weights, i64 by_unit, i64 by_target, u32 n_units,
                                        u32 n_targets, double cutoff, const double* table,
                                        double* out, u64 out_by_row, u32* wrong) {
  __shared__ double tile[32][33];
  const u32 lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const u32 unit = blockIdx.y * 32, target = blockIdx.x * 32;
  const bool along_units = by_unit < by_target;
  bool bad = false;
  for (u32 k = warp; k < 32; k += WARPS) {
    const u32 m = unit + (along_units ? lane : k), j = target + (along_units ? k : lane);
    if (m >= n_units || j >= n_targets) continue;
    const double length = length_of(weights[i64(m) * by_unit + i64(j) * by_target], table);
    bad |= length != length;
    tile[m - unit][j - target] = length > 1.0 && length <= cutoff ? length : infinity();
  }
  if (bad) atomicOr(wrong, 1u);
  __syncthreads();
  for (u32 k = warp; k < 32; k += WARPS) {
    const u32 m = unit + k, j = target + lane;
    if (m < n_units && j < n_targets) out[u64(m) * out_by_row + j] = tile[k][lane];
  }
}

#define MEASURE(name, type)                                                                      \
  extern "C" __global__ void __launch_bounds__(THREADS)                                          \
  name(const type* __restrict__ weights, i64 by_unit, i64 by_target, u32 n_units, u32 n_targets, \
       double cutoff, const double* __restrict__ table, double* __restrict__ out,                \
       u64 out_by_row, u32* wrong) {                                                             \
    measure(weights, by_unit, by_target, n_units, n_targets, cutoff, table, out, out_by_row,     \
            wrong);                                                                              \
  }

MEASURE(measure_codes8, unsigned char)
MEASURE(measure_codes16, unsigned short)
MEASURE(measure_float32, float)
MEASURE(measure_float64, double)

// into[s, j] = min(into[s, j], other[s, j]), or other[s, j] if that is the first.
extern "C" __global__ void __launch_bounds__(THREADS)
keep_nearer(double* __restrict__ into, const double* __restrict__ other, i64 by_row, i64 by_column,
            u32 columns, u64 n, u32 first) {
  for (u64 k = u64(blockIdx.x) * THREADS + threadIdx.x; k < n; k += u64(gridDim.x) * THREADS) {
    const double way = other[i64(k / columns) * by_row + i64(k % columns) * by_column];
    into[k] = first ? way : smaller(way, into[k]);
  }
}
