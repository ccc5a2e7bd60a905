// Race check of the harness: a shadow cell for every byte that a kernel touches.
//
// In a race build g++ (-fsanitize=thread, compile only) calls the functions below at every access;
// they stand in for that sanitizer's own runtime, which does not know our barriers. Two accesses of
// one byte by different threads, at least one a write and not both atomic, must have a barrier of
// the block between them, or (within a warp) a warp intrinsic. Different blocks are never ordered.
// Of each kind of access to a byte the last ones of two threads are remembered.
#pragma once
#ifndef __SANITIZE_THREAD__
namespace simt {
inline void race_begin() {}
inline void race_end() {}
inline void note_atomic(const void*, size_t) {}
}  // namespace simt
#else
#define SIMT_HOOK extern "C" __attribute__((no_sanitize("thread"), used)) inline

namespace simt {
enum Kind : uint8_t { READ, WRITE, ATOMIC };

struct Access {
  uint64_t block;  // 0: none yet
  uint64_t pc;
  unsigned barrier, warp_step;
  uint16_t thread;
  Kind kind;
};

struct Cell { Access last[3][2]; };  // by kind: the last one, and the last of another thread
struct Page { Cell cells[4096]; };

inline std::unordered_map<uintptr_t, std::unique_ptr<Page>>* pages = nullptr;
inline uintptr_t image_first = 0, image_last = 0;  // this library: shared and constant memory
inline bool checking = false;

SIMT_RUNTIME bool ordered(const Access& old, const Access& now, bool shared_memory) {
  if (!old.block) return true;
  if (old.block != now.block) return shared_memory;
  if (old.thread == now.thread || old.barrier != now.barrier) return true;
  return old.thread / 32 == now.thread / 32 && old.warp_step < now.warp_step;
}

SIMT_RUNTIME const char* verb(Kind kind) {
  return kind == READ ? "read" : kind == WRITE ? "write" : "atomic";
}

SIMT_RUNTIME void report(const Access& old, const Access& now, uintptr_t address, bool shared) {
  State* s = state;
  if (s->error[0]) return;
  snprintf(s->error, sizeof s->error,
           "race in %s memory: %s by thread %u [pc %lx] and %s by thread %u [pc %lx], %s, "
           "block (%u,%u,%u), byte 0x%lx",
           shared ? "shared" : "global", verb(old.kind), old.thread, old.pc - image_first,
           verb(now.kind), now.thread, now.pc - image_first,
           old.block == now.block ? "no barrier between them" : "in different blocks",
           s->block_index.x, s->block_index.y, s->block_index.z, address);
  checking = false;
  swap_to(&s->main);  // never resumed
}

SIMT_RUNTIME Page& page_of(uintptr_t address) {
  checking = false;  // the map's own code is instrumented as well
  auto& page = (*pages)[address >> 12];
  if (!page) page.reset(static_cast<Page*>(calloc(1, sizeof(Page))));
  Page* found = page.get();
  checking = true;
  return *found;
}

SIMT_RUNTIME void note(const void* pointer, size_t size, Kind kind, void* pc) {
  if (!checking || state->now == &state->main) return;
  const uintptr_t first = reinterpret_cast<uintptr_t>(pointer);
  const uintptr_t stack = reinterpret_cast<uintptr_t>(stacks);
  if (first - stack < STACK * MOST_THREADS) return;  // a thread's own variables
  if (first - reinterpret_cast<uintptr_t>(state) < sizeof(State)) return;  // the harness's
  const bool shared = first >= image_first && first < image_last;
  const Fiber& me = *state->now;
  const Access now{state->blocks_run, reinterpret_cast<uintptr_t>(pc), state->barrier,
                   me.warp_step, uint16_t(me.id), kind};
  for (uintptr_t at = first; at < first + size; at++) {
    Cell& cell = page_of(at).cells[at & 4095];
    for (int other = READ; other <= ATOMIC; other++) {
      if (other == kind && kind != WRITE) continue;  // two reads, two atomics
      for (const Access& old : cell.last[other])
        if (!ordered(old, now, shared)) return report(old, now, at, shared);
    }
    Access* last = cell.last[kind];
    if (last[0].thread != now.thread) last[1] = last[0];
    last[0] = now;
  }
}

SIMT_RUNTIME void note_atomic(const void* pointer, size_t size) {
  note(pointer, size, ATOMIC, __builtin_return_address(0));
}

SIMT_RUNTIME void race_begin() {
  if (!pages) pages = new std::unordered_map<uintptr_t, std::unique_ptr<Page>>;
  pages->clear();  // everything before this launch is ordered before it
  Dl_info found;
  dladdr(reinterpret_cast<void*>(&simt::fail), &found);
  const char* image = static_cast<const char*>(found.dli_fbase);
  image_first = image_last = reinterpret_cast<uintptr_t>(image);
  const auto* header = reinterpret_cast<const Elf64_Ehdr*>(image);
  const auto* part = reinterpret_cast<const Elf64_Phdr*>(image + header->e_phoff);
  for (int i = 0; i < header->e_phnum; i++)
    if (part[i].p_type == PT_LOAD)
      image_last = std::max(image_last, image_first + part[i].p_vaddr + part[i].p_memsz);
  checking = true;
}

SIMT_RUNTIME void race_end() { checking = false; }
}  // namespace simt

#define SIMT_HOOKS(size)                                                                  \
  SIMT_HOOK void __tsan_read##size(void* p) {                                             \
    simt::note(p, size, simt::READ, __builtin_return_address(0));                         \
  }                                                                                       \
  SIMT_HOOK void __tsan_write##size(void* p) {                                            \
    simt::note(p, size, simt::WRITE, __builtin_return_address(0));                        \
  }                                                                                       \
  SIMT_HOOK void __tsan_unaligned_read##size(void* p) {                                   \
    simt::note(p, size, simt::READ, __builtin_return_address(0));                         \
  }                                                                                       \
  SIMT_HOOK void __tsan_unaligned_write##size(void* p) {                                  \
    simt::note(p, size, simt::WRITE, __builtin_return_address(0));                        \
  }                                                                                       \
  SIMT_HOOK void __tsan_volatile_read##size(void* p) {                                    \
    simt::note(p, size, simt::READ, __builtin_return_address(0));                         \
  }                                                                                       \
  SIMT_HOOK void __tsan_volatile_write##size(void* p) {                                   \
    simt::note(p, size, simt::WRITE, __builtin_return_address(0));                        \
  }
SIMT_HOOKS(1)
SIMT_HOOKS(2)
SIMT_HOOKS(4)
SIMT_HOOKS(8)
SIMT_HOOKS(16)
SIMT_HOOK void __tsan_read_range(void* p, size_t n) {
  simt::note(p, n, simt::READ, __builtin_return_address(0));
}
SIMT_HOOK void __tsan_write_range(void* p, size_t n) {
  simt::note(p, n, simt::WRITE, __builtin_return_address(0));
}
SIMT_HOOK void __tsan_func_entry(void*) {}
SIMT_HOOK void __tsan_func_exit() {}
SIMT_HOOK void __tsan_init() {}
SIMT_HOOK void __tsan_vptr_update(void**, void*) {}
SIMT_HOOK void __tsan_vptr_read(void**) {}
#endif
