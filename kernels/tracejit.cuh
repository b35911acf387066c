// Device functions that stand in front of generated kernels (tracejit/codegen/cuda.py prints calls of them).
// Nothing is included: NVRTC reads this in about 10 ms. Without __CUDA_ARCH__ (g++, for tests on the CPU) the few
// PTX instructions below are written out, bit for bit the same.

#define TJ __device__ __forceinline__
#define TJ_INF tj_bits<float>(0x7f800000)
#define TJ_NAN tj_bits<float>(0x7fc00000)

template <class To, class From> TJ To tj_bits(From x) {
  union { From from; To to; } both;
  both.from = x;
  return both.to;
}

// ---- vectors: N elements side by side, read and written 16 bytes at a time --------------------------------------

template <class T, int N> struct alignas(sizeof(T) * N < 16 ? sizeof(T) * N : 16) tj_vec {
  T at[N];
  __device__ T& operator[](int k) { return at[k]; }
  __device__ const T& operator[](int k) const { return at[k]; }
};
template <int N, class T> TJ tj_vec<T, N> tj_load(const T* p) {
  return *reinterpret_cast<const tj_vec<T, N>*>(p);
}
template <int N, class T> TJ void tj_store(T* p, const tj_vec<T, N>& v) {
  *reinterpret_cast<tj_vec<T, N>*>(p) = v;
}

// ---- numbers: nan goes through max and min, integers wrap and x / 0 = 0 ------------------------------------------

template <class T> TJ T tj_max(T a, T b) { return a > b ? a : b; }
template <class T> TJ T tj_min(T a, T b) { return a < b ? a : b; }
TJ double tj_max(double a, double b) { return a > b || a != a ? a : b; }
TJ double tj_min(double a, double b) { return a < b || a != a ? a : b; }
#if __CUDA_ARCH__ >= 800
TJ float tj_max(float a, float b) { asm("max.NaN.f32 %0, %0, %1;" : "+f"(a) : "f"(b)); return a; }
TJ float tj_min(float a, float b) { asm("min.NaN.f32 %0, %0, %1;" : "+f"(a) : "f"(b)); return a; }
#else
TJ float tj_max(float a, float b) { return a > b || a != a ? a : b; }
TJ float tj_min(float a, float b) { return a < b || a != a ? a : b; }
#endif

template <class T> TJ T tj_neg(T x) { return (T)(0ull - (unsigned long long)x); }
template <class T> TJ T tj_abs(T x) { return x < 0 ? tj_neg(x) : x; }
template <class T> TJ T tj_sign(T x) { return x > 0 ? (T)1 : x < 0 ? (T)-1 : x == x ? (T)0 : x; }
template <class T> TJ T tj_div(T a, T b) { return b == 0 ? 0 : b == (T)-1 && (T)-1 < 0 ? tj_neg(a) : (T)(a / b); }
template <class T> TJ T tj_rem(T a, T b) { return b == 0 || (b == (T)-1 && (T)-1 < 0) ? 0 : (T)(a % b); }
// the amount n is unsigned; x is too in the first two
template <class T> TJ T tj_shl(T x, T n) { return n < 8 * sizeof(T) ? (T)(x << n) : 0; }
template <class T> TJ T tj_shr(T x, T n) { return n < 8 * sizeof(T) ? (T)(x >> n) : 0; }
template <class S, class T> TJ S tj_sar(S x, T n) { return x >> (n < 8 * sizeof(T) ? n : 8 * sizeof(T) - 1); }
template <class T> TJ T tj_pow(T x, T n) {  // 1 / x^-n, truncated, for n < 0
  if (n < 0) return x == 1 ? x : x == (T)-1 ? (n & 1 ? x : (T)1) : (T)0;
  unsigned long long y = 1, f = (unsigned long long)x;
  for (unsigned long long k = n; k; k >>= 1, f *= f) y *= k & 1 ? f : 1;
  return (T)y;
}
template <class T> TJ T tj_mulhi(T a, T b) {  // up to 32 bits
  const unsigned long long whole = (T)-1 < 0 ? (unsigned long long)((long long)a * b) : (unsigned long long)a * b;
  return (T)(whole >> 8 * sizeof(T));
}
#ifdef __CUDA_ARCH__
TJ long long tj_mulhi(long long a, long long b) { return __mul64hi(a, b); }
TJ unsigned long long tj_mulhi(unsigned long long a, unsigned long long b) { return __umul64hi(a, b); }
#else
TJ long long tj_mulhi(long long a, long long b) { return (long long)((__int128)a * b >> 64); }
TJ unsigned long long tj_mulhi(unsigned long long a, unsigned long long b) {
  return (unsigned long long)((unsigned __int128)a * b >> 64);
}
#endif
// a float as an integer: truncated, saturated, 0 for nan
template <class T, class F> TJ T tj_int(F x) {
  const T most = (T)-1 < 0 ? (T)(~0ull >> (65 - 8 * sizeof(T))) : (T)-1, least = (T)-1 < 0 ? (T)(-1 - most) : (T)0;
  return x != x ? (T)0 : x >= (F)most ? most : x <= (F)least ? least : (T)x;
}
TJ float tj_logistic(float x) { const float e = expf(-fabsf(x)); return (x >= 0 ? 1 : e) / (1 + e); }
TJ double tj_logistic(double x) { const double e = exp(-fabs(x)); return (x >= 0 ? 1 : e) / (1 + e); }

// ---- 16-bit floats, kept as their bits ---------------------------------------------------------------------------

TJ float tj_from_bf16(unsigned short h) { return tj_bits<float>((unsigned)h << 16); }
#ifdef __CUDA_ARCH__
TJ float tj_from_f16(unsigned short h) { float x; asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"(h)); return x; }
TJ unsigned short tj_to_f16(float x) { unsigned short h; asm("cvt.rn.f16.f32 %0, %1;" : "=h"(h) : "f"(x)); return h; }
TJ unsigned short tj_to_f16(double x) { unsigned short h; asm("cvt.rn.f16.f64 %0, %1;" : "=h"(h) : "d"(x)); return h; }
#else
TJ float tj_from_f16(unsigned short h) {
  const unsigned sign = (h & 0x8000u) << 16, rest = (h & 0x7fffu) << 13;
  const float scaled = tj_bits<float>(rest) * 0x1p112f;  // exact: the exponent moves, subnormals too
  return tj_bits<float>(sign | (rest < 0x0f800000 ? tj_bits<unsigned>(scaled) : rest | 0x7f800000));
}
TJ unsigned short tj_to_f16(double x) {
  unsigned long long b = tj_bits<unsigned long long>(x);
  const unsigned sign = b >> 48 & 0x8000;
  b &= ~0ull >> 1;
  const double a = tj_bits<double>(b);
  if (!(a < 65520)) return sign | (x != x ? 0x7e00 : 0x7c00);
  if (a < 0x1p-14) return sign | (unsigned)rint(a * 0x1p24);
  return sign | (unsigned)((b + (1ull << 41) - 1 + (b >> 42 & 1) >> 42) - (1008 << 10));
}
TJ unsigned short tj_to_f16(float x) { return tj_to_f16((double)x); }
#endif
#if __CUDA_ARCH__ >= 800
TJ unsigned short tj_to_bf16(float x) { unsigned short h; asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(h) : "f"(x)); return h; }
#else
TJ unsigned short tj_to_bf16(float x) {
  const unsigned b = tj_bits<unsigned>(x);
  return x != x ? b >> 16 | 0x40 : b + 0x7fff + (b >> 16 & 1) >> 16;
}
#endif

// ---- the value of another thread of the warp: at a distance, so much below, of a lane ----------------------------

template <class T> TJ T tj_across(T v, int d) { return (T)__shfl_xor_sync(~0u, v, d); }
template <class T> TJ T tj_below(T v, int d) { return (T)__shfl_up_sync(~0u, v, d); }
template <class T> TJ T tj_of(T v, int lane) { return (T)__shfl_sync(~0u, v, lane); }

// ---- complex numbers ---------------------------------------------------------------------------------------------

#if defined(TJ_COMPLEX) || !defined(__CUDA_ARCH__)  // skipped unless asked for: it takes as long to read as the rest
TJ float tj_hypot(float a, float b) { return hypotf(a, b); }
TJ double tj_hypot(double a, double b) { return hypot(a, b); }
TJ bool tj_finite(float x) { return fabsf(x) < TJ_INF; }
TJ bool tj_finite(double x) { return fabs(x) < TJ_INF; }
TJ float tj_log1p(float x) { return log1pf(x); }
TJ double tj_log1p(double x) { return log1p(x); }
template <class R> struct alignas(2 * sizeof(R)) tj_complex {
  R re, im;
  template <class S> __device__ explicit operator tj_complex<S>() const { return {(S)re, (S)im}; }
};
#define TJ_C template <class R> TJ tj_complex<R>
TJ_C operator-(tj_complex<R> a) { return {-a.re, -a.im}; }
TJ_C operator+(tj_complex<R> a, tj_complex<R> b) { return {a.re + b.re, a.im + b.im}; }
TJ_C operator-(tj_complex<R> a, tj_complex<R> b) { return {a.re - b.re, a.im - b.im}; }
TJ_C operator*(tj_complex<R> a, tj_complex<R> b) { return {a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re}; }
TJ_C operator/(tj_complex<R> a, tj_complex<R> b) {  // R. L. Smith, Algorithm 116, CACM 5 (1962)
  const R x = b.re < 0 ? -b.re : b.re, y = b.im < 0 ? -b.im : b.im;
  if (x == 0 && y == 0) return {a.re / (R)0, a.im / (R)0};  // of -0 too
  if (x >= y) {
    const R ratio = b.im / b.re, scale = 1 / (b.re + b.im * ratio);
    return {(a.re + a.im * ratio) * scale, (a.im - a.re * ratio) * scale};
  }
  const R ratio = b.re / b.im, scale = 1 / (b.im + b.re * ratio);
  return {(a.re * ratio + a.im) * scale, (a.im * ratio - a.re) * scale};
}
TJ_C& operator+=(tj_complex<R>& a, tj_complex<R> b) { return a = a + b; }
TJ_C& operator*=(tj_complex<R>& a, tj_complex<R> b) { return a = a * b; }
template <class R> TJ bool operator==(tj_complex<R> a, tj_complex<R> b) { return a.re == b.re && a.im == b.im; }
template <class R> TJ bool operator!=(tj_complex<R> a, tj_complex<R> b) { return a.re != b.re || a.im != b.im; }
template <class R> TJ bool tj_finite(tj_complex<R> a) { return tj_finite(a.re) && tj_finite(a.im); }
template <class R> TJ R tj_abs(tj_complex<R> a) { return tj_hypot(a.re, a.im); }
TJ_C tj_conj(tj_complex<R> a) { return {a.re, -a.im}; }
TJ_C tj_exp(tj_complex<R> a) {
  const R size = exp(a.re);
  if (a.im == 0) return {size, a.im};
  if (!tj_finite(a.im) && !tj_finite(a.re) && a.re == a.re) return {size, size == 0 ? copysign(size, a.im) : a.im - a.im};
  return {size * cos(a.im), size * sin(a.im)};
}
TJ_C tj_log(tj_complex<R> a) {
  const R size = tj_abs(a), x = a.re < 0 ? -a.re : a.re, y = a.im < 0 ? -a.im : a.im, most = x < y ? y : x;
  const bool near = size > (R)0.5 && size < 2;  // 1: the logarithm of what differs from it
  const R least = x < y ? x : y, off = near ? (most - 1) * (most + 1) + least * least : 0;
  return {near ? (R)0.5 * tj_log1p(off) : log(size), atan2(a.im, a.re)};
}
TJ_C tj_sqrt(tj_complex<R> a) {
  if (a.im - a.im != 0 && a.im == a.im) return {a.im < 0 ? -a.im : a.im, a.im};  // infinite
  if (a.re == 0 && a.im == 0) return {0, a.im};
  const bool left = a.re < 0;
  if (!tj_finite(a.re) && a.re == a.re) {
    const R other = a.im - a.im;
    return left ? tj_complex<R>{other, copysign(a.re, a.im)} : tj_complex<R>{a.re, copysign(other, a.im)};
  }
  const R quarter = (R)0.25, x = (left ? -a.re : a.re) * quarter, y = a.im * quarter;  // no overflow
  const R root = 2 * sqrt((x + tj_hypot(x, y)) * (R)0.5);
  return left ? tj_complex<R>{copysign(a.im, root) / (2 * root), copysign(root, a.im)}
              : tj_complex<R>{root, a.im / (2 * root)};
}
TJ_C tj_across(tj_complex<R> v, int d) { return {tj_across(v.re, d), tj_across(v.im, d)}; }
TJ_C tj_below(tj_complex<R> v, int d) { return {tj_below(v.re, d), tj_below(v.im, d)}; }
TJ_C tj_of(tj_complex<R> v, int lane) { return {tj_of(v.re, lane), tj_of(v.im, lane)}; }
#endif

// ---- threads together: butterflies within a warp, then over the results of the warps -----------------------------

template <int WIDTH, class T, class F> TJ T tj_warp(T v, F fold) {
#pragma unroll
  for (int d = WIDTH / 2; d > 0; d /= 2) v = fold(v, tj_across(v, d));
  return v;
}
template <int WIDTH, class T, class F> TJ T tj_scan_warp(T v, F fold) {
#pragma unroll
  for (int d = 1; d < WIDTH; d *= 2) {
    const T before = tj_below(v, d);
    if ((int)threadIdx.x % WIDTH >= d) v = fold(before, v);
  }
  return v;
}
// shared: a cell a warp, which no thread still reads
template <int THREADS, class T, class F> TJ T tj_block(T v, T* shared, F fold) {
  v = tj_warp<32>(v, fold);
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = v;
  __syncthreads();
  return tj_warp<THREADS / 32>(shared[threadIdx.x % (THREADS / 32)], fold);
}
template <int THREADS, class T, class F> TJ T tj_scan_block(T v, T* shared, F fold) {
  v = tj_scan_warp<32>(v, fold);
  if (threadIdx.x % 32 == 31) shared[threadIdx.x / 32] = v;
  __syncthreads();
  const T total = tj_scan_warp<THREADS / 32>(shared[threadIdx.x % (THREADS / 32)], fold);
  const int warp = threadIdx.x / 32;
  const T before = tj_of(total, warp > 0 ? warp - 1 : 0);
  return warp > 0 ? fold(before, v) : v;
}

// ---- updates of memory in one step: step(old) is stored, old returned --------------------------------------------

template <int BYTES> struct tj_word { typedef unsigned type; };
template <> struct tj_word<1> { typedef unsigned char type; };
template <> struct tj_word<2> { typedef unsigned short type; };
template <> struct tj_word<8> { typedef unsigned long long type; };
template <class W> TJ W tj_swap(W* p, W expected, W wanted) { return atomicCAS(p, expected, wanted); }
#ifdef __CUDA_ARCH__
template <class W> TJ W tj_peek(W* p) { return *(volatile W*)p; }
TJ unsigned char tj_swap(unsigned char* p, unsigned char expected, unsigned char wanted) {
  unsigned* const word = (unsigned*)((unsigned long long)p & ~3ull);
  const unsigned shift = ((unsigned long long)p & 3) * 8;
  for (unsigned old = tj_peek(word);;) {
    if ((unsigned char)(old >> shift) != expected) return old >> shift;
    const unsigned seen = atomicCAS(word, old, (old & ~(255u << shift)) | (unsigned)wanted << shift);
    if (seen == old) return expected;
    old = seen;
  }
}
#else
template <class W> TJ W tj_peek(W* p) { return atomicCAS(p, (W)0, (W)0); }
#endif
template <class T, class F> TJ T tj_atomic(T* p, F step) {
  typedef typename tj_word<sizeof(T)>::type W;
  for (W old = tj_peek((W*)p);;) {
    const W wanted = tj_bits<W>(step(tj_bits<T>(old)));
    const W seen = wanted == old ? old : tj_swap((W*)p, old, wanted);
    if (seen == old) return tj_bits<T>(old);
    old = seen;
  }
}
TJ void tj_fail(long long* flag, long long code) {
  atomicCAS((unsigned long long*)flag, 0ull, (unsigned long long)code);
}
