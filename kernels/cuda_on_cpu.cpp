// Runs kernels that cuda_on_cpu.h made plain C++ of: one block after another, each CUDA thread as a
// fiber of this one thread of the operating system.
//
// A fiber starts thread after thread of the block. When a thread has to wait, its fiber is taken,
// and another one goes on starting threads: a kernel that never waits needs one fiber and is a
// plain loop. When no thread can go on, those at a barrier are let go; if that is not possible, the
// launch fails with the lines at which they wait. A failure, a signal (wrong address, Ctrl-C) or
// too long a run leaves the kernel with siglongjmp, so that nothing in it can end the process.
//
// There is one launch at a time in a process; the harness sees to that.
#define CUDA_ON_CPU_RUNTIME
#include "cuda_on_cpu_runtime.h"

#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

using namespace cuda_on_cpu;

#pragma GCC visibility push(default)
extern "C" {
// threadIdx, blockIdx, blockDim, gridDim
Index cuda_on_cpu_thread, cuda_on_cpu_block, cuda_on_cpu_threads, cuda_on_cpu_blocks;
alignas(4096) char cuda_on_cpu_dynamic[MOST_SHARED];
}
#pragma GCC visibility pop

namespace cuda_on_cpu {
CudaOnCpuLaunch *launch;
Thread threads[MOST_THREADS], *current;
unsigned thread_count;
} // namespace cuda_on_cpu

// ---- failures ------------------------------------------------------------------------------------

static sigjmp_buf escape;

CudaOnCpuPlace cuda_on_cpu::place_of(const Thread &t, const char *file, int line, void *pc) {
    const Index &b = cuda_on_cpu_block;
    return {file, line, 2, pc, {t.index.x, t.index.y, t.index.z}, {b.x, b.y, b.z}};
}

void cuda_on_cpu::fail(const CudaOnCpuPlace &here, const char *format, ...) {
    va_list rest;
    va_start(rest, format);
    vsnprintf(launch->failure.what, sizeof launch->failure.what, format, rest);
    va_end(rest);
    launch->failure.here = here;
    siglongjmp(escape, 1);
}

/// The second place of a failure to come.
static void also(const Thread &t, const char *what) {
    launch->failure.other = place_of(t, t.file, t.line);
    snprintf(launch->failure.other_what, sizeof launch->failure.other_what, "%s", what);
}

void cuda_on_cpu_trap(const char *what, const char *file, int line) {
    fail(place_of(*current, file, line), "%s failed", what);
}

// ---- fibers --------------------------------------------------------------------------------------

constexpr size_t STACK = 256 << 10, GUARD = 64 << 10;

static Fiber fibers[MOST_THREADS], outside; // `outside`: the stack that a launch is called on
static Fiber *idle[MOST_THREADS], *running;
static unsigned made, idle_count;

[[noreturn]] static void start_threads();

#if defined(__x86_64__) && !defined(CUDA_ON_CPU_UCONTEXT)
// keeps the registers that a function has to keep (System V ABI) on the stack that it leaves
extern "C" void cuda_on_cpu_switch(void **leave, void *enter);
__asm__(".text\n"
        ".globl cuda_on_cpu_switch\n"
        ".hidden cuda_on_cpu_switch\n"
        ".type cuda_on_cpu_switch, @function\n"
        "cuda_on_cpu_switch:\n"
        "  push %rbp; push %rbx; push %r12; push %r13; push %r14; push %r15\n"
        "  mov %rsp, (%rdi)\n"
        "  mov %rsi, %rsp\n"
        "  pop %r15; pop %r14; pop %r13; pop %r12; pop %rbx; pop %rbp\n"
        "  ret\n"
        ".size cuda_on_cpu_switch, .-cuda_on_cpu_switch\n");

static void reset(Fiber &fiber) {
    void **top = (void **)fiber.high;
    *--top = nullptr; // nobody to return to; it also aligns the stack as after a call
    *--top = (void *)start_threads;
    for (int k = 0; k < 6; k++) *--top = nullptr;
    fiber.context = top;
}

static void switch_to(Fiber *to, Fiber *from) { cuda_on_cpu_switch(&from->context, to->context); }
#else
static ucontext_t contexts[MOST_THREADS + 1];

static void reset(Fiber &fiber) {
    ucontext_t &context = contexts[&fiber - fibers];
    getcontext(&context);
    context.uc_stack.ss_sp = fiber.low;
    context.uc_stack.ss_size = fiber.high - fiber.low;
    makecontext(&context, (void (*)())start_threads, 0);
    fiber.context = &context;
}

static void switch_to(Fiber *to, Fiber *from) {
    if (from == &outside) from->context = &contexts[MOST_THREADS];
    swapcontext((ucontext_t *)from->context, (ucontext_t *)to->context);
}
#endif

static Fiber *idle_fiber() {
    if (idle_count) return idle[--idle_count];
    Fiber &fiber = fibers[made];
    char *low = (char *)mmap(nullptr, GUARD + STACK, PROT_NONE,
                             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (low == MAP_FAILED || mprotect(low + GUARD, STACK, PROT_READ | PROT_WRITE))
        fail(place_of(threads[0], nullptr, 0), "the host has no memory for the stacks of threads");
    fiber.low = low + GUARD;
    fiber.high = fiber.low + STACK;
    reset(fiber);
    made++;
    return &fiber;
}

static void go_to(Fiber *to) {
    if (to == running) return;
    Fiber *from = running;
    running = to;
    switch_to(to, from);
}

// ---- order ---------------------------------------------------------------------------------------

static unsigned sequence[MOST_THREADS]; // the order in which threads start and go on
static uint64_t random_state;

static uint64_t next_random() { // xorshift64*: S. Vigna, ACM TOMS 42 (2016)
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;
    return random_state * 2685821657736338717ull;
}

static void arrange_threads() {
    if (launch->order < 2) return; // arranged once
    for (unsigned k = thread_count; k > 1; k--) {
        unsigned other = next_random() % k, kept = sequence[k - 1];
        sequence[k - 1] = sequence[other];
        sequence[other] = kept;
    }
}

static uint64_t common_divisor(uint64_t a, uint64_t b) { return b ? common_divisor(b, a % b) : a; }

/// Blocks in steps of `step` from `first`, modulo their count: all of them, as nothing divides both
struct BlockOrder {
    uint64_t count, first, step;

    explicit BlockOrder(uint64_t count) : count(count), first(0), step(1) {
        if (launch->order == 1) first = step = count - 1;
        if (launch->order < 2) return;
        first = next_random() % count;
        do step = 1 + next_random() % count;
        while (common_divisor(step, count) != 1);
    }

    uint64_t operator()(uint64_t k) const {
        return (uint64_t)((first + (unsigned __int128)k * step) % count);
    }
};

// ---- threads -------------------------------------------------------------------------------------

static unsigned started, live;
static unsigned ready[MOST_THREADS], ready_first, ready_last; // a ring
static volatile sig_atomic_t stop;                            // 1 interrupted, 2 out of time

[[noreturn]] static void stopped(void *pc = nullptr) {
    CudaOnCpuPlace here = place_of(*current, current->file, current->line, pc);
    if (stop == 1) fail(here, "interrupted");
    fail(here, "still runs after %d seconds: it may wait for what never happens", launch->seconds);
}

static void make_ready(Thread &t) {
    t.state = READY;
    ready[ready_last++ % MOST_THREADS] = t.number;
}

static void enter(Thread &t) {
    current = &t;
    cuda_on_cpu_thread = t.index;
}

static bool let_go();
[[noreturn]] static void deadlock();

/// Where to go on when the current thread cannot.
static Fiber *next_fiber() {
    for (;;) {
        if (stop) stopped();
        if (ready_first != ready_last) {
            Thread &t = threads[ready[ready_first++ % MOST_THREADS]];
            enter(t);
            return t.fiber;
        }
        if (started < thread_count) return idle_fiber();
        if (!live) return &outside;
        if (!let_go()) deadlock();
    }
}

/// What fibers run, for ever.
static void start_threads() {
    for (;;) {
        while (started < thread_count && ready_first == ready_last && !stop) {
            Thread &t = threads[sequence[started++]];
            t.fiber = running;
            enter(t);
            launch->kernel->call(launch->arguments);
            if (launch->checks) checks_settle();
            t.state = DONE;
            live--;
        }
        idle[idle_count++] = running;
        go_to(next_fiber());
    }
}

static void wait(State state) {
    if (launch->checks) checks_settle();
    current->state = state;
    go_to(next_fiber());
}

static bool same_place(const Thread &a, const Thread &b) {
    return a.line == b.line && (a.file == b.file || !strcmp(a.file, b.file));
}

// ---- barriers ------------------------------------------------------------------------------------

int cuda_on_cpu_barrier(int kind, int predicate, const char *file, int line) {
    Thread &t = *current;
    t.kind = kind, t.value = predicate, t.file = file, t.line = line;
    wait(AT_BARRIER);
    return (int)t.result;
}

/// Lanes at one __activemask have converged when nobody else can run.
static bool let_converged_go() {
    bool any = false;
    for (unsigned k = 0; k < thread_count; k++) {
        Thread &t = threads[k];
        if (t.state != AT_EXCHANGE || t.kind != CUDA_ON_CPU_CONVERGE) continue;
        unsigned first = k / WARP * WARP, mask = 0;
        auto together = [&](unsigned lane) {
            Thread &other = threads[first + lane];
            return first + lane < thread_count && other.state == AT_EXCHANGE &&
                   other.kind == CUDA_ON_CPU_CONVERGE && same_place(other, t);
        };
        for (unsigned lane = 0; lane < WARP; lane++) mask |= (unsigned)together(lane) << lane;
        for (unsigned lane = 0; lane < WARP; lane++)
            if (mask >> lane & 1) threads[first + lane].result = mask, make_ready(threads[first + lane]);
        any = true;
    }
    return any;
}

/// Nobody can run: let go those who wait for that. False when there are none.
static bool let_go() {
    if (let_converged_go()) return true;
    Thread *first = nullptr;
    int count = 0;
    for (unsigned k = 0; k < thread_count; k++) {
        Thread &t = threads[k];
        if (t.state == DONE) continue;
        if (t.state != AT_BARRIER) return false;
        if (!first) first = &t;
        if (!same_place(t, *first) || t.kind != first->kind) {
            also(t, "another waits here:");
            fail(place_of(*first, first->file, first->line),
                 "divergent barrier: threads of a block wait at different ones");
        }
        count += t.value != 0;
    }
    int results[] = {0, count != 0, count == (int)live, count};
    arrange_threads();
    for (unsigned k = 0; k < thread_count; k++) {
        Thread &t = threads[sequence[k]];
        if (t.state == DONE) continue;
        t.result = results[first->kind];
        make_ready(t);
    }
    all_met = ++tick;
    return true;
}

// ---- warps ---------------------------------------------------------------------------------------

static void check_mask(const Thread &t, unsigned first) {
    unsigned lane = t.number % WARP;
    CudaOnCpuPlace here = place_of(t, t.file, t.line);
    if (!(t.mask >> lane & 1))
        fail(here, "%s: mask 0x%08x does not name the lane that calls, %u", t.what, t.mask, lane);
    for (unsigned k = 0; k < WARP; k++) {
        if (!(t.mask >> k & 1)) continue;
        if (first + k >= thread_count)
            fail(here, "%s: mask 0x%08x names lane %u, but the block has %u threads", t.what,
                 t.mask, k, thread_count);
        if (threads[first + k].state == DONE)
            fail(here, "%s: mask 0x%08x names lane %u, which has ended", t.what, t.mask, k);
    }
}

static uint64_t reduced(int kind, unsigned mask, const Thread *warp) {
    bool begun = false;
    uint32_t all = 0;
    for (unsigned k = 0; k < WARP; k++) {
        if (!(mask >> k & 1)) continue;
        uint32_t x = (uint32_t)warp[k].value;
        if (!begun) {
            all = x, begun = true;
            continue;
        }
        switch (kind) {
        case CUDA_ON_CPU_ADD: all += x; break;
        case CUDA_ON_CPU_MIN: all = (int32_t)x < (int32_t)all ? x : all; break;
        case CUDA_ON_CPU_MAX: all = (int32_t)x > (int32_t)all ? x : all; break;
        case CUDA_ON_CPU_MIN_UNSIGNED: all = x < all ? x : all; break;
        case CUDA_ON_CPU_MAX_UNSIGNED: all = x > all ? x : all; break;
        case CUDA_ON_CPU_AND: all &= x; break;
        case CUDA_ON_CPU_OR: all |= x; break;
        case CUDA_ON_CPU_XOR: all ^= x; break;
        }
    }
    return all;
}

/// What `t` gets, all lanes of its mask being there.
static uint64_t exchanged(const Thread &t, const Thread *warp) {
    uint64_t bits = 0;
    switch (t.kind) {
    case CUDA_ON_CPU_SYNC: return 0;
    case CUDA_ON_CPU_SHUFFLE:
        if (t.source >= WARP || !(t.mask >> t.source & 1))
            fail(place_of(t, t.file, t.line), "%s: lane %u reads from lane %u, which mask 0x%08x "
                 "does not name", t.what, t.number % WARP, t.source, t.mask);
        return warp[t.source].value;
    case CUDA_ON_CPU_BALLOT:
    case CUDA_ON_CPU_MATCH_ANY:
        for (unsigned k = 0; k < WARP; k++) {
            uint64_t x = warp[k].value;
            bool bit = t.kind == CUDA_ON_CPU_BALLOT ? x != 0 : x == t.value;
            bits |= (uint64_t)((t.mask >> k & 1) && bit) << k;
        }
        return bits;
    }
    return reduced(t.kind, t.mask, warp);
}

uint64_t cuda_on_cpu_exchange(int kind, unsigned mask, uint64_t value, unsigned source,
                              const char *what, const char *file, int line) {
    Thread &t = *current;
    t.kind = kind, t.mask = mask, t.value = value, t.source = source;
    t.what = what, t.file = file, t.line = line;
    unsigned first = t.number / WARP * WARP;
    Thread *warp = threads + first;
    bool complete = kind != CUDA_ON_CPU_CONVERGE;
    if (complete) check_mask(t, first);
    for (unsigned k = 0; k < WARP && complete; k++)
        if (mask >> k & 1 && warp + k != &t)
            complete = warp[k].state == AT_EXCHANGE && warp[k].mask == mask &&
                       warp[k].kind != CUDA_ON_CPU_CONVERGE;
    if (!complete) {
        wait(AT_EXCHANGE);
        return t.result;
    }
    for (unsigned k = 0; k < WARP; k++) {
        if (!(mask >> k & 1)) continue;
        if (warp[k].kind != kind || !same_place(warp[k], t)) {
            also(warp[k], "another is here:");
            fail(place_of(t, file, line), "lanes of one mask, 0x%08x, meet in different places", mask);
        }
        warp[k].result = exchanged(warp[k], warp);
    }
    if (launch->checks && kind == CUDA_ON_CPU_SYNC) checks_settle(), checks_meet(first, mask);
    // not as in `sequence`: threads may yet have to start
    unsigned random = launch->order < 2 ? 0 : (unsigned)next_random();
    unsigned from = launch->order == 1 ? WARP - 1 : random >> 8, step = launch->order == 1 ? -1 : random | 1;
    for (unsigned k = 0; k < WARP; k++) {
        unsigned lane = (from + k * step) % WARP;
        if (mask >> lane & 1 && warp + lane != &t) make_ready(warp[lane]);
    }
    return t.result;
}

/// Nobody can run, and not all are at one barrier.
static void deadlock() {
    Thread *t = threads;
    while (t->state != AT_EXCHANGE) t++;
    unsigned first = t->number / WARP * WARP, k = 0;
    const Thread *other = nullptr;
    for (; k < WARP && !other; k++)
        if (t->mask >> k & 1 && (threads[first + k].state != AT_EXCHANGE ||
                                 threads[first + k].mask != t->mask))
            other = &threads[first + k];
    CudaOnCpuPlace here = place_of(*t, t->file, t->line);
    if (!other) fail(here, "deadlock: no thread of the block can go on");
    unsigned lane = other->number % WARP;
    if (other->state == DONE) fail(here, "deadlock: %s waits for lane %u, which has ended", t->what, lane);
    also(*other, other->state == AT_BARRIER ? "it waits at a barrier:" : "it waits for other lanes:");
    fail(here, "deadlock: %s waits for lane %u, which waits elsewhere", t->what, lane);
}

// ---- memory --------------------------------------------------------------------------------------

void cuda_on_cpu_fence() {
    if (launch->checks) checks_fence();
}

void cuda_on_cpu_atomic(void *address, size_t size, bool rounds, void *from) {
    if (rounds) launch->rounds = 1;
    if (launch->checks) checks_atomic(address, size, from);
}

uint64_t cuda_on_cpu_clock() {
    timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + now.tv_nsec;
}

static void fill_garbage(char *const *range) {
    if (range[0] < range[1]) memset(range[0], 0xff, range[1] - range[0]);
}

// ---- signals -------------------------------------------------------------------------------------

static const int SIGNALS[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGINT, SIGURG}; // the last: time is up
constexpr int SIGNAL_COUNT = 6;
static struct sigaction before[SIGNAL_COUNT];
static volatile sig_atomic_t active;
static pthread_t owner;

static void *interrupted_at(void *context) {
    [[maybe_unused]] mcontext_t &machine = ((ucontext_t *)context)->uc_mcontext;
#if defined(__x86_64__)
    return (void *)machine.gregs[REG_RIP];
#elif defined(__aarch64__)
    return (void *)machine.pc;
#else
    return nullptr;
#endif
}

/// A wrong access or division. `pc` is not a return address: one byte further, so that it is one.
[[noreturn]] static void faulted(int signal, char *address, char *pc) {
    CudaOnCpuPlace here = place_of(*current, nullptr, 0, pc + 1);
    if (signal == SIGFPE) fail(here, "an integer division by zero, or of the smallest one by -1");
    if (signal == SIGILL) fail(here, "what is done here has no defined result");
    if (address < running->low && address >= running->low - GUARD)
        fail(here, "local variables take more than %zu KiB of stack", STACK >> 10);
    launch->failure.address = (uint64_t)address;
    fail(here, "access to an address that is no memory, or is not aligned");
}

static void on_signal(int signal, siginfo_t *info, void *context) {
    int which = 0;
    while (SIGNALS[which] != signal) which++;
    bool asks = signal == SIGINT || signal == SIGURG;
    if (signal == SIGURG && info->si_code != SI_TIMER) return;
    if (!active || !pthread_equal(pthread_self(), owner)) { // somebody else's
        if (active && signal == SIGINT) pthread_kill(owner, signal);
        else if (!asks) sigaction(signal, &before[which], nullptr);
        return;
    }
    char *pc = (char *)interrupted_at(context), *const *image = launch->kernel->image;
    if (!asks) faulted(signal, (char *)info->si_addr, pc);
    stop = signal == SIGINT ? 1 : 2;
    // in the kernel's own code nothing is half done; elsewhere whoever waits next sees `stop`
    if (pc >= image[0] && pc < image[1]) stopped(pc + 1);
}

static bool own_signals(timer_t *timer) {
    stack_t stack = {};
    sigaltstack(nullptr, &stack);
    if (stack.ss_flags & SS_DISABLE) { // one for each thread that launches, for good
        stack = {malloc(64 << 10), 0, 64 << 10};
        sigaltstack(&stack, nullptr);
    }
    owner = pthread_self();
    stop = 0;
    struct sigaction action = {};
    action.sa_sigaction = on_signal;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART;
    for (int k = 0; k < SIGNAL_COUNT; k++) sigaction(SIGNALS[k], &action, &before[k]);
    sigevent event = {};
    event.sigev_notify = SIGEV_THREAD_ID;
    event.sigev_signo = SIGURG;
    event._sigev_un._tid = (pid_t)syscall(SYS_gettid);
    if (launch->seconds <= 0 || timer_create(CLOCK_MONOTONIC, &event, timer)) return false;
    itimerspec after = {{1, 0}, {launch->seconds, 0}}; // again each second, should it be missed
    timer_settime(*timer, 0, &after, nullptr);
    return true;
}

static void give_signals_back(const timer_t *timer) {
    if (timer) timer_delete(*timer);
    for (int k = 0; k < SIGNAL_COUNT; k++) sigaction(SIGNALS[k], &before[k], nullptr);
    if (stop == 1) raise(SIGINT);
}

// ---- launches ------------------------------------------------------------------------------------

static void run_block(uint64_t block) {
    const CudaOnCpuKernel &kernel = *launch->kernel;
    const uint32_t *grid = launch->grid;
    cuda_on_cpu_block = {uint32_t(block % grid[0]), uint32_t(block / grid[0] % grid[1]),
                         uint32_t(block / grid[0] / grid[1])};
    fill_garbage(kernel.shared);
    fill_garbage(kernel.common);
    memset(cuda_on_cpu_dynamic, 0xff, launch->shared);
    for (unsigned k = 0; k < thread_count; k++) threads[k].state = READY;
    arrange_threads();
    started = ready_first = ready_last = 0;
    live = thread_count;
    block_began = all_met = ++tick;
    if (launch->checks) checks_begin_block(block);
    go_to(idle_fiber());
}

static void run_blocks() {
    const uint32_t *grid = launch->grid, *block = launch->block;
    thread_count = block[0] * block[1] * block[2];
    for (unsigned k = 0; k < thread_count; k++) {
        Thread &t = threads[k];
        t.number = k;
        t.index = {k % block[0], k / block[0] % block[1], k / block[0] / block[1]};
        t.file = nullptr, t.line = 0;
        sequence[k] = launch->order == 1 ? thread_count - 1 - k : k;
    }
    cuda_on_cpu_threads = {block[0], block[1], block[2]};
    cuda_on_cpu_blocks = {grid[0], grid[1], grid[2]};
    random_state = launch->order * 0x9e3779b97f4a7c15ull | 1;
    running = &outside;
    launch_began = ++tick;
    if (launch->checks) checks_begin_launch();
    uint64_t count = (uint64_t)grid[0] * grid[1] * grid[2];
    BlockOrder order(count);
    for (uint64_t k = 0; k < count; k++) run_block(order(k));
}

/// Runs a launch to its end. 0, or 1 when it failed: then `failure` says why.
extern "C" __attribute__((visibility("default"))) int cuda_on_cpu_run(CudaOnCpuLaunch *wanted) {
    launch = wanted;
    launch->failure = {};
    launch->rounds = 0;
    static timer_t timer;
    static bool timed;
    static int outcome;
    timed = own_signals(&timer);
    outcome = sigsetjmp(escape, 1);
    if (outcome == 0) {
        active = 1;
        run_blocks();
    } else { // fibers were left in the middle of threads
        idle_count = 0;
        for (unsigned k = 0; k < made; k++) reset(fibers[k]), idle[idle_count++] = &fibers[k];
    }
    active = 0;
    give_signals_back(timed ? &timer : nullptr);
    if (launch->checks) checks_end_launch();
    return outcome;
}
