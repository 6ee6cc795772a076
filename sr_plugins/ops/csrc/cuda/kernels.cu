// Without torch's headers: nvcc alone compiles it, for many architectures in seconds.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

namespace sr_plugins {
namespace {
__device__ __forceinline__ float widen(__half x) {
  return __half2float(x);
}
__device__ __forceinline__ float widen(__nv_bfloat16 x) {
  return __bfloat162float(x);
}
__device__ __forceinline__ void narrow(float x, __half& to) {
  to = __float2half_rn(x);
}
__device__ __forceinline__ void narrow(float x, __nv_bfloat16& to) {
  to = __float2bfloat16_rn(x);
}
} // namespace
} // namespace sr_plugins

#include "kernels.h"
#include "threads.h"

namespace sr_plugins::cuda {
namespace {

// A warp takes pixels that are neighbours in memory. The taps of a pixel are shared out
// over warps, so that small images fill a GPU, too.
constexpr int kPixels = 32;
constexpr int kWarps = 8;
constexpr int kThreads = kPixels * kWarps;

int64_t blocks_of(int64_t pixels) {
  return (pixels + kPixels - 1) / kPixels;
}

__device__ __forceinline__ int64_t index_of_pixel() {
  return int64_t(blockIdx.x) * kPixels + threadIdx.x;
}

template <int Count, typename T>
__global__ void __launch_bounds__(kThreads) forward_kernel(
    Inputs<T> in,
    int64_t pixels,
    Image<const T> img,
    Image<T> output,
    int64_t channel) {
  using A = typename Wide<T>::type;
  __shared__ A shared[kWarps][Count][kPixels];
  const int64_t index = index_of_pixel();
  const bool valid = index < pixels;
  const Pixel pixel(in, valid ? index : 0);
  A sums[Count] = {};
  if (valid) {
    forward_thread<Count>(in, img, channel, pixel, threadIdx.y, kWarps, sums);
  }
  for (int c = 0; c < Count; ++c) {
    shared[threadIdx.y][c][threadIdx.x] = sums[c];
  }
  __syncthreads();
  for (int c = threadIdx.y; valid && c < Count; c += kWarps) {
    A sum = shared[0][c][threadIdx.x];
    for (int warp = 1; warp < kWarps; ++warp) {
      sum += shared[warp][c][threadIdx.x];
    }
    narrow(sum, *pixel.of(output, channel + c));
  }
}

template <int Count, typename T>
__global__ void __launch_bounds__(kThreads) backward_kernel(
    Inputs<T> in,
    int64_t pixels,
    Image<const T> grad,
    Image<const T> img,
    Map<T> d_kernels,
    Map<T> d_offsets_h,
    Map<T> d_offsets_v) {
  const int64_t index = index_of_pixel();
  if (index < pixels) {
    backward_thread<Count>(
        in,
        grad,
        img,
        Pixel(in, index),
        threadIdx.y,
        kWarps,
        d_kernels,
        d_offsets_h,
        d_offsets_v);
  }
}

template <typename A>
struct AtomicAdd {
  __device__ __forceinline__ void operator()(A* to, A value) const {
    atomicAdd(to, value);
  }
};

struct AtomicAddFixed {
  double unit;

  __device__ __forceinline__ void operator()(int64_t* to, double value) const {
    // Negative numbers as their complements: sums are the same.
    atomicAdd(
        reinterpret_cast<unsigned long long*>(to),
        static_cast<unsigned long long>(to_fixed(value, unit)));
  }
};

template <int Count, typename T, typename S>
__global__ void __launch_bounds__(kThreads) backward_img_kernel(
    Inputs<T> in, int64_t pixels, Image<const T> grad, Image<S> sum, int64_t channel) {
  const int64_t index = index_of_pixel();
  if (index < pixels) {
    backward_img_thread<Count>(
        in, grad, sum, channel, Pixel(in, index), threadIdx.y, kWarps, AtomicAdd<S>{});
  }
}

// A channel at a time: not made for speed.
template <typename T>
__global__ void __launch_bounds__(kThreads) backward_img_fixed_kernel(
    Inputs<T> in,
    int64_t pixels,
    Image<const T> grad,
    Image<int64_t> sum,
    int64_t channel,
    const double* unit) {
  const int64_t index = index_of_pixel();
  if (index < pixels) {
    backward_img_thread<1>(
        in,
        grad,
        sum,
        channel,
        Pixel(in, index),
        threadIdx.y,
        kWarps,
        AtomicAddFixed{*unit});
  }
}

template <int Value>
struct Constant {
  static constexpr int value = Value;
};

// Calls `launch(Constant<Count>, channel)` for up to four channels at a time.
template <typename Launch>
void for_channels(int64_t channels, Launch launch) {
  int64_t channel = 0;
  for (; channels - channel >= 4; channel += 4) {
    launch(Constant<4>{}, channel);
  }
  switch (channels - channel) {
    case 3:
      return launch(Constant<3>{}, channel);
    case 2:
      return launch(Constant<2>{}, channel);
    case 1:
      return launch(Constant<1>{}, channel);
  }
}

} // namespace

template <typename T>
void forward(
    const Inputs<T>& in,
    int64_t n,
    const Image<const T>& img,
    const Image<T>& output,
    cudaStream_t stream) {
  const int64_t pixels = n * in.rows * in.columns;
  for_channels(img.channels, [&](auto count, int64_t channel) {
    forward_kernel<decltype(count)::value>
        <<<blocks_of(pixels), dim3(kPixels, kWarps), 0, stream>>>(
            in, pixels, img, output, channel);
  });
}

template <typename T>
void backward(
    const Inputs<T>& in,
    int64_t n,
    const Image<const T>& grad,
    const Image<const T>& img,
    const Map<T>& d_kernels,
    const Map<T>& d_offsets_h,
    const Map<T>& d_offsets_v,
    cudaStream_t stream) {
  const int64_t pixels = n * in.rows * in.columns;
  const auto launch = [&](auto count) {
    backward_kernel<decltype(count)::value>
        <<<blocks_of(pixels), dim3(kPixels, kWarps), 0, stream>>>(
            in, pixels, grad, img, d_kernels, d_offsets_h, d_offsets_v);
  };
  switch (img.channels) {
    case 1:
      return launch(Constant<1>{});
    case 2:
      return launch(Constant<2>{});
    case 3:
      return launch(Constant<3>{});
    case 4:
      return launch(Constant<4>{});
    default:
      return launch(Constant<0>{});
  }
}

template <typename T, typename S>
void backward_img(
    const Inputs<T>& in,
    int64_t n,
    const Image<const T>& grad,
    const Image<S>& sum,
    cudaStream_t stream) {
  const int64_t pixels = n * in.rows * in.columns;
  for_channels(sum.channels, [&](auto count, int64_t channel) {
    backward_img_kernel<decltype(count)::value>
        <<<blocks_of(pixels), dim3(kPixels, kWarps), 0, stream>>>(
            in, pixels, grad, sum, channel);
  });
}

template <typename T>
void backward_img_fixed(
    const Inputs<T>& in,
    int64_t n,
    const Image<const T>& grad,
    const Image<int64_t>& sum,
    const double* unit,
    cudaStream_t stream) {
  const int64_t pixels = n * in.rows * in.columns;
  for (int64_t channel = 0; channel < sum.channels; ++channel) {
    backward_img_fixed_kernel<<<blocks_of(pixels), dim3(kPixels, kWarps), 0, stream>>>(
        in, pixels, grad, sum, channel, unit);
  }
}

#define SR_PLUGINS_INSTANTIATE(T)               \
  template void forward<T>(                     \
      const Inputs<T>&,                         \
      int64_t,                                  \
      const Image<const T>&,                    \
      const Image<T>&,                          \
      cudaStream_t);                            \
  template void backward<T>(                    \
      const Inputs<T>&,                         \
      int64_t,                                  \
      const Image<const T>&,                    \
      const Image<const T>&,                    \
      const Map<T>&,                            \
      const Map<T>&,                            \
      const Map<T>&,                            \
      cudaStream_t);                            \
  template void backward_img<T, Wide<T>::type>( \
      const Inputs<T>&,                         \
      int64_t,                                  \
      const Image<const T>&,                    \
      const Image<Wide<T>::type>&,              \
      cudaStream_t);                            \
  template void backward_img_fixed<T>(          \
      const Inputs<T>&,                         \
      int64_t,                                  \
      const Image<const T>&,                    \
      const Image<int64_t>&,                    \
      const double*,                            \
      cudaStream_t);

SR_PLUGINS_INSTANTIATE(float)
SR_PLUGINS_INSTANTIATE(double)
SR_PLUGINS_INSTANTIATE(__half)
SR_PLUGINS_INSTANTIATE(__nv_bfloat16)

} // namespace sr_plugins::cuda
