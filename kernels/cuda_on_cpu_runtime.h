// What the parts of the CPU's stand-in for a GPU know of each other: a compiled kernel, the runtime
// (cuda_on_cpu.cpp), its checks of memory accesses (cuda_on_cpu_checks.cpp) and the harness in
// Python (tracejit/runtime/gpu/host_device.py), which mirrors the three structures below.
#pragma once

#include <stddef.h>
#include <stdint.h>

// ---- what a kernel and the harness share ---------------------------------------------------------

/// `kinds`: for each parameter p pointer, i u f b numbers, s else.
struct CudaOnCpuKernel {
    void (*call)(void **arguments);
    int count;
    const char *kinds;
    const int *sizes;
    char *shared[2], *common[2], *image[2]; // begin and end: own shared memory, that of the
};                                          // header's functions, all of the loaded code

struct CudaOnCpuPlace {
    const char *file; // NULL where only the address `pc` in the code is known
    int32_t line;
    int32_t known; // 0: there is no such place; 1: the block only; 2: the thread too
    void *pc;
    uint32_t thread[3], block[3];
};

/// Why a launch was given up. `address`: what was accessed, or 0.
struct CudaOnCpuFailure {
    char what[240], other_what[80];
    CudaOnCpuPlace here, other;
    uint64_t address, size;
};

/// `order` of threads and blocks: 0 forward, 1 backward, others shuffled. `rounds` is a result:
/// whether atomic operations ran whose result may depend on the order in its last bits.
struct CudaOnCpuLaunch {
    const CudaOnCpuKernel *kernel;
    void **arguments;
    uint32_t grid[3], block[3];
    uint64_t shared, order;
    int32_t checks, seconds, rounds, unused;
    CudaOnCpuFailure failure;
};

// ---- what a kernel calls -------------------------------------------------------------------------

/// How lanes of a warp exchange 64-bit values: what each of them gets.
enum CudaOnCpuExchange {
    CUDA_ON_CPU_SYNC,      // nothing: they meet, and see each other's memory
    CUDA_ON_CPU_SHUFFLE,   // the value of lane `source`
    CUDA_ON_CPU_BALLOT,    // a bit for each lane: whether its value is not zero
    CUDA_ON_CPU_MATCH_ANY, // a bit for each lane that has the same value
    CUDA_ON_CPU_ADD,       // and so on: over the lanes of the mask, of 32-bit integers
    CUDA_ON_CPU_MIN,
    CUDA_ON_CPU_MAX,
    CUDA_ON_CPU_MIN_UNSIGNED,
    CUDA_ON_CPU_MAX_UNSIGNED,
    CUDA_ON_CPU_AND,
    CUDA_ON_CPU_OR,
    CUDA_ON_CPU_XOR,
    CUDA_ON_CPU_CONVERGE, // the lanes that are at the same line when nobody else can run
};

#pragma GCC visibility push(default)
extern "C" {
/// Waits for all threads of the block; what they said: `kind` 0 nothing, 1 or, 2 and, 3 count.
int cuda_on_cpu_barrier(int kind, int predicate, const char *file, int line);
uint64_t cuda_on_cpu_exchange(int kind, unsigned mask, uint64_t value, unsigned source,
                              const char *what, const char *file, int line);
void cuda_on_cpu_fence();
/// An atomic operation is about to happen; `rounds`: its result depends on the order.
void cuda_on_cpu_atomic(void *address, size_t size, bool rounds, void *from);
void cuda_on_cpu_trap(const char *what, const char *file, int line) __attribute__((noreturn));
uint64_t cuda_on_cpu_clock();
extern char cuda_on_cpu_dynamic[]; // shared memory whose size the launch says
}
#pragma GCC visibility pop

// ---- between the runtime and its checks ----------------------------------------------------------

#ifdef CUDA_ON_CPU_RUNTIME
namespace cuda_on_cpu {

constexpr unsigned WARP = 32, MOST_THREADS = 1024;
/// What a block may have of shared memory on the device that is played: 227 KiB of sm_90.
constexpr size_t MOST_SHARED = 227 << 10;

struct Index {
    uint32_t x, y, z;
};

struct Fiber {
    void *context; // where to go on: a stack pointer, or a ucontext_t
    char *low, *high;
};

enum State : uint8_t { READY, DONE, AT_BARRIER, AT_EXCHANGE };

struct Thread {
    Index index;
    unsigned number; // within the block
    State state;
    Fiber *fiber;
    // what it waits for
    int kind;
    unsigned mask, source;
    uint64_t value, result;
    const char *what, *file;
    int line;
    // for the checks, in ticks: how far it knows of each lane of its warp; its last fence, and its
    // last atomic operation
    uint32_t knows[WARP], fenced, atomic;
};

/// Of the launch that runs.
extern CudaOnCpuLaunch *launch;
extern Thread threads[MOST_THREADS];
extern Thread *current;
extern unsigned thread_count;

/// Time for the checks: it moves on when a block begins and when threads meet. The first tick of
/// the launch, of the block, and since all threads of the block met.
extern uint32_t tick, launch_began, block_began, all_met;

/// Give the launch up. `format` says why, in printf's way.
void fail(const CudaOnCpuPlace &here, const char *format, ...)
    __attribute__((noreturn, format(printf, 2, 3)));
CudaOnCpuPlace place_of(const Thread &thread, const char *file, int line, void *pc = nullptr);

// the checks: what they hear of
void checks_begin_launch();
void checks_begin_block(uint64_t block);
void checks_end_launch();
void checks_meet(unsigned warp, unsigned mask); // __syncwarp
void checks_settle();                           // a thread stops or ends
void checks_atomic(void *address, size_t size, void *from);
void checks_fence();

} // namespace cuda_on_cpu
#endif
