#include <ATen/Context.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <torch/library.h>

#include <cmath>
#include <limits>
#include <tuple>

#include "../checks.h"
#include "kernels.h"

namespace sr_plugins {
namespace {

using at::Tensor;

// Calls `run` with a value of the type that the kernels take.
template <typename Run>
void dispatch(const Tensor& img, Run run) {
  switch (img.scalar_type()) {
    case at::kFloat:
      return run(float{});
    case at::kDouble:
      return run(double{});
    case at::kHalf:
      return run(__half{});
    case at::kBFloat16:
      return run(__nv_bfloat16{});
    default:
      TORCH_CHECK_TYPE(
          false,
          "Expected `img` to be float16, bfloat16, float32 or float64, but got ",
          img.scalar_type(),
          ".");
  }
}

at::TensorOptions contiguous(const Tensor& like) {
  return like.options().memory_format(at::MemoryFormat::Contiguous);
}

Tensor forward(
    const Tensor& img,
    const Tensor& kernels,
    const Tensor& offsets_h,
    const Tensor& offsets_v,
    int64_t scale) {
  check_inputs(img, kernels, offsets_h, offsets_v, scale);
  const c10::cuda::CUDAGuard guard(img.device());
  const Tensor output = at::empty(
      {img.size(0), img.size(1), kernels.size(2), kernels.size(3)}, contiguous(img));
  if (output.numel() == 0) {
    return output;
  }
  const Tensor k = with_rows(kernels), h = with_rows(offsets_h),
               v = with_rows(offsets_v);
  dispatch(img, [&](auto type) {
    using T = decltype(type);
    cuda::forward<T>(
        as_inputs<T>(img, k, h, v, scale),
        img.size(0),
        as_image<const T>(img),
        as_image<T>(output),
        c10::cuda::getCurrentCUDAStream());
    C10_CUDA_KERNEL_LAUNCH_CHECK();
  });
  return output;
}

std::tuple<Tensor, Tensor, Tensor> backward(
    const Tensor& grad,
    const Tensor& img,
    const Tensor& kernels,
    const Tensor& offsets_h,
    const Tensor& offsets_v,
    int64_t scale) {
  check_inputs(img, kernels, offsets_h, offsets_v, scale);
  check_grad(grad, img, kernels);
  const c10::cuda::CUDAGuard guard(img.device());
  const auto new_map = [&] { return at::empty(kernels.sizes(), contiguous(kernels)); };
  const Tensor d_kernels = new_map(), d_offsets_h = new_map(), d_offsets_v = new_map();
  if (kernels.numel() == 0) {
    return {d_kernels, d_offsets_h, d_offsets_v};
  }
  const Tensor k = with_rows(kernels), h = with_rows(offsets_h),
               v = with_rows(offsets_v);
  dispatch(img, [&](auto type) {
    using T = decltype(type);
    cuda::backward<T>(
        as_inputs<T>(img, k, h, v, scale),
        img.size(0),
        as_image<const T>(grad),
        as_image<const T>(img),
        as_map<T>(d_kernels),
        as_map<T>(d_offsets_h),
        as_map<T>(d_offsets_v),
        c10::cuda::getCurrentCUDAStream());
    C10_CUDA_KERNEL_LAUNCH_CHECK();
  });
  return {d_kernels, d_offsets_h, d_offsets_v};
}

// 2^62 units are what a pixel can come to at most: all products of a gradient and a
// kernel at one place. Where one of them is not finite, results are not finite either.
Tensor unit_of(const Tensor& grad, const Tensor& kernels) {
  const auto largest = [](const Tensor& x) { return x.abs().amax().to(at::kDouble); };
  const double count = static_cast<double>(kernels.numel() / kernels.size(0));
  return largest(grad)
      .mul(largest(kernels))
      .mul(count * std::ldexp(1.0, -62))
      .clamp_min(std::numeric_limits<double>::min());
}

Tensor backward_img(
    const Tensor& grad,
    const Tensor& img,
    const Tensor& kernels,
    const Tensor& offsets_h,
    const Tensor& offsets_v,
    int64_t scale) {
  check_inputs(img, kernels, offsets_h, offsets_v, scale);
  check_grad(grad, img, kernels);
  const c10::cuda::CUDAGuard guard(img.device());
  const bool fixed = at::globalContext().deterministicAlgorithms();
  const auto wide = img.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  const Tensor sum =
      at::zeros(img.sizes(), contiguous(img).dtype(fixed ? at::kLong : wide));
  if (img.numel() == 0) {
    return sum.to(img.scalar_type());
  }
  const Tensor k = with_rows(kernels), h = with_rows(offsets_h),
               v = with_rows(offsets_v);
  const Tensor unit = fixed ? unit_of(grad, kernels) : Tensor();
  dispatch(img, [&](auto type) {
    using T = decltype(type);
    const auto in = as_inputs<T>(img, k, h, v, scale);
    const auto from = as_image<const T>(grad);
    const auto stream = c10::cuda::getCurrentCUDAStream();
    if (fixed) {
      cuda::backward_img_fixed<T>(
          in,
          img.size(0),
          from,
          as_image<int64_t>(sum),
          unit.const_data_ptr<double>(),
          stream);
    } else {
      using S = typename Wide<T>::type;
      cuda::backward_img<T, S>(in, img.size(0), from, as_image<S>(sum), stream);
    }
    C10_CUDA_KERNEL_LAUNCH_CHECK();
  });
  return fixed ? sum.to(at::kDouble).mul(unit).to(img.scalar_type())
               : sum.to(img.scalar_type());
}

TORCH_LIBRARY_IMPL(sr_plugins, CUDA, m) {
  m.impl("adaptive_grid_sample", forward);
  m.impl("adaptive_grid_sample_backward", backward);
  m.impl("adaptive_grid_sample_backward_img", backward_img);
}

} // namespace
} // namespace sr_plugins
