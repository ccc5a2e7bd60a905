// Hop counts on a GPU: breadth-first search from 64 sources at once (definitions, section 7).
//
// A bit is a source: each node has a word for those that have seen it, one for those that stand on
// it now, and one for those that reach it next. A node hands on all its bits together. Work is cut
// into pieces of at most PIECE arcs, each for a group of GROUP lanes that reads neighbouring arcs,
// so hubs are spread over the GPU and a small frontier costs what it is. Counts are integers, and a
// node is listed once, by whoever gives it its first bit: no order of threads changes a number.
//
// Floor of a step: 4 B for every arc of the frontier against the memory, a word that the arc's node
// has seen (gathered) and, where it is new, one atomic operation on a word in L2.
//
// Compile options: THREADS, GROUP, PIECE (cuda_hops.py).

typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long i64;

struct Control {  // of one hop; written by atomics
  u32 reached, pieces;
};

__device__ __forceinline__ u32 lane() { return threadIdx.x & 31; }
__device__ __forceinline__ u32 warps() { return gridDim.x * (THREADS / 32); }
__device__ __forceinline__ u32 warp() { return (blockIdx.x * THREADS + threadIdx.x) / 32; }

// Place of this lane's `mine` items in a list that all warps append to; all lanes take part.
__device__ __forceinline__ u32 append(u32* length, u32 mine) {
  u32 upto = mine;
  for (u32 by = 1; by < 32; by <<= 1) {
    const u32 before = __shfl_up_sync(~0u, upto, by);
    if (lane() >= by) upto += before;
  }
  u32 first = 0;
  if (lane() == 31 && upto) first = atomicAdd(length, upto);
  return __shfl_sync(~0u, first, 31) + upto - mine;
}

// Is this a graph? *wrong becomes 1 if the arcs of a node end before they begin, or beyond all arcs,
// and 2 if they lead to no node.
extern "C" __global__ void __launch_bounds__(THREADS)
check_graph(const i64* __restrict__ indptr, const u32* __restrict__ indices, u64 n, u64 arcs,
            u32* wrong) {
  const u64 first = u64(blockIdx.x) * THREADS + threadIdx.x, step = u64(gridDim.x) * THREADS;
  for (u64 i = first; i < n; i += step)
    if (indptr[i] < 0 || indptr[i] > indptr[i + 1] || indptr[i + 1] > i64(arcs))
      atomicOr(wrong, 1u);
  if (first == 0 && (indptr[0] != 0 || indptr[n] != i64(arcs))) atomicOr(wrong, 1u);
  for (u64 e = first; e < arcs; e += step)
    if (indices[e] >= n) atomicOr(wrong, 2u);
}

// Source k stands on its node: bit k. At most 64.
extern "C" __global__ void __launch_bounds__(THREADS)
plant(const i64* __restrict__ sources, u32 n_sources, u64* fresh, u32* reached, Control* control) {
  const u32 k = threadIdx.x;
  if (k >= n_sources) return;
  fresh[sources[k]] = 1ull << k;
  reached[k] = u32(sources[k]);
  if (k == 0) control->reached = n_sources;
}

// Hands the bits of the frontier on along its arcs, and lists the nodes that get any.
extern "C" __global__ void __launch_bounds__(THREADS)
step(const i64* __restrict__ indptr, const u32* __restrict__ indices,
     const u64* __restrict__ pieces, u32 n_pieces, const u64* __restrict__ now,
     const u64* __restrict__ seen, u64* fresh, u32* reached, Control* control) {
  const u32 groups = 32 / GROUP, member = lane() % GROUP;
  for (u64 first = u64(warp()) * groups; first < n_pieces; first += u64(warps()) * groups) {
    const u64 k = first + lane() / GROUP;
    u64 bits = 0;
    i64 arc = 0, end = 0;
    if (k < n_pieces) {
      const u32 node = u32(pieces[k] >> 32);
      bits = now[node];
      arc = indptr[node] + i64(u32(pieces[k])) * PIECE;
      end = min(arc + PIECE, indptr[node + 1]);
    }
    for (arc += member; __any_sync(~0u, arc < end); arc += GROUP) {
      u32 node = 0;
      bool mine = false;
      if (arc < end) {
        node = indices[arc];
        const u64 x = bits & ~seen[node];
        mine = x && atomicOr(fresh + node, x) == 0;
      }
      const u32 all = __ballot_sync(~0u, mine);
      if (all == 0) continue;
      u32 place = 0;
      if (lane() == 0) place = atomicAdd(&control->reached, u32(__popc(all)));
      place = __shfl_sync(~0u, place, 0) + __popc(all & ((1u << lane()) - 1));
      if (mine) reached[place] = node;
    }
  }
}

// Transposes a matrix of 32 x 32 bits whose rows the lanes hold.
__device__ __forceinline__ u32 transposed(u32 row) {
  u32 low = 0x0000ffffu;
#pragma unroll
  for (u32 by = 16; by; by >>= 1, low ^= low << by) {
    const u32 other = __shfl_xor_sync(~0u, row, by);
    row = lane() & by ? (row & ~low) | (other >> by & low) : (row & low) | (other & low) << by;
  }
  return row;
}

// Makes the nodes reached the frontier: what they got is seen and counted by source, their arcs are
// cut into pieces; the frontier before is cleared. counts: 64 numbers.
extern "C" __global__ void __launch_bounds__(THREADS)
settle(const i64* __restrict__ indptr, const u32* __restrict__ before, u32 n_before, u64* now,
       const u64* __restrict__ fresh, u64* seen, const u32* __restrict__ reached, u64* pieces,
       Control* control, u32* counts) {
  for (u64 i = u64(blockIdx.x) * THREADS + threadIdx.x; i < n_before;
       i += u64(gridDim.x) * THREADS)
    now[before[i]] = 0;
  const u32 n_reached = control->reached;
  u32 low = 0, high = 0;  // new nodes of the sources `lane` and 32 + `lane`
  for (u64 first = u64(warp()) * 32; first < n_reached; first += u64(warps()) * 32) {
    const u64 i = first + lane();
    u64 bits = 0;
    u32 node = 0, parts = 0;
    if (i < n_reached) {
      node = reached[i];
      bits = fresh[node];
      seen[node] |= bits;
      parts = u32((indptr[node + 1] - indptr[node] + PIECE - 1) / PIECE);
    }
    low += __popc(transposed(u32(bits)));
    high += __popc(transposed(u32(bits >> 32)));
    const u32 place = append(&control->pieces, parts);
    for (u32 k = 0; k < parts; ++k) pieces[place + k] = u64(node) << 32 | k;
  }
  if (low) atomicAdd(counts + lane(), low);
  if (high) atomicAdd(counts + 32 + lane(), high);
}
