// Runs CUDA kernels on the CPU, for tests: one block at a time, one fiber per CUDA thread.
//
// A fiber runs until it meets a barrier or a warp intrinsic and then waits for the others, so every
// kernel that is correct gives its answer, and one that is not is told where it hangs: divergent
// barriers, deadlocks. The order in which waiting threads go on is chosen by the test. What this is
// not: the GPU's memory model, two blocks at once, or contraction of a*b+c.
//
// simt.py compiles  simt.h + simt_intrinsics.h + the kernel's file + a line SIMT_EXPORT per kernel.
#pragma once
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <elf.h>
#include <memory>
#include <source_location>
#include <sys/mman.h>
#include <type_traits>
#include <unordered_map>
#include <utility>
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#define SIMT_ASAN(...) __VA_ARGS__
#else
#define SIMT_ASAN(...)
#endif
#ifndef __x86_64__
#include <ucontext.h>
#endif

#define __global__
#define __device__
#define __host__
#define __constant__ static
#define __shared__ static  // one block at a time; simt.py takes it from `extern __shared__`
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __restrict__
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))
// The harness itself must not be seen by the race check.
#define SIMT_RUNTIME __attribute__((no_sanitize("thread"), noinline)) inline
// Where a barrier stands in the kernel: two on one line stay distinct by their column.
#define SIMT_PLACE simt::Place at = simt::place(std::source_location::current())

struct uint3 { unsigned x, y, z; };
struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned a = 1, unsigned b = 1, unsigned c = 1) : x(a), y(b), z(c) {}
};

namespace simt {
constexpr int MOST_THREADS = 1024, MOST_MASKS = 8;
constexpr unsigned RING = 2048;
constexpr size_t MOST_SHARED = 232448;  // 227 KiB, the largest that any architecture gives a block
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr size_t STACK = 256 << 10;
#else
constexpr size_t STACK = 64 << 10;
#endif

struct Place {
  const char* file;
  unsigned line, column;
  bool operator==(const Place&) const = default;
};
constexpr Place place(std::source_location s) { return {s.file_name(), s.line(), s.column()}; }

enum Status : uint8_t { READY, AT_BARRIER, AT_WARP, DONE };

struct Fiber {
  uint3 thread;
  int id, lane;
  unsigned warp_step;  // warp intrinsics it has passed
  Status status;
  Place at;
  void *stack_pointer, *stack;
  size_t size;
  void* fake_stack;
#ifndef __x86_64__
  ucontext_t context;
#endif
};

struct Meeting {  // lanes of one mask on their way through a warp intrinsic
  unsigned mask, arrived, turn;
  Place at;
  uint64_t given[2][32];
};

struct Warp {
  unsigned exited, step;
  int n_meetings;
  Meeting meetings[MOST_MASKS];
};

struct State {
  Fiber fibers[MOST_THREADS], main;
  Warp warps[MOST_THREADS / 32];
  int ring[RING];  // threads ready to run
  unsigned head, tail;
  Fiber* now;
  dim3 grid, block;
  uint3 block_index;
  int n, alive, waiting, votes[2][3];
  unsigned barrier;  // barriers this block has passed
  Place barrier_at;
  unsigned order;
  uint64_t random, blocks_run;
  size_t shared;
  bool fresh;
  void (*body)(void*);
  void* argument;
  char error[700];
};

inline State* state = nullptr;
inline char* stacks = nullptr;

}  // namespace simt

// Every kernel's dynamic shared memory has this name; what lies beyond the size asked for at the
// launch is out of bounds for the address sanitizer.
alignas(1024) inline unsigned char dynamic_shared[simt::MOST_SHARED];

namespace simt {

#ifdef __x86_64__
extern "C" void simt_swap(void** save, void* load) __attribute__((visibility("hidden")));
asm(".text\n.p2align 4\n.weak simt_swap\n.hidden simt_swap\n.type simt_swap,@function\nsimt_swap:\n"
    "push %rbp\npush %rbx\npush %r12\npush %r13\npush %r14\npush %r15\n"
    "mov %rsp,(%rdi)\nmov %rsi,%rsp\n"
    "pop %r15\npop %r14\npop %r13\npop %r12\npop %rbx\npop %rbp\nret\n"
    ".size simt_swap,.-simt_swap\n");
#endif

SIMT_RUNTIME void swap_to(Fiber* to) {
  Fiber* from = state->now;
  state->now = to;
  SIMT_ASAN(__sanitizer_start_switch_fiber(&from->fake_stack, to->stack, to->size);)
#ifdef __x86_64__
  simt_swap(&from->stack_pointer, to->stack_pointer);
#else
  swapcontext(&from->context, &to->context);
#endif
  SIMT_ASAN(__sanitizer_finish_switch_fiber(from->fake_stack, nullptr, nullptr);)
}

SIMT_RUNTIME void next() {  // whoever is ready, else back to run_grid
  State* s = state;
  swap_to(s->head != s->tail ? &s->fibers[s->ring[s->head++ % RING]] : &s->main);
}

SIMT_RUNTIME void fail(const char* what, long number, Place at) {
  State* s = state;
  char text[300];
  snprintf(text, sizeof text, what, number);
  snprintf(s->error, sizeof s->error, "%s at %s:%u, block (%u,%u,%u) thread (%u,%u,%u)", text,
           at.file, at.line, s->block_index.x, s->block_index.y, s->block_index.z,
           s->now->thread.x, s->now->thread.y, s->now->thread.z);
  swap_to(&s->main);  // never resumed
}

SIMT_RUNTIME void wait(Status status, Place at) {
  state->now->status = status;
  state->now->at = at;
  next();
}

SIMT_RUNTIME void wake(Fiber& fiber) {
  fiber.status = READY;
  state->ring[state->tail++ % RING] = fiber.id;
}

SIMT_RUNTIME void swap_places(unsigned a, unsigned b) {
  std::swap(state->ring[a % RING], state->ring[b % RING]);
}

// Order of the threads just released: 0 as they are numbered, 1 backwards, above 1 a random seed.
SIMT_RUNTIME void reorder(unsigned first) {
  State* s = state;
  const unsigned n = s->tail - first;
  for (unsigned i = 0; s->order == 1 && i < n / 2; i++) swap_places(first + i, s->tail - 1 - i);
  for (unsigned i = n; s->order > 1 && i > 1; i--) {
    s->random = s->random * 6364136223846793005ull + 1442695040888963407ull;
    swap_places(first + i - 1, first + unsigned((s->random >> 33) % i));
  }
}

SIMT_RUNTIME void release_barrier() {
  State* s = state;
  const unsigned first = s->tail;
  s->waiting = 0;
  s->barrier++;
  for (int i = 0; i < s->n; i++)
    if (s->fibers[i].status == AT_BARRIER) wake(s->fibers[i]);
  reorder(first);
}

enum Vote { COUNT, OR, AND };

SIMT_RUNTIME int barrier(bool mine, Vote vote, Place at) {
  State* s = state;
  int* votes = s->votes[s->barrier & 1];
  if (!s->waiting) {
    s->barrier_at = at;
    votes[COUNT] = votes[OR] = 0;
    votes[AND] = 1;
  } else if (s->barrier_at != at) {
    fail("divergent __syncthreads: others wait at line %ld; this thread", s->barrier_at.line, at);
  }
  votes[COUNT] += mine;
  votes[OR] |= mine;
  votes[AND] &= mine;
  s->waiting++;
  if (s->waiting == s->alive) release_barrier();
  else wait(AT_BARRIER, at);
  return votes[vote];
}

SIMT_RUNTIME void release_warp(Warp& warp, Meeting& meeting) {
  State* s = state;
  const unsigned first = s->tail;
  const int lane_0 = int(&warp - s->warps) * 32;
  warp.step++;
  for (unsigned m = meeting.arrived; m; m &= m - 1) {
    Fiber& fiber = s->fibers[lane_0 + std::countr_zero(m)];
    fiber.warp_step = warp.step;
    if (&fiber != s->now) wake(fiber);
  }
  meeting.arrived = 0;
  meeting.turn++;
  reorder(first);
}

// Every live lane of `mask` gives a value; returns the 32 values once all have arrived.
SIMT_RUNTIME const uint64_t* exchange(unsigned mask, uint64_t value, Place at) {
  Fiber* me = state->now;
  Warp& warp = state->warps[me->id >> 5];
  if (!(mask >> me->lane & 1)) fail("warp intrinsic: caller not in its mask 0x%lx", mask, at);
  Meeting *meeting = warp.meetings, *end = warp.meetings + warp.n_meetings;
  while (meeting != end && meeting->mask != mask) meeting++;
  if (meeting == end) {
    if (warp.n_meetings == MOST_MASKS) fail("more than %ld warp masks", MOST_MASKS, at);
    warp.n_meetings++;
    meeting->mask = mask;
    meeting->arrived = meeting->turn = 0;
  }
  if (!meeting->arrived) meeting->at = at;
  else if (meeting->at != at)
    fail("divergent warp intrinsic: others wait at line %ld; this lane", meeting->at.line, at);
  uint64_t* given = meeting->given[meeting->turn & 1];
  given[me->lane] = value;
  meeting->arrived |= 1u << me->lane;
  if (meeting->arrived == (mask & ~warp.exited)) release_warp(warp, *meeting);
  else wait(AT_WARP, at);
  return given;
}

SIMT_RUNTIME void entry() {
  SIMT_ASAN({
    const void* bottom;
    size_t size;
    __sanitizer_finish_switch_fiber(nullptr, &bottom, &size);
    if (!state->main.stack) state->main.stack = const_cast<void*>(bottom), state->main.size = size;
  })
  for (;;) {
    State* s = state;
    s->body(s->argument);
    Fiber* me = s->now;
    Warp& warp = s->warps[me->id >> 5];
    me->status = DONE;
    s->alive--;
    warp.exited |= 1u << me->lane;
    for (int k = 0; k < warp.n_meetings; k++) {
      Meeting& m = warp.meetings[k];
      if (m.arrived && m.arrived == (m.mask & ~warp.exited)) release_warp(warp, m);
    }
    if (s->waiting && s->waiting == s->alive) release_barrier();
    next();
  }
}
}  // namespace simt
#include "simt_launch.h"
