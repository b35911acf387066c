// Checks of memory accesses: bounds, races and uninitialised shared memory.
//
// The compiler's -fsanitize=thread calls __tsan_read4(address) and the like before each access; here
// are functions of these names that do what the sanitizer's library does not: they know blocks,
// barriers, shared memory and the device's allocations. -fsanitize=alignment,bounds likewise call
// the functions at the end for wrong alignment and for indices outside of an array's type.
//
// Each byte of memory that kernels may use has a cell: who wrote it last and who read it last, and
// when, in ticks, which move on when threads meet. An access races with an earlier one if another
// thread made that, at least one of the two writes, and since then neither all threads of the block
// have met (tick >= all_met) nor, in one warp, the two in a __syncwarp: each lane `knows` how far
// it has heard of each other (vector clocks; Lamport 1978, Mattern 1989). Shuffles do not order
// memory, as the CUDA Programming Guide says. Two blocks race likewise unless the earlier one
// fenced and the later one used an atomic operation, which is how the last block to finish reads
// what all others wrote. A write that leaves the value as it is races with nobody.
#define CUDA_ON_CPU_RUNTIME
#include "cuda_on_cpu_runtime.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <vector>

extern "C" cuda_on_cpu::Index cuda_on_cpu_block;

namespace cuda_on_cpu {

uint32_t tick = 1, launch_began, block_began, all_met;

// ---- shadow --------------------------------------------------------------------------------------

/// One access: when, by which thread of the block, from where in the code (an offset; 0: far away).
struct Access {
    uint32_t when;
    uint32_t thread : 10, // of its block
        from : 19,        // offset / 2 in the code; return addresses are rarely odd by more
        many : 1,         // a read: others of the warp read it as well since all met
        warps : 1,        // a read: other warps did
        atomic : 1;       // a write
};

struct Cell {
    Access write, read;
};

static bool same(const Cell &a, const Cell &b) { return !memcmp(&a, &b, sizeof a); }

constexpr size_t PAGE = 4096;

/// `live`: a bit for each byte that kernels may use.
struct Page {
    uint8_t live[PAGE / 8 + 8];
    Cell *cells; // made at the first access
};

// address bits 47..30, 29..12
constexpr size_t TOP = 1 << 17, BELOW = 1 << 18;
static Page **tables[TOP];

static Page *page_of(uintptr_t address) {
    Page **table = address >> 30 < TOP ? tables[address >> 30] : nullptr;
    return table ? table[address >> 12 & (BELOW - 1)] : nullptr;
}

static void *zeroed(size_t count, size_t size) {
    void *memory = calloc(count, size);
    if (!memory) {
        fputs("tracejit: no memory for the checks of kernels\n", stderr);
        abort();
    }
    return memory;
}

static Page *make_page(uintptr_t address) {
    Page **&table = tables[address >> 30 & (TOP - 1)];
    if (!table) table = (Page **)zeroed(BELOW, sizeof(Page *));
    Page *&page = table[address >> 12 & (BELOW - 1)];
    if (!page) page = (Page *)zeroed(1, sizeof(Page));
    return page;
}

/// Kernels may use these bytes, or no longer.
static void track(uintptr_t address, size_t size, bool live) {
    for (uintptr_t end = address + size; address < end;) {
        Page *page = make_page(address);
        size_t from = address % PAGE, to = end - address < PAGE - from ? from + (end - address) : PAGE;
        if (from == 0 && to == PAGE) {
            memset(page->live, live ? 0xff : 0, PAGE / 8);
            if (!live) free(page->cells), page->cells = nullptr;
        } else {
            for (size_t k = from; k < to; k++)
                page->live[k / 8] = (page->live[k / 8] & ~(1 << k % 8)) | live << k % 8;
        }
        address += to - from;
    }
}

static void forget_all_accesses() {
    for (Page **table : tables)
        for (size_t k = 0; table && k < BELOW; k++)
            if (table[k]) free(table[k]->cells), table[k]->cells = nullptr;
}

// ---- reports -------------------------------------------------------------------------------------

static bool checking; // a launch with checks runs
static std::vector<uint32_t> block_ticks;
static std::vector<uint64_t> block_numbers;
static std::vector<bool> block_fenced;
static bool block_used_atomics;

static const char *image() { return launch->kernel->image[0]; }

static Access access_now(const void *pc, bool atomic = false) {
    size_t offset = ((const char *)pc - image()) / 2;
    return {tick, current->number, offset < 1 << 19 ? (uint32_t)offset : 0, 0, 0, atomic};
}

static size_t block_position(uint32_t when) {
    size_t low = 0, high = block_ticks.size();
    while (high - low > 1) {
        size_t middle = (low + high) / 2;
        (block_ticks[middle] <= when ? low : high) = middle;
    }
    return low;
}

static CudaOnCpuPlace place_of_access(const Access &a) {
    const uint32_t *grid = launch->grid;
    uint64_t block = block_numbers[block_position(a.when)];
    const Index &t = threads[a.thread].index;
    void *pc = a.from ? (void *)(image() + 2 * (size_t)a.from) : nullptr;
    return {nullptr, 0, 2, pc, {t.x, t.y, t.z},
            {uint32_t(block % grid[0]), uint32_t(block / grid[0] % grid[1]),
             uint32_t(block / grid[0] / grid[1])}};
}

static bool is_shared(uintptr_t address) {
    const CudaOnCpuKernel &k = *launch->kernel;
    auto within = [address](const void *low, const void *high) {
        return address >= (uintptr_t)low && address < (uintptr_t)high;
    };
    return within(k.shared[0], k.shared[1]) || within(k.common[0], k.common[1]) ||
           within(cuda_on_cpu_dynamic, cuda_on_cpu_dynamic + MOST_SHARED);
}

[[noreturn]] static void outside(uintptr_t address, size_t size, bool writes, void *pc) {
    launch->failure.address = address;
    launch->failure.size = size;
    fail(place_of(*current, nullptr, 0, pc), "out-of-bounds %s of %zu bytes of %s memory",
         writes ? "write" : "read", size, is_shared(address) ? "shared" : "global");
}

/// A write that races if it changes anything, which shows after it.
static struct {
    bool waits;
    uintptr_t address;
    size_t size;
    uint8_t old[16];
    Access earlier;
    const char *what, *other_what;
    CudaOnCpuPlace here;
} pending;

[[noreturn]] static void race(uintptr_t address, size_t size, const char *what,
                              const char *other_what, const CudaOnCpuPlace &here,
                              const Access &earlier) {
    CudaOnCpuFailure &f = launch->failure;
    f.address = address, f.size = size;
    f.other = place_of_access(earlier);
    snprintf(f.other_what, sizeof f.other_what, "%s", other_what);
    bool blocks = memcmp(f.other.block, here.block, sizeof here.block) != 0;
    fail(here, "race between %s: %s %s memory", blocks ? "blocks" : "threads of a block", what,
         is_shared(address) ? "shared" : "global");
}

// ---- races ---------------------------------------------------------------------------------------

/// Whether another thread of this block made `a`, since all met, unseen by the current one.
static bool unordered(const Access &a) {
    const Thread &t = *current, &other = threads[a.thread];
    if (a.warps) return true;
    if (other.number == t.number && !a.many) return false;
    if (other.number / WARP == t.number / WARP && t.knows[other.number % WARP] >= a.when) return false;
    return !(other.fenced >= a.when && t.atomic > other.fenced); // they agreed by a flag
}

/// Whether another block of the launch made `a`, and this one cannot know that it is done.
static bool of_other_block(const Access &a) {
    if (a.when >= block_began || a.when < launch_began) return false;
    return !(block_used_atomics && block_fenced[block_position(a.when)]);
}

static bool races(const Access &a, bool shared) {
    return a.when >= all_met ? unordered(a) : !shared && of_other_block(a);
}

static void note_write(uintptr_t address, size_t size, const Access &earlier, bool was_write, void *pc) {
    if (pending.waits) return;
    pending = {true, address, size, {}, earlier, "this writes to", "this wrote to it:",
               place_of(*current, nullptr, 0, pc)};
    if (!was_write) pending.other_what = "this read it:";
    memcpy(pending.old, (void *)address, size < 16 ? size : 16);
}

static void settle() {
    pending.waits = false;
    if (memcmp(pending.old, (void *)pending.address, pending.size < 16 ? pending.size : 16))
        race(pending.address, pending.size, pending.what, pending.other_what, pending.here,
             pending.earlier);
}

enum Kind { READ, WRITE, ATOMIC };

/// `shared`: whether the address is of shared memory, which each block has for itself.
static void touch_cell(Cell &cell, uintptr_t address, size_t size, Kind kind, bool shared,
                       const Access &now, void *pc) {
    Access &w = cell.write, &r = cell.read;
    if (kind == READ) {
        if (shared && w.when < block_began) {
            launch->failure.address = address, launch->failure.size = size;
            fail(place_of(*current, nullptr, 0, pc), "read of shared memory that nobody has written: it has no value yet, or a barrier is missing");
        }
        if (!w.atomic && races(w, shared))
            race(address, size, "this reads", "this wrote it:", place_of(*current, nullptr, 0, pc), w);
        // earlier reads count on while this thread does not know of them
        bool others = r.when >= all_met && unordered(r);
        bool many = others, warps = others && (r.warps || r.thread / WARP != now.thread / WARP);
        r = now;
        r.many = many, r.warps = warps;
        return;
    }
    if (!(kind == ATOMIC && w.atomic) && races(w, shared)) note_write(address, size, w, true, pc);
    if (kind == WRITE && races(r, shared)) note_write(address, size, r, false, pc);
    w = now;
}

/// Whether kernels may use `count` bytes of a page from `first` on.
static bool is_live(const Page &page, size_t first, size_t count) {
    if (count <= 16) {
        uint32_t bits, mask = (1u << count) - 1;
        memcpy(&bits, page.live + first / 8, sizeof bits); // the bitmap has room behind its end
        return (bits >> first % 8 & mask) == mask;
    }
    for (size_t k = first; k < first + count; k++)
        if (!(page.live[k / 8] >> k % 8 & 1)) return false;
    return true;
}

/// An access of the kernel, about to happen.
static void touch(void *pointer, size_t size, Kind kind, void *pc) {
    if (!checking) return;
    if (pending.waits) settle();
    uintptr_t address = (uintptr_t)pointer;
    if (address >= (uintptr_t)current->fiber->low && address < (uintptr_t)current->fiber->high) return;
    const Access now = access_now(pc, kind == ATOMIC);
    const bool shared = is_shared(address);
    for (size_t done = 0; done < size;) {
        uintptr_t at = address + done;
        Page *page = page_of(at);
        size_t first = at % PAGE, count = size - done < PAGE - first ? size - done : PAGE - first;
        if (!page || !is_live(*page, first, count)) {
            const auto *code = launch->kernel->image; // constants, and tables of the compiler
            if (address >= (uintptr_t)code[0] && address + size <= (uintptr_t)code[1] && !shared)
                return;
            outside(address, size, kind != READ, pc);
        }
        if (!page->cells) page->cells = (Cell *)zeroed(PAGE, sizeof(Cell));
        Cell *cell = page->cells + first, before = {};
        for (size_t k = 0; k < count; k++) {
            if (k && same(cell[k], before)) { // as a rule all bytes have one history
                cell[k] = cell[k - 1];
                continue;
            }
            before = cell[k];
            touch_cell(cell[k], address, size, kind, shared, now, pc);
        }
        done += count;
    }
}

// ---- what the runtime says -----------------------------------------------------------------------

static void track_shared(bool live) {
    const CudaOnCpuKernel &k = *launch->kernel;
    for (char *const *range : {k.shared, k.common})
        if (range[0] < range[1]) track((uintptr_t)range[0], range[1] - range[0], live);
    track((uintptr_t)cuda_on_cpu_dynamic, launch->shared, live);
}

void checks_begin_launch() {
    if (tick > 1u << 31) { // far from the end of ticks
        forget_all_accesses();
        launch_began = tick = 1;
    }
    checking = true;
    pending.waits = false;
    block_ticks.clear(), block_numbers.clear(), block_fenced.clear();
    for (Thread &t : threads) t.fenced = t.atomic = 0, memset(t.knows, 0, sizeof t.knows);
    track_shared(true);
}

void checks_end_launch() {
    checking = false;
    track_shared(false);
}

void checks_begin_block(uint64_t block) {
    block_ticks.push_back(block_began);
    block_numbers.push_back(block);
    block_fenced.push_back(false);
    block_used_atomics = false;
}

void checks_settle() {
    if (pending.waits) settle();
}

void checks_meet(unsigned first, unsigned mask) {
    uint32_t most[WARP];
    memset(most, 0, sizeof most);
    for (unsigned k = 0; k < WARP; k++) {
        if (!(mask >> k & 1)) continue;
        const Thread &t = threads[first + k];
        for (unsigned j = 0; j < WARP; j++) most[j] = most[j] < t.knows[j] ? t.knows[j] : most[j];
    }
    for (unsigned k = 0; k < WARP; k++)
        if (mask >> k & 1) most[k] = tick; // all that the lanes did up to here
    for (unsigned k = 0; k < WARP; k++)
        if (mask >> k & 1) memcpy(threads[first + k].knows, most, sizeof most);
    tick++;
}

void checks_atomic(void *address, size_t size, void *from) {
    touch(address, size, ATOMIC, from);
    current->atomic = ++tick;
    block_used_atomics = true;
}

void checks_fence() {
    current->fenced = tick++;
    block_fenced.back() = true;
}

} // namespace cuda_on_cpu

// ---- what the harness calls ----------------------------------------------------------------------

#define EXPORTED extern "C" __attribute__((visibility("default")))

EXPORTED void cuda_on_cpu_track(uint64_t address, uint64_t size, int live) {
    cuda_on_cpu::track(address, size, live != 0);
}

// ---- what the compiler calls ---------------------------------------------------------------------

using namespace cuda_on_cpu;

#define ACCESSES(n)                                                                                \
    EXPORTED void __tsan_read##n(void *p) { touch(p, n, READ, __builtin_return_address(0)); }      \
    EXPORTED void __tsan_write##n(void *p) { touch(p, n, WRITE, __builtin_return_address(0)); }    \
    EXPORTED void __tsan_unaligned_read##n(void *p) {                                              \
        touch(p, n, READ, __builtin_return_address(0));                                            \
    }                                                                                              \
    EXPORTED void __tsan_unaligned_write##n(void *p) {                                             \
        touch(p, n, WRITE, __builtin_return_address(0));                                           \
    }
ACCESSES(1)
ACCESSES(2)
ACCESSES(4)
ACCESSES(8)
ACCESSES(16)
EXPORTED void __tsan_read_range(void *p, size_t n) { touch(p, n, READ, __builtin_return_address(0)); }
EXPORTED void __tsan_write_range(void *p, size_t n) {
    touch(p, n, WRITE, __builtin_return_address(0));
}
EXPORTED void __tsan_vptr_update(void **, void *) {}
EXPORTED void __tsan_vptr_read(void **) {}
EXPORTED void __tsan_func_entry(void *) {}
EXPORTED void __tsan_func_exit() {}
EXPORTED void __tsan_init() {}

/// As the sanitizer for undefined behaviour lays them out.
struct Site {
    const char *file;
    uint32_t line, column;
};
struct Misaligned {
    Site site;
    const void *type;
    uint8_t log_alignment, kind;
};

EXPORTED void __ubsan_handle_type_mismatch_v1_abort(const Misaligned *data, uintptr_t address) {
    if (!checking || !address) return; // null is out of bounds
    launch->failure.address = address;
    fail(place_of(*current, data->site.file, (int)data->site.line),
         "access to an address that is not a multiple of %u bytes", 1u << data->log_alignment);
}

EXPORTED void __ubsan_handle_out_of_bounds_abort(const Site *site, uintptr_t index) {
    if (!checking) return;
    fail(place_of(*current, site->file, (int)site->line),
         "index %lld is outside of the array's extent", (long long)index);
}
