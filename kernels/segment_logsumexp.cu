// log(sum(exp(x))) over each segment of x, and its gradient. Segment s is x[offsets[s]] to x[offsets[s + 1] - 1];
// an empty one gives -inf. `real` is float or double: who compiles this says which.
//
// Launch: a warp for each segment, so 32 * segments threads in blocks of whole warps. The maximum is taken first and
// subtracted, so that nothing overflows; lanes are folded by butterflies (CUDA C++ Programming Guide, "Warp shuffle
// functions"). Offsets must be sorted and within x.

__global__ void segment_logsumexp(const real* x, const long long* offsets, real* y, int segments) {
  const int lane = threadIdx.x % 32, s = (blockIdx.x * blockDim.x + threadIdx.x) / 32;
  if (s >= segments) return;  // all lanes of a warp together
  const long long first = offsets[s], last = offsets[s + 1];
  real most = first < last ? x[first] : log((real)0);
  for (long long k = first + lane; k < last; k += 32) most = max(most, x[k]);
  for (int d = 16; d > 0; d /= 2) most = max(most, __shfl_xor_sync(0xffffffffu, most, d));
  const real base = most - most == 0 ? most : 0;  // infinities are not subtracted
  real sum = 0;
  for (long long k = first + lane; k < last; k += 32) sum += exp(x[k] - base);
  for (int d = 16; d > 0; d /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, d);
  if (lane == 0) y[s] = base + log(sum);
}

// dx[k] = ct[s] * exp(x[k] - y[s]) with y from above: the softmax within each segment. Of elements in no segment dx
// stays as it is: 0 to begin with.
__global__ void segment_logsumexp_grad(const real* x, const long long* offsets, const real* y, const real* ct, real* dx,
                                       int segments) {
  const int lane = threadIdx.x % 32, s = (blockIdx.x * blockDim.x + threadIdx.x) / 32;
  if (s >= segments) return;
  for (long long k = offsets[s] + lane; k < offsets[s + 1]; k += 32) dx[k] = ct[s] * exp(x[k] - y[s]);
}
