// CUDA C as plain C++, so that kernels for a GPU run on a CPU with the same text.
//
// This file is put in front of a kernel's text, and a runtime (cuda_on_cpu.cpp) runs the result.
// Blocks run one after another; each thread of a block is a fiber, which runs until it has to wait:
//   __syncthreads and its kin               meet the other threads of the block
//   __syncwarp, shuffles, votes, reductions meet the lanes that the mask names
// All else is plain code, as one thread runs at a time: an atomic operation is a load and a store.
// Memory of a block is a static variable: __shared__ puts it into a section of its own, which the
// runtime fills with 0xFF before each block. Functions that wait know their line by
// __builtin_LINE(), for messages.
//
// Defined in front of this file: CUDA_ON_CPU_HALF for __half and __nv_bfloat16, from NVIDIA's
// headers; __shared__, for each kernel its own. Not here: inline PTX, mma, clusters, textures.
// Facts: CUDA C++ Programming Guide (NVIDIA), "C++ language extensions"; CUDA Math API.
#pragma once

#include "cuda_on_cpu_runtime.h"

/// The caller's line, as the last parameters of a function.
#define CUDA_ON_CPU_HERE const char *file = __builtin_FILE(), int line = __builtin_LINE()

// ---- vectors -------------------------------------------------------------------------------------

#ifdef CUDA_ON_CPU_HALF
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#else
#define CUDA_ON_CPU_VECTORS(name, type, align2, align4)                                            \
    struct name##1 { type x; };                                                                    \
    struct alignas(align2) name##2 { type x, y; };                                                 \
    struct name##3 { type x, y, z; };                                                              \
    struct alignas(align4) name##4 { type x, y, z, w; };                                           \
    inline name##1 make_##name##1(type x) { return {x}; }                                          \
    inline name##2 make_##name##2(type x, type y) { return {x, y}; }                               \
    inline name##3 make_##name##3(type x, type y, type z) { return {x, y, z}; }                    \
    inline name##4 make_##name##4(type x, type y, type z, type w) { return {x, y, z, w}; }
CUDA_ON_CPU_VECTORS(char, signed char, 2, 4)
CUDA_ON_CPU_VECTORS(uchar, unsigned char, 2, 4)
CUDA_ON_CPU_VECTORS(short, short, 4, 8)
CUDA_ON_CPU_VECTORS(ushort, unsigned short, 4, 8)
CUDA_ON_CPU_VECTORS(int, int, 8, 16)
CUDA_ON_CPU_VECTORS(uint, unsigned, 8, 16)
CUDA_ON_CPU_VECTORS(long, long, 16, 16)
CUDA_ON_CPU_VECTORS(ulong, unsigned long, 16, 16)
CUDA_ON_CPU_VECTORS(longlong, long long, 16, 16)
CUDA_ON_CPU_VECTORS(ulonglong, unsigned long long, 16, 16)
CUDA_ON_CPU_VECTORS(float, float, 8, 16)
CUDA_ON_CPU_VECTORS(double, double, 16, 16)

struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
    constexpr dim3(uint3 v) : x(v.x), y(v.y), z(v.z) {}
    constexpr operator uint3() const { return {x, y, z}; }
};
#endif

// ---- keywords ------------------------------------------------------------------------------------

#undef __global__
#undef __device__
#undef __host__
#undef __constant__
#undef __managed__
#undef __launch_bounds__
#undef __forceinline__
#undef __grid_constant__
#undef __align__
#undef __inline_hint__
#undef __noinline__ // which <bits/...> uses as an attribute's name
#define __global__
#define __device__
#define __host__
#define __constant__
#define __managed__
#define __grid_constant__
#define __launch_bounds__(...)
#define __forceinline__ inline
#define __align__(n) __attribute__((aligned(n)))

// constants to a thread: the runtime sets them whenever it goes on with another one
extern const uint3 threadIdx __asm__("cuda_on_cpu_thread");
extern const uint3 blockIdx __asm__("cuda_on_cpu_block");
extern const uint3 blockDim __asm__("cuda_on_cpu_threads");
extern const uint3 gridDim __asm__("cuda_on_cpu_blocks");
constexpr int warpSize = 32;

extern "C" int printf(const char *, ...);
extern "C" void *memcpy(void *, const void *, size_t) noexcept;
extern "C" void *memset(void *, int, size_t) noexcept;
#undef assert
#define assert(ok) ((ok) ? (void)0 : cuda_on_cpu_trap("assert(" #ok ")", __FILE__, __LINE__))

// ---- waiting for each other ----------------------------------------------------------------------

inline void __syncthreads(CUDA_ON_CPU_HERE) { cuda_on_cpu_barrier(0, 0, file, line); }
inline int __syncthreads_or(int p, CUDA_ON_CPU_HERE) {
    return cuda_on_cpu_barrier(1, p != 0, file, line);
}
inline int __syncthreads_and(int p, CUDA_ON_CPU_HERE) {
    return cuda_on_cpu_barrier(2, p != 0, file, line);
}
inline int __syncthreads_count(int p, CUDA_ON_CPU_HERE) {
    return cuda_on_cpu_barrier(3, p != 0, file, line);
}
inline void __syncwarp(unsigned mask = 0xffffffffu, CUDA_ON_CPU_HERE) {
    cuda_on_cpu_exchange(CUDA_ON_CPU_SYNC, mask, 0, 0, "__syncwarp", file, line);
}
inline unsigned __activemask(CUDA_ON_CPU_HERE) {
    return (unsigned)cuda_on_cpu_exchange(CUDA_ON_CPU_CONVERGE, 0, 0, 0, "__activemask", file, line);
}
inline void __threadfence() { cuda_on_cpu_fence(); }
inline void __threadfence_block() { cuda_on_cpu_fence(); }
inline void __threadfence_system() { cuda_on_cpu_fence(); }
inline void __nanosleep(unsigned) {}
inline void __trap(CUDA_ON_CPU_HERE) { cuda_on_cpu_trap("__trap()", file, line); }
inline long long clock64() { return (long long)cuda_on_cpu_clock(); }
inline int clock() { return (int)cuda_on_cpu_clock(); }

namespace cuda_on_cpu {

template <class T> struct Same { using type = T; };
template <class T> using Plain = typename Same<T>::type; // not deduced from: converts as a call does

template <class To, class From> inline To bits(From x) {
    static_assert(sizeof(To) <= 8 && sizeof(From) <= 8);
    To y;
    __builtin_memset(&y, 0, sizeof(To));
    __builtin_memcpy(&y, &x, sizeof(To) < sizeof(From) ? sizeof(To) : sizeof(From));
    return y;
}

inline unsigned lane() {
    return (threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z)) % 32;
}

template <class T>
inline T shuffle(unsigned mask, T x, unsigned source, const char *what, const char *file, int line) {
    return bits<T>(cuda_on_cpu_exchange(CUDA_ON_CPU_SHUFFLE, mask, bits<uint64_t>(x), source, what,
                                        file, line));
}

inline unsigned ballot(unsigned mask, int p, const char *what, const char *file, int line) {
    return (unsigned)cuda_on_cpu_exchange(CUDA_ON_CPU_BALLOT, mask, p != 0, 0, what, file, line);
}

} // namespace cuda_on_cpu

// where each lane reads from: PTX ISA, shfl.sync; a lane outside of the group reads its own value
template <class T>
inline T __shfl_sync(unsigned mask, T x, int source, int width = 32, CUDA_ON_CPU_HERE) {
    unsigned first = cuda_on_cpu::lane() & ~(width - 1);
    unsigned from = first | (source & (width - 1));
    return cuda_on_cpu::shuffle(mask, x, from, "__shfl_sync", file, line);
}
template <class T>
inline T __shfl_up_sync(unsigned mask, T x, unsigned delta, int width = 32, CUDA_ON_CPU_HERE) {
    unsigned lane = cuda_on_cpu::lane(), first = lane & ~(width - 1);
    unsigned from = lane >= first + delta ? lane - delta : lane;
    return cuda_on_cpu::shuffle(mask, x, from, "__shfl_up_sync", file, line);
}
template <class T>
inline T __shfl_down_sync(unsigned mask, T x, unsigned delta, int width = 32, CUDA_ON_CPU_HERE) {
    unsigned lane = cuda_on_cpu::lane(), last = lane | (width - 1);
    unsigned from = lane + delta <= last ? lane + delta : lane;
    return cuda_on_cpu::shuffle(mask, x, from, "__shfl_down_sync", file, line);
}
template <class T>
inline T __shfl_xor_sync(unsigned mask, T x, int bits, int width = 32, CUDA_ON_CPU_HERE) {
    unsigned lane = cuda_on_cpu::lane(), last = lane | (width - 1);
    unsigned from = (lane ^ bits) <= last ? lane ^ bits : lane;
    return cuda_on_cpu::shuffle(mask, x, from, "__shfl_xor_sync", file, line);
}

inline unsigned __ballot_sync(unsigned mask, int p, CUDA_ON_CPU_HERE) {
    return cuda_on_cpu::ballot(mask, p, "__ballot_sync", file, line);
}
inline int __any_sync(unsigned mask, int p, CUDA_ON_CPU_HERE) {
    return cuda_on_cpu::ballot(mask, p, "__any_sync", file, line) != 0;
}
inline int __all_sync(unsigned mask, int p, CUDA_ON_CPU_HERE) {
    return cuda_on_cpu::ballot(mask, p, "__all_sync", file, line) == mask;
}
template <class T> inline unsigned __match_any_sync(unsigned mask, T x, CUDA_ON_CPU_HERE) {
    return (unsigned)cuda_on_cpu_exchange(CUDA_ON_CPU_MATCH_ANY, mask,
                                          cuda_on_cpu::bits<uint64_t>(x), 0, "__match_any_sync",
                                          file, line);
}
template <class T> inline unsigned __match_all_sync(unsigned mask, T x, int *all, CUDA_ON_CPU_HERE) {
    *all = __match_any_sync(mask, x, file, line) == mask;
    return *all ? mask : 0;
}

#define CUDA_ON_CPU_REDUCE(name, type, kind)                                                       \
    inline type name(unsigned mask, type x, CUDA_ON_CPU_HERE) {                                    \
        return (type)cuda_on_cpu_exchange(kind, mask, (unsigned)x, 0, #name, file, line);          \
    }
CUDA_ON_CPU_REDUCE(__reduce_add_sync, unsigned, CUDA_ON_CPU_ADD)
CUDA_ON_CPU_REDUCE(__reduce_add_sync, int, CUDA_ON_CPU_ADD)
CUDA_ON_CPU_REDUCE(__reduce_min_sync, unsigned, CUDA_ON_CPU_MIN_UNSIGNED)
CUDA_ON_CPU_REDUCE(__reduce_min_sync, int, CUDA_ON_CPU_MIN)
CUDA_ON_CPU_REDUCE(__reduce_max_sync, unsigned, CUDA_ON_CPU_MAX_UNSIGNED)
CUDA_ON_CPU_REDUCE(__reduce_max_sync, int, CUDA_ON_CPU_MAX)
CUDA_ON_CPU_REDUCE(__reduce_and_sync, unsigned, CUDA_ON_CPU_AND)
CUDA_ON_CPU_REDUCE(__reduce_or_sync, unsigned, CUDA_ON_CPU_OR)
CUDA_ON_CPU_REDUCE(__reduce_xor_sync, unsigned, CUDA_ON_CPU_XOR)

// ---- memory --------------------------------------------------------------------------------------

#define CUDA_ON_CPU_LOAD(name) template <class T> inline T name(const T *p) { return *p; }
CUDA_ON_CPU_LOAD(__ldg)
CUDA_ON_CPU_LOAD(__ldca)
CUDA_ON_CPU_LOAD(__ldcg)
CUDA_ON_CPU_LOAD(__ldcs)
CUDA_ON_CPU_LOAD(__ldcv)
CUDA_ON_CPU_LOAD(__ldlu)
#define CUDA_ON_CPU_STORE(name)                                                                    \
    template <class T> inline void name(T *p, cuda_on_cpu::Plain<T> x) { *p = x; }
CUDA_ON_CPU_STORE(__stcg)
CUDA_ON_CPU_STORE(__stcs)
CUDA_ON_CPU_STORE(__stwb)
CUDA_ON_CPU_STORE(__stwt)

// the runtime hears of an atomic operation as such, and not of its load and store
#define CUDA_ON_CPU_ATOMIC __attribute__((noinline, no_sanitize("thread", "alignment")))

namespace cuda_on_cpu {
// whether adding in another order rounds differently: floats, and the 16-bit ones of NVIDIA's
template <class T> constexpr bool rounds = T(0.5f) != T(0);
#ifdef CUDA_ON_CPU_HALF
template <> constexpr bool rounds<__half> = true;
template <> constexpr bool rounds<__nv_bfloat16> = true;
template <> constexpr bool rounds<__half2> = true;
template <> constexpr bool rounds<__nv_bfloat162> = true;
#endif
} // namespace cuda_on_cpu

// each also as ..._block and ..._system: with one thread at a time they are alike
#define CUDA_ON_CPU_ATOMICS(name, ...)                                                             \
    template <class T> CUDA_ON_CPU_ATOMIC inline T name(T *p, cuda_on_cpu::Plain<T> x) __VA_ARGS__ \
    template <class T> CUDA_ON_CPU_ATOMIC inline T name##_block(T *p, cuda_on_cpu::Plain<T> x)     \
        __VA_ARGS__                                                                                \
    template <class T> CUDA_ON_CPU_ATOMIC inline T name##_system(T *p, cuda_on_cpu::Plain<T> x)    \
        __VA_ARGS__
#define CUDA_ON_CPU_MODIFY(round, ...)                                                             \
    {                                                                                              \
        cuda_on_cpu_atomic((void *)p, sizeof(T), round, __builtin_return_address(0));              \
        T old = *p;                                                                                \
        *p = __VA_ARGS__;                                                                          \
        return old;                                                                                \
    }
CUDA_ON_CPU_ATOMICS(atomicAdd, CUDA_ON_CPU_MODIFY(cuda_on_cpu::rounds<T>, old + x))
CUDA_ON_CPU_ATOMICS(atomicSub, CUDA_ON_CPU_MODIFY(cuda_on_cpu::rounds<T>, old - x))
CUDA_ON_CPU_ATOMICS(atomicExch, CUDA_ON_CPU_MODIFY(false, x))
CUDA_ON_CPU_ATOMICS(atomicMin, CUDA_ON_CPU_MODIFY(false, x < old ? x : old))
CUDA_ON_CPU_ATOMICS(atomicMax, CUDA_ON_CPU_MODIFY(false, old < x ? x : old))
CUDA_ON_CPU_ATOMICS(atomicInc, CUDA_ON_CPU_MODIFY(false, old >= x ? 0 : old + 1))
CUDA_ON_CPU_ATOMICS(atomicDec, CUDA_ON_CPU_MODIFY(false, old == 0 || old > x ? x : old - 1))
CUDA_ON_CPU_ATOMICS(atomicAnd, CUDA_ON_CPU_MODIFY(false, old & x))
CUDA_ON_CPU_ATOMICS(atomicOr, CUDA_ON_CPU_MODIFY(false, old | x))
CUDA_ON_CPU_ATOMICS(atomicXor, CUDA_ON_CPU_MODIFY(false, old ^ x))

// sums of floats are made of it as well: it counts as one that rounds
template <class T>
CUDA_ON_CPU_ATOMIC inline T atomicCAS(T *p, cuda_on_cpu::Plain<T> expected, cuda_on_cpu::Plain<T> x)
    CUDA_ON_CPU_MODIFY(true, old == expected ? x : old)
template <class T> inline T atomicCAS_block(T *p, cuda_on_cpu::Plain<T> a, cuda_on_cpu::Plain<T> b) {
    return atomicCAS(p, a, b);
}
template <class T> inline T atomicCAS_system(T *p, cuda_on_cpu::Plain<T> a, cuda_on_cpu::Plain<T> b) {
    return atomicCAS(p, a, b);
}

#include "cuda_on_cpu_math.h"

// ---- a kernel, seen from outside -----------------------------------------------------------------

namespace cuda_on_cpu {

template <class T> constexpr char kind_of_value() {
    if constexpr (__is_class(T) || __is_union(T)) return 's';
    else if constexpr (T(0.5) != T(0)) return 'f';
    else return T(-1) < T(0) ? 'i' : 'u';
}
template <class T> constexpr char kind = kind_of_value<T>();
template <class T> constexpr char kind<T *> = 'p';
template <> constexpr char kind<bool> = 'b';
template <class T> struct Value { using type = T; };
template <class T> struct Value<const T> { using type = T; };

template <int... I> struct Numbers {};

template <class F> struct Signature;
template <class... A> struct Signature<void (*)(A...)> {
    static constexpr int count = sizeof...(A);
    static constexpr char kinds[] = {kind<typename Value<A>::type>..., 0};
    static constexpr int sizes[] = {int(sizeof(A))..., 0};

    template <void (*kernel)(A...)>
    __attribute__((no_sanitize("thread", "alignment"))) static void call(void **arguments) {
        call_with<kernel>(arguments, Numbers<__integer_pack(sizeof...(A))...>{});
    }
    template <void (*kernel)(A...), int... I>
    __attribute__((no_sanitize("thread", "alignment"))) static void call_with(void **arguments,
                                                                              Numbers<I...>) {
        kernel(*(A *)arguments[I]...);
    }
};

} // namespace cuda_on_cpu

extern "C" char __ehdr_start[] __attribute__((visibility("hidden")));
extern "C" char _end[] __attribute__((visibility("hidden")));

#define CUDA_ON_CPU_SECTION(name) static __attribute__((section(#name)))
#define CUDA_ON_CPU_SECTION_ENDS(name)                                                             \
    extern "C" char __start_##name[] __attribute__((weak, visibility("hidden")));                  \
    extern "C" char __stop_##name[] __attribute__((weak, visibility("hidden")));

/// After the text of `kernel`, whose __shared__ goes to section `shared_<entry>`: exports `entry`.
#define CUDA_ON_CPU_KERNEL(entry, kernel)                                                          \
    CUDA_ON_CPU_SECTION_ENDS(shared_##entry)                                                       \
    extern "C" const CudaOnCpuKernel entry __attribute__((visibility("default"))) = {              \
        &cuda_on_cpu::Signature<decltype(&kernel)>::call<&kernel>,                                 \
        cuda_on_cpu::Signature<decltype(&kernel)>::count,                                          \
        cuda_on_cpu::Signature<decltype(&kernel)>::kinds,                                          \
        cuda_on_cpu::Signature<decltype(&kernel)>::sizes,                                          \
        {__start_shared_##entry, __stop_shared_##entry},                                           \
        {__start_shared_common, __stop_shared_common},                                             \
        {__ehdr_start, _end}};

// shared memory of functions in a header, that of kernels follows
CUDA_ON_CPU_SECTION_ENDS(shared_common)
#define __shared__ CUDA_ON_CPU_SECTION(shared_common)
