// Functions on numbers that CUDA C has and C++ has not, or has in <cmath> only: part of
// cuda_on_cpu.h. Results are those of the C library, so they agree with a GPU's to a few units in
// the last place, and the fast ones (__expf) are better here than there.
#pragma once

// ---- the C library -------------------------------------------------------------------------------

// An overload for float is a template: it does not get in the way where <cmath> is there as well.
#define CUDA_ON_CPU_FLOAT template <class T> requires(__is_same(T, float))
#define CUDA_ON_CPU_UNARY(name)                                                                    \
    extern "C" double name(double) noexcept;                                                       \
    extern "C" float name##f(float) noexcept;                                                      \
    CUDA_ON_CPU_FLOAT inline T name(T x) { return name##f(x); }
#define CUDA_ON_CPU_BINARY(name)                                                                   \
    extern "C" double name(double, double) noexcept;                                               \
    extern "C" float name##f(float, float) noexcept;                                               \
    CUDA_ON_CPU_FLOAT inline T name(T x, T y) { return name##f(x, y); }
CUDA_ON_CPU_UNARY(acos)
CUDA_ON_CPU_UNARY(acosh)
CUDA_ON_CPU_UNARY(asin)
CUDA_ON_CPU_UNARY(asinh)
CUDA_ON_CPU_UNARY(atan)
CUDA_ON_CPU_UNARY(atanh)
CUDA_ON_CPU_UNARY(cbrt)
CUDA_ON_CPU_UNARY(ceil)
CUDA_ON_CPU_UNARY(cos)
CUDA_ON_CPU_UNARY(cosh)
CUDA_ON_CPU_UNARY(erf)
CUDA_ON_CPU_UNARY(erfc)
CUDA_ON_CPU_UNARY(exp)
CUDA_ON_CPU_UNARY(exp2)
CUDA_ON_CPU_UNARY(exp10)
CUDA_ON_CPU_UNARY(expm1)
CUDA_ON_CPU_UNARY(fabs)
CUDA_ON_CPU_UNARY(floor)
CUDA_ON_CPU_UNARY(lgamma)
CUDA_ON_CPU_UNARY(log)
CUDA_ON_CPU_UNARY(log10)
CUDA_ON_CPU_UNARY(log1p)
CUDA_ON_CPU_UNARY(log2)
CUDA_ON_CPU_UNARY(logb)
CUDA_ON_CPU_UNARY(nearbyint)
CUDA_ON_CPU_UNARY(rint)
CUDA_ON_CPU_UNARY(round)
CUDA_ON_CPU_UNARY(sin)
CUDA_ON_CPU_UNARY(sinh)
CUDA_ON_CPU_UNARY(sqrt)
CUDA_ON_CPU_UNARY(tan)
CUDA_ON_CPU_UNARY(tanh)
CUDA_ON_CPU_UNARY(tgamma)
CUDA_ON_CPU_UNARY(trunc)
CUDA_ON_CPU_BINARY(atan2)
CUDA_ON_CPU_BINARY(copysign)
CUDA_ON_CPU_BINARY(fdim)
CUDA_ON_CPU_BINARY(fmax)
CUDA_ON_CPU_BINARY(fmin)
CUDA_ON_CPU_BINARY(fmod)
CUDA_ON_CPU_BINARY(hypot)
CUDA_ON_CPU_BINARY(nextafter)
CUDA_ON_CPU_BINARY(pow)
CUDA_ON_CPU_BINARY(remainder)

extern "C" {
double fma(double, double, double) noexcept;
float fmaf(float, float, float) noexcept;
double ldexp(double, int) noexcept;
float ldexpf(float, int) noexcept;
double scalbn(double, int) noexcept;
float scalbnf(float, int) noexcept;
double frexp(double, int *) noexcept;
float frexpf(float, int *) noexcept;
double modf(double, double *) noexcept;
float modff(float, float *) noexcept;
int ilogb(double) noexcept;
int ilogbf(float) noexcept;
long lrint(double) noexcept;
long lrintf(float) noexcept;
long long llrint(double) noexcept;
long long llrintf(float) noexcept;
long lround(double) noexcept;
long lroundf(float) noexcept;
long long llround(double) noexcept;
long long llroundf(float) noexcept;
void sincos(double, double *, double *) noexcept;
void sincosf(float, float *, float *) noexcept;
int abs(int) noexcept;
long long llabs(long long) noexcept;
}
CUDA_ON_CPU_FLOAT inline T fma(T x, T y, T z) { return fmaf(x, y, z); }
CUDA_ON_CPU_FLOAT inline T ldexp(T x, int n) { return ldexpf(x, n); }
CUDA_ON_CPU_FLOAT inline T scalbn(T x, int n) { return scalbnf(x, n); }
CUDA_ON_CPU_FLOAT inline T frexp(T x, int *n) { return frexpf(x, n); }
CUDA_ON_CPU_FLOAT inline T modf(T x, T *whole) { return modff(x, whole); }
CUDA_ON_CPU_FLOAT inline T pow(T x, int n) { return powf(x, (float)n); }
CUDA_ON_CPU_FLOAT inline T abs(T x) { return fabsf(x); }
template <class T> requires(__is_same(T, double)) inline T abs(T x) { return fabs(x); }
template <class T> requires(__is_same(T, long) || __is_same(T, long long)) inline T abs(T x) {
    return x < 0 ? -x : x;
}

#define CUDA_ON_CPU_TEST(name)                                                                     \
    template <class T> requires(__is_same(T, float) || __is_same(T, double))                       \
    inline bool name(T x) { return __builtin_##name(x) != 0; }
CUDA_ON_CPU_TEST(isnan)
CUDA_ON_CPU_TEST(isinf)
CUDA_ON_CPU_TEST(isfinite)
CUDA_ON_CPU_TEST(signbit)
#undef CUDA_ON_CPU_TEST

// min and max of two floats leave out a nan, as fmin does
template <class A, class B> inline auto min(A a, B b) -> decltype(a + b) {
    using T = decltype(a + b);
    if constexpr (T(0.5) != T(0)) return sizeof(T) == 4 ? (T)fminf(a, b) : (T)fmin(a, b);
    else return T(a) < T(b) ? T(a) : T(b);
}
template <class A, class B> inline auto max(A a, B b) -> decltype(a + b) {
    using T = decltype(a + b);
    if constexpr (T(0.5) != T(0)) return sizeof(T) == 4 ? (T)fmaxf(a, b) : (T)fmax(a, b);
    else return T(a) > T(b) ? T(a) : T(b);
}

// ---- CUDA's own ----------------------------------------------------------------------------------

namespace cuda_on_cpu {

/// Halley's steps on erfc(y) = z, from 26.2.22 of Abramowitz and Stegun. 0 < z <= 1.
inline double small_erfcinv(double z) {
    double l = sqrt(-2 * log(z / 2));
    double y = 0.7071067811865476 * (l - (2.30753 + 0.27061 * l) / (1 + l * (0.99229 + 0.04481 * l)));
    for (int k = 0; k < 3; k++) {
        double e = (erfc(y) - z) / (1.1283791670955126 * exp(-y * y));
        y += e / (1 - y * e);
    }
    return y;
}

inline double erfcinv(double z) {
    if (!(z >= 0 && z <= 2)) return __builtin_nan("");
    if (z == 0 || z == 2) return z == 0 ? __builtin_inf() : -__builtin_inf();
    return z <= 1 ? small_erfcinv(z) : -small_erfcinv(2 - z);
}

inline double erfinv(double x) {
    double a = fabs(x);
    if (!(a <= 1)) return __builtin_nan("");
    if (a > 0.5) return copysign(erfcinv(1 - a), x);
    double y = 0.886226925452758 * a; // near zero 1 - a would lose digits
    for (int k = 0; k < 5; k++) {
        double e = (a - erf(y)) / (1.1283791670955126 * exp(-y * y));
        y += e / (1 - y * e);
    }
    return copysign(y, x);
}

} // namespace cuda_on_cpu

#define CUDA_ON_CPU_OWN(name, ...)                                                                 \
    inline double name(double x) { return __VA_ARGS__; }                                           \
    inline float name##f(float in) { double x = in; return (float)(__VA_ARGS__); }                 \
    CUDA_ON_CPU_FLOAT inline T name(T x) { return name##f(x); }
CUDA_ON_CPU_OWN(rsqrt, 1 / sqrt(x))
CUDA_ON_CPU_OWN(rcbrt, 1 / cbrt(x))
CUDA_ON_CPU_OWN(sinpi, sin(3.141592653589793 * remainder(x, 2)))
CUDA_ON_CPU_OWN(cospi, cos(3.141592653589793 * remainder(x, 2)))
CUDA_ON_CPU_OWN(erfinv, cuda_on_cpu::erfinv(x))
CUDA_ON_CPU_OWN(erfcinv, cuda_on_cpu::erfcinv(x))
CUDA_ON_CPU_OWN(normcdf, erfc(-x * 0.7071067811865476) / 2)
CUDA_ON_CPU_OWN(normcdfinv, -1.4142135623730951 * cuda_on_cpu::erfcinv(2 * x))

// as C functions: <math.h> declares some of these names so
#define CUDA_ON_CPU_ALIAS1(name, to)                                                               \
    extern "C" inline float name(float x) noexcept { return to; }
#define CUDA_ON_CPU_ALIAS2(name, to)                                                               \
    extern "C" inline float name(float x, float y) noexcept { return to; }
#define CUDA_ON_CPU_DOUBLE2(name, to) inline double name(double x, double y) { return to; }
CUDA_ON_CPU_ALIAS1(__expf, expf(x))
CUDA_ON_CPU_ALIAS1(__exp10f, exp10f(x))
CUDA_ON_CPU_ALIAS1(__logf, logf(x))
CUDA_ON_CPU_ALIAS1(__log2f, log2f(x))
CUDA_ON_CPU_ALIAS1(__log10f, log10f(x))
CUDA_ON_CPU_ALIAS1(__sinf, sinf(x))
CUDA_ON_CPU_ALIAS1(__cosf, cosf(x))
CUDA_ON_CPU_ALIAS1(__tanf, tanf(x))
CUDA_ON_CPU_ALIAS1(__tanhf, tanhf(x))
CUDA_ON_CPU_ALIAS1(__saturatef, x > 0 ? (x < 1 ? x : 1) : 0)
CUDA_ON_CPU_ALIAS1(__frcp_rn, 1 / x)
CUDA_ON_CPU_ALIAS1(__fsqrt_rn, sqrtf(x))
CUDA_ON_CPU_ALIAS1(__frsqrt_rn, rsqrtf(x))
CUDA_ON_CPU_ALIAS2(__powf, powf(x, y))
CUDA_ON_CPU_ALIAS2(__fdividef, x / y)
CUDA_ON_CPU_ALIAS2(fdividef, x / y)
CUDA_ON_CPU_ALIAS2(__fadd_rn, x + y)
CUDA_ON_CPU_ALIAS2(__fsub_rn, x - y)
CUDA_ON_CPU_ALIAS2(__fmul_rn, x * y)
CUDA_ON_CPU_ALIAS2(__fdiv_rn, x / y)
CUDA_ON_CPU_DOUBLE2(__dadd_rn, x + y)
CUDA_ON_CPU_DOUBLE2(__dsub_rn, x - y)
CUDA_ON_CPU_DOUBLE2(__dmul_rn, x * y)
CUDA_ON_CPU_DOUBLE2(__ddiv_rn, x / y)
inline float __fmaf_rn(float x, float y, float z) { return fmaf(x, y, z); }
inline double __fma_rn(double x, double y, double z) { return fma(x, y, z); }
inline double __drcp_rn(double x) { return 1 / x; }
inline double __dsqrt_rn(double x) { return sqrt(x); }
extern "C" inline void __sincosf(float x, float *s, float *c) noexcept { sincosf(x, s, c); }

// ---- conversions ---------------------------------------------------------------------------------

namespace cuda_on_cpu {
// a value outside of the target becomes the nearest in it, nan zero: PTX ISA, cvt
template <class To, class From> inline To saturate(From x) {
    constexpr bool is_signed = To(-1) < To(0);
    constexpr To high = is_signed ? To(~(1ull << (8 * sizeof(To) - 1))) : To(~0ull);
    constexpr To low = is_signed ? To(-high - 1) : To(0);
    if (x != x) return 0;
    if (x >= From(high)) return high; // From(high) is high, or the next power of two
    return x <= From(low) ? low : To(x);
}
} // namespace cuda_on_cpu

#define CUDA_ON_CPU_TO_INTEGER(from, From, to, To)                                                 \
    inline To __##from##2##to##_rn(From x) { return cuda_on_cpu::saturate<To>(rint(x)); }          \
    inline To __##from##2##to##_rz(From x) { return cuda_on_cpu::saturate<To>(x); }                \
    inline To __##from##2##to##_ru(From x) { return cuda_on_cpu::saturate<To>(ceil(x)); }          \
    inline To __##from##2##to##_rd(From x) { return cuda_on_cpu::saturate<To>(floor(x)); }
CUDA_ON_CPU_TO_INTEGER(float, float, int, int)
CUDA_ON_CPU_TO_INTEGER(float, float, uint, unsigned)
CUDA_ON_CPU_TO_INTEGER(float, float, ll, long long)
CUDA_ON_CPU_TO_INTEGER(float, float, ull, unsigned long long)
CUDA_ON_CPU_TO_INTEGER(double, double, int, int)
CUDA_ON_CPU_TO_INTEGER(double, double, uint, unsigned)
CUDA_ON_CPU_TO_INTEGER(double, double, ll, long long)
CUDA_ON_CPU_TO_INTEGER(double, double, ull, unsigned long long)

#define CUDA_ON_CPU_CAST(name, From, To) inline To name(From x) { return (To)x; }
CUDA_ON_CPU_CAST(__int2float_rn, int, float)
CUDA_ON_CPU_CAST(__uint2float_rn, unsigned, float)
CUDA_ON_CPU_CAST(__ll2float_rn, long long, float)
CUDA_ON_CPU_CAST(__ull2float_rn, unsigned long long, float)
CUDA_ON_CPU_CAST(__int2double_rn, int, double)
CUDA_ON_CPU_CAST(__uint2double_rn, unsigned, double)
CUDA_ON_CPU_CAST(__ll2double_rn, long long, double)
CUDA_ON_CPU_CAST(__ull2double_rn, unsigned long long, double)
CUDA_ON_CPU_CAST(__double2float_rn, double, float)

#define CUDA_ON_CPU_BITS(name, From, To)                                                           \
    inline To name(From x) { return cuda_on_cpu::bits<To>(x); }
CUDA_ON_CPU_BITS(__float_as_int, float, int)
CUDA_ON_CPU_BITS(__float_as_uint, float, unsigned)
CUDA_ON_CPU_BITS(__int_as_float, int, float)
CUDA_ON_CPU_BITS(__uint_as_float, unsigned, float)
CUDA_ON_CPU_BITS(__double_as_longlong, double, long long)
CUDA_ON_CPU_BITS(__longlong_as_double, long long, double)
inline int __double2hiint(double x) { return (int)(__double_as_longlong(x) >> 32); }
inline int __double2loint(double x) { return (int)__double_as_longlong(x); }
inline double __hiloint2double(int high, int low) {
    return __longlong_as_double((long long)((unsigned long long)(unsigned)high << 32 | (unsigned)low));
}

// ---- integers ------------------------------------------------------------------------------------

inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
inline int __clz(int x) { return x ? __builtin_clz(x) : 32; }
inline int __clzll(long long x) { return x ? __builtin_clzll(x) : 64; }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __ffsll(long long x) { return __builtin_ffsll(x); }
inline unsigned __brev(unsigned x) {
    unsigned y = 0;
    for (int k = 0; k < 32; k++) y |= (x >> k & 1) << (31 - k);
    return y;
}
inline unsigned long long __brevll(unsigned long long x) {
    return (unsigned long long)__brev((unsigned)x) << 32 | __brev((unsigned)(x >> 32));
}
inline unsigned __byte_perm(unsigned x, unsigned y, unsigned selector) {
    unsigned long long both = (unsigned long long)y << 32 | x;
    unsigned out = 0;
    for (int k = 0; k < 4; k++) {
        unsigned choice = selector >> (4 * k) & 15;
        unsigned byte = (unsigned)(both >> (8 * (choice & 7))) & 255;
        if (choice & 8) byte = byte & 128 ? 255 : 0; // the sign, repeated
        out |= byte << (8 * k);
    }
    return out;
}
inline int __mul24(int x, int y) { return (int)((unsigned)(x << 8 >> 8) * (unsigned)(y << 8 >> 8)); }
inline unsigned __umul24(unsigned x, unsigned y) { return (x & 0xffffff) * (y & 0xffffff); }
inline int __mulhi(int x, int y) { return (int)((long long)x * y >> 32); }
inline unsigned __umulhi(unsigned x, unsigned y) {
    return (unsigned)((unsigned long long)x * y >> 32);
}
inline long long __mul64hi(long long x, long long y) { return (long long)((__int128)x * y >> 64); }
inline unsigned long long __umul64hi(unsigned long long x, unsigned long long y) {
    return (unsigned long long)((unsigned __int128)x * y >> 64);
}
inline unsigned __sad(int x, int y, unsigned z) {
    return z + (x > y ? (unsigned)x - (unsigned)y : (unsigned)y - (unsigned)x);
}
inline unsigned __usad(unsigned x, unsigned y, unsigned z) { return z + (x > y ? x - y : y - x); }
inline int __hadd(int x, int y) { return (int)(((long long)x + y) >> 1); }
inline int __rhadd(int x, int y) { return (int)(((long long)x + y + 1) >> 1); }
inline unsigned __uhadd(unsigned x, unsigned y) {
    return (unsigned)(((unsigned long long)x + y) >> 1);
}
inline unsigned __urhadd(unsigned x, unsigned y) {
    return (unsigned)(((unsigned long long)x + y + 1) >> 1);
}
inline unsigned __funnelshift_l(unsigned low, unsigned high, unsigned n) {
    return (unsigned)(((unsigned long long)high << 32 | low) << (n & 31) >> 32);
}
inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned n) {
    return (unsigned)(((unsigned long long)high << 32 | low) >> (n & 31));
}
inline unsigned __funnelshift_lc(unsigned low, unsigned high, unsigned n) {
    return n >= 32 ? low : __funnelshift_l(low, high, n);
}
inline unsigned __funnelshift_rc(unsigned low, unsigned high, unsigned n) {
    return n >= 32 ? high : __funnelshift_r(low, high, n);
}
inline int __dp4a(int x, int y, int sum) {
    for (int k = 0; k < 32; k += 8) sum += (signed char)(x >> k) * (signed char)(y >> k);
    return sum;
}
inline unsigned __dp4a(unsigned x, unsigned y, unsigned sum) {
    for (int k = 0; k < 32; k += 8) sum += (x >> k & 255) * (y >> k & 255);
    return sum;
}
