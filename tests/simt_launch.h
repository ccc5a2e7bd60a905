// The harness, second half: a grid of blocks, and the functions that simt.py calls.
#pragma once
#include "simt_race.h"

namespace simt {

SIMT_RUNTIME void make_fiber(Fiber& fiber, int id) {
  fiber.stack = stacks + size_t(id) * STACK;
  fiber.size = STACK;
  fiber.id = id;
  fiber.lane = id & 31;
  fiber.fake_stack = nullptr;
  SIMT_ASAN(__asan_unpoison_memory_region(fiber.stack, STACK);)
#ifdef __x86_64__
  void** top = reinterpret_cast<void**>(static_cast<char*>(fiber.stack) + STACK);
  *--top = nullptr;
  *--top = reinterpret_cast<void*>(entry);
  for (int i = 0; i < 6; i++) *--top = nullptr;
  fiber.stack_pointer = top;
#else
  getcontext(&fiber.context);
  fiber.context.uc_stack.ss_sp = fiber.stack;
  fiber.context.uc_stack.ss_size = STACK;
  fiber.context.uc_link = nullptr;
  makecontext(&fiber.context, entry, 0);
#endif
}

SIMT_RUNTIME void prepare_shared(size_t size) {  // garbage, as on a GPU, in every block
  SIMT_ASAN(__asan_unpoison_memory_region(dynamic_shared, MOST_SHARED);)
  memset(dynamic_shared, 0xa5, size);
  SIMT_ASAN(__asan_poison_memory_region(dynamic_shared + size, MOST_SHARED - size);)
}

SIMT_RUNTIME void run_block(uint3 index) {
  State* s = state;
  s->block_index = index;
  s->blocks_run++;
  s->head = s->tail = 0;
  s->alive = s->n;
  s->waiting = 0;
  s->barrier = 0;
  for (int i = 0; i < (s->n + 31) / 32; i++) {
    const int lanes = s->n - 32 * i;
    s->warps[i].n_meetings = 0;
    s->warps[i].step = 0;
    s->warps[i].exited = lanes >= 32 ? 0 : ~0u << lanes;
  }
  prepare_shared(s->shared);
  for (int i = 0; i < s->n; i++) {
    s->fibers[i].warp_step = 0;
    wake(s->fibers[i]);
  }
  reorder(0);
  next();
  if (s->error[0] || !s->alive) return;
  int i = 0;
  while (s->fibers[i].status == DONE || s->fibers[i].status == READY) i++;
  const Fiber& stuck = s->fibers[i];
  snprintf(s->error, sizeof s->error,
           "deadlock in block (%u,%u,%u): %d of %d threads stuck, thread %d in a %s at %s:%u",
           index.x, index.y, index.z, s->alive, s->n, i,
           stuck.status == AT_WARP ? "warp intrinsic" : "__syncthreads", stuck.at.file,
           stuck.at.line);
}

// CuPy compiles with -ftz=true: subnormal float32 are zero to arithmetic and comparisons. Here they
// are while a kernel runs (float64 too, which no kernel has a use for).
struct FlushToZero {
#ifdef __SSE__
  const unsigned before = __builtin_ia32_stmxcsr();
  SIMT_RUNTIME FlushToZero() { __builtin_ia32_ldmxcsr(before | 0x8040); }
  SIMT_RUNTIME ~FlushToZero() { __builtin_ia32_ldmxcsr(before); }
#endif
};

struct Launch {
  dim3 grid, block;
  size_t shared;
  unsigned order;
};

SIMT_RUNTIME const char* run_grid(const Launch& launch, void (*body)(void*), void* argument) {
  if (!state) {
    state = static_cast<State*>(calloc(1, sizeof(State)));
    stacks = static_cast<char*>(mmap(nullptr, STACK * MOST_THREADS, PROT_READ | PROT_WRITE,
                                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
  }
  State* s = state;
  const dim3 grid = launch.grid, block = launch.block;
  const unsigned n = block.x * block.y * block.z;
  s->error[0] = 0;
  if (n < 1 || n > unsigned(MOST_THREADS) || launch.shared > MOST_SHARED) {
    snprintf(s->error, sizeof s->error, "no launch of %u threads, %zu bytes", n, launch.shared);
    return s->error;
  }
  s->n = int(n);
  s->body = body;
  s->argument = argument;
  s->grid = grid;
  s->block = block;
  s->shared = launch.shared;
  s->order = launch.order;
  s->random = launch.order;
  s->now = &s->main;
  const FlushToZero flush;
  race_begin();
  for (unsigned i = 0; i < n; i++) {
    make_fiber(s->fibers[i], int(i));
    s->fibers[i].thread = {i % block.x, i / block.x % block.y, i / (block.x * block.y)};
  }
  const uint64_t blocks = uint64_t(grid.x) * grid.y * grid.z;
  for (uint64_t k = 0; k < blocks && !s->error[0]; k++)
    run_block({unsigned(k % grid.x), unsigned(k / grid.x % grid.y), unsigned(k / grid.x / grid.y)});
  race_end();
  SIMT_ASAN(__asan_unpoison_memory_region(dynamic_shared, MOST_SHARED);)
  return s->error;
}

template <class... A>
struct Call {
  void (*kernel)(A...);
  void** arguments;  // addresses of the values, as cuLaunchKernel takes them
  template <size_t... I>
  void go(std::index_sequence<I...>) const {
    kernel(*static_cast<std::remove_cvref_t<A>*>(arguments[I])...);
  }
};

template <class... A>
const char* run(void (*kernel)(A...), const Launch& launch, void** arguments) {
  Call<A...> call{kernel, arguments};
  auto body = [](void* c) { static_cast<Call<A...>*>(c)->go(std::index_sequence_for<A...>{}); };
  return run_grid(launch, body, &call);
}

template <class... A>
int sizes(void (*)(A...), int* out) {
  int n = 0;
  ((out[n++] = int(sizeof(A))), ...);
  return n;
}
}  // namespace simt

#define SIMT_SEEN extern "C" __attribute__((visibility("default")))
#define SIMT_EXPORT(name)                                                                       \
  SIMT_SEEN const char* simt_run_##name(const unsigned* shape, size_t shared, unsigned order,  \
                                         void** arguments) {                                    \
    return simt::run(name,                                                                      \
                     simt::Launch{dim3(shape[0], shape[1], shape[2]), dim3(shape[3]), shared,   \
                                  order},                                                       \
                     arguments);                                                                \
  }                                                                                             \
  SIMT_SEEN int simt_sizes_##name(int* out) { return simt::sizes(name, out); }

#define threadIdx (::simt::state->now->thread)
#define blockIdx (::simt::state->block_index)
#define blockDim (::simt::state->block)
#define gridDim (::simt::state->grid)
constexpr int warpSize = 32;
#include "simt_intrinsics.h"
