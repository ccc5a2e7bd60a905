// Kernels that the harness must find fault with, each beside what it should have been; test_simt.py.
extern __shared__ __align__(16) unsigned char dynamic_shared[];
#define KERNEL extern "C" __global__ void __launch_bounds__(256)

KERNEL turned(const float* x, float* y) {  // right: a barrier between write and read
  __shared__ float t[256];
  t[threadIdx.x] = x[threadIdx.x];
  __syncthreads();
  y[threadIdx.x] = t[255 - threadIdx.x];
}
KERNEL turned_without_barrier(const float* x, float* y) {
  __shared__ float t[256];
  t[threadIdx.x] = x[threadIdx.x];
  y[threadIdx.x] = t[255 - threadIdx.x];
}

KERNEL repeated(const float* x, float* y) {  // right: one more before the next turn writes
  __shared__ float t[256];
  float sum = 0;
  for (int k = 0; k < 4; k++) {
    t[threadIdx.x] = x[threadIdx.x] + k;
    __syncthreads();
    sum += t[(threadIdx.x + 32) & 255];
    __syncthreads();
  }
  y[threadIdx.x] = sum;
}
KERNEL repeated_with_one_barrier(const float* x, float* y) {
  __shared__ float t[256];
  float sum = 0;
  for (int k = 0; k < 4; k++) {
    t[threadIdx.x] = x[threadIdx.x] + k;
    __syncthreads();
    sum += t[(threadIdx.x + 32) & 255];
  }
  y[threadIdx.x] = sum;
}

KERNEL tallied(const float* x, float* y) {  // right: atomic
  unsigned* h = reinterpret_cast<unsigned*>(dynamic_shared);
  if (threadIdx.x < 4) h[threadIdx.x] = 0;
  __syncthreads();
  atomicAdd(h + (threadIdx.x & 3), 1u);
  __syncthreads();
  y[threadIdx.x] = h[threadIdx.x & 3];
}
KERNEL tallied_without_atomics(const float* x, float* y) {
  unsigned* h = reinterpret_cast<unsigned*>(dynamic_shared);
  if (threadIdx.x < 4) h[threadIdx.x] = 0;
  __syncthreads();
  h[threadIdx.x & 3]++;
  __syncthreads();
  y[threadIdx.x] = h[threadIdx.x & 3];
}
KERNEL tallied_before_cleared(const float* x, float* y) {
  unsigned* h = reinterpret_cast<unsigned*>(dynamic_shared);
  if (threadIdx.x < 4) h[threadIdx.x] = 0;
  atomicAdd(h + (threadIdx.x & 3), 1u);
  __syncthreads();
  y[threadIdx.x] = h[threadIdx.x & 3];
}

KERNEL summed(const float* x, float* y) {  // right: lanes of a warp meet at an intrinsic
  __shared__ float t[256];
  t[threadIdx.x] = x[threadIdx.x];
  __syncwarp();
  y[threadIdx.x] = t[threadIdx.x ^ 1];
}
KERNEL summed_over_warps(const float* x, float* y) {
  __shared__ float t[256];
  t[threadIdx.x] = x[threadIdx.x];
  __syncwarp();
  y[threadIdx.x] = t[threadIdx.x ^ 32];
}

KERNEL blocks_share_a_place(const float* x, float* y) {
  if (threadIdx.x == 0) y[0] = x[blockIdx.x];
}
KERNEL barriers_diverge(const float* x, float* y) {
  if (threadIdx.x < 100) {
    __syncthreads();
    y[0] = 1;
  } else {
    __syncthreads();
    y[1] = 1;
  }
}
KERNEL some_never_come(const float* x, float* y) {
  float v = x[threadIdx.x];
  if ((threadIdx.x & 31) < 16) v = __shfl_down_sync(~0u, v, 1);
  __syncthreads();
  y[threadIdx.x] = v;
}
KERNEL shuffles_diverge(const float* x, float* y) {
  float v = x[threadIdx.x];
  if (threadIdx.x & 1) v = __shfl_sync(~0u, v, 0);
  else v = __shfl_sync(~0u, v, 1) + 1;
  y[threadIdx.x] = v;
}

// For the sanitizers
KERNEL past_the_array(const float* x, float* y) { y[threadIdx.x] = x[threadIdx.x + 1]; }
KERNEL past_shared_memory(const float* x, float* y) {
  reinterpret_cast<float*>(dynamic_shared)[threadIdx.x] = x[threadIdx.x];
}
KERNEL past_a_static_array(const float* x, float* y) {
  __shared__ float t[32];
  t[threadIdx.x] = x[threadIdx.x];
}
KERNEL misaligned(const float* x, float* y) {
  y[threadIdx.x] = *reinterpret_cast<const float*>(reinterpret_cast<const char*>(x) + 1);
}
KERNEL shifted_too_far(const float* x, float* y) { y[threadIdx.x] = 1 << (threadIdx.x + 1); }
