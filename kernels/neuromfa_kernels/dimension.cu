// Fractal dimension of neurons: the slope of ln N(r) on ln r over a neuron's own radii
// (definitions, section 5).
//
// Thread = neuron, so that a neuron's value depends on that neuron only; adjacent threads read
// adjacent neurons where counts are [radius, neuron]. Two sweeps, means first: sums of squares
// around them lose nothing where the radii are close together. Operations, order and the table of
// logarithms are those of the processor's kernel, so the bits are, too, unless N(r) exceeds the
// table.
//
// Floor: the counts read twice (8 B for each neuron and radius) against the memory; the logarithms
// come from L1 and L2.
//
// Compile options: THREADS, TOO_FEW_EDGES, ONE_RADIUS (cuda_dimension.py).

typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long i64;

struct Line {  // what is fitted, and where the logarithms are
  const u32* counts;
  i64 by_radius;
  u32 n_radii;
  u64 nearest, near;  // edges with d <= 0.5, and with 0.5 < d <= 1, whose radius is 1
  const double* logarithms;
  u32 size;
};

constexpr u32 AT_ONCE = 8;

// Calls visit(ln r, ln N(r)) at each radius that the neuron has; returns N at the last.
template <class Visit>
__device__ __forceinline__ u64 walk(const Line& line, Visit visit) {
  u64 running = 1 + line.nearest;
#pragma unroll 1
  for (u32 first = 0; first < line.n_radii; first += AT_ONCE) {
    u32 some[AT_ONCE];  // asked for together: the loads do not wait for one another
#pragma unroll
    for (u32 k = 0; k < AT_ONCE; ++k)
      some[k] = first + k < line.n_radii ? line.counts[(first + k) * line.by_radius] : 0;
#pragma unroll
    for (u32 k = 0; k < AT_ONCE; ++k) {
      const u64 here = some[k] + (first + k == 0 ? line.near : 0);
      if (here == 0) continue;
      running += here;
      visit(line.logarithms[first + k + 1],
            running < line.size ? line.logarithms[running] : log(double(running)));
    }
  }
  return running;
}

extern "C" __global__ void __launch_bounds__(THREADS, 8)
fit_neurons(const u32* __restrict__ counts, i64 by_radius, i64 by_neuron,
            const u32* __restrict__ near, i64 near_by_row, i64 near_by_neuron, u32 n, u32 n_radii,
            u64 min_neighbours, const double* __restrict__ logarithms, u32 size,
            double* __restrict__ values, unsigned char* __restrict__ reason) {
  const u32 i = blockIdx.x * THREADS + threadIdx.x;
  if (i >= n) return;
  const u32* nearest = near + i * near_by_neuron;
  const Line line = {counts + i * by_neuron, by_radius, n_radii,   nearest[0],
                     nearest[near_by_row],   logarithms, size};
  u32 points = 0;
  double x_mean = 0.0, y_mean = 0.0;
  const u64 edges = walk(line, [&](double x, double y) {
    x_mean = __dadd_rn(x_mean, x);
    y_mean = __dadd_rn(y_mean, y);
    ++points;
  }) - 1;
  const u32 why = edges <= min_neighbours ? TOO_FEW_EDGES : points < 2 ? ONE_RADIUS : 0;
  reason[i] = why;
  if (why) {
    values[i] = __longlong_as_double(0x7ff8000000000000ll);
    return;
  }
  x_mean = __ddiv_rn(x_mean, double(points));
  y_mean = __ddiv_rn(y_mean, double(points));
  double xx = 0.0, xy = 0.0;
  walk(line, [&](double x, double y) {
    const double off = __dadd_rn(x, -x_mean);
    xx = __dadd_rn(xx, __dmul_rn(off, off));
    xy = __dadd_rn(xy, __dmul_rn(off, __dadd_rn(y, -y_mean)));
  });
  values[i] = __ddiv_rn(xy, xx);
}
