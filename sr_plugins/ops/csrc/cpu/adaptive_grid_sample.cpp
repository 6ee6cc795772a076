#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros.h>
#include <torch/library.h>

#include <algorithm>
#include <atomic>
#include <string>
#include <tuple>

#include "../checks.h"
#include "loops.h"

namespace sr_plugins {
namespace {

using at::Tensor;

// Samples that are worth a thread.
constexpr int64_t kGrain = 1 << 15;

template <typename T>
Loops<T> choose_loops() {
#ifdef SR_PLUGINS_X86
  // As torch sees it, so that ATEN_CPU_CAPABILITY rules here, too.
  const std::string instructions = at::get_cpu_capability();
  if (instructions == "AVX512") {
    return avx512::loops<T>();
  }
  if (instructions == "AVX2") {
    return avx2::loops<T>();
  }
#endif
  return baseline::loops<T>();
}

template <typename T>
const Loops<T>& loops() {
  static const Loops<T> chosen = choose_loops<T>();
  return chosen;
}

// Calls `run` with a value of the type that the loops take.
template <typename Run>
auto dispatch(const Tensor& img, Run run) {
  switch (img.scalar_type()) {
    case at::kFloat:
      return run(float{});
    case at::kDouble:
      return run(double{});
    case at::kHalf:
      return run(Half{});
    case at::kBFloat16:
      return run(BFloat16{});
    default:
      TORCH_CHECK_TYPE(
          false,
          "Expected `img` to be float16, bfloat16, float32 or float64, but got ",
          img.scalar_type(),
          ".");
  }
}

int64_t groups_in(const Tensor& img) {
  return groups_of(img.size(1));
}

template <typename Factory>
Tensor new_quads(const Tensor& image, Factory factory) {
  const auto type = image.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  return factory(
      {image.size(0), groups_in(image), image.size(2), image.size(3), kLanes},
      image.options().dtype(type).memory_format(at::MemoryFormat::Contiguous));
}

template <typename T>
Tensor to_quads(const Tensor& image) {
  using A = typename Wide<T>::type;
  const Tensor quads =
      new_quads(image, [](at::IntArrayRef size, const at::TensorOptions& options) {
        return at::empty(size, options);
      });
  const auto from = as_image<const T>(image);
  A* to = quads.data_ptr<A>();
  at::parallel_for(
      0,
      image.size(0) * from.height,
      kGrain / from.width + 1,
      [&](int64_t begin, int64_t end) { loops<T>().to_quads(from, to, begin, end); });
  return quads;
}

// Rows of the output that are worth a thread.
int64_t grain_of(const Tensor& kernels) {
  return kGrain / (kernels.size(1) * kernels.size(3)) + 1;
}

void check_finite(const char* name, const Tensor& offsets, int64_t scale) {
  const auto type = offsets.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  const auto wrong =
      offsets.to(type).mul(scale).isfinite().logical_not().sum().item<int64_t>();
  TORCH_CHECK_VALUE(
      wrong == 0,
      "Expected `",
      name,
      "` times `scale` to be finite, but got ",
      wrong,
      " values that are not. Did the network diverge?");
}

Tensor forward(
    const Tensor& img,
    const Tensor& kernels,
    const Tensor& offsets_h,
    const Tensor& offsets_v,
    int64_t scale) {
  check_inputs(img, kernels, offsets_h, offsets_v, scale);
  const Tensor output = at::empty(
      {img.size(0), img.size(1), kernels.size(2), kernels.size(3)},
      img.options().memory_format(at::MemoryFormat::Contiguous));
  const Tensor k = with_rows(kernels), h = with_rows(offsets_h),
               v = with_rows(offsets_v);
  const bool finite = dispatch(img, [&](auto type) {
    using T = decltype(type);
    using A = typename Wide<T>::type;
    const Tensor quads = to_quads<T>(img);
    const A* pixels = quads.const_data_ptr<A>();
    const auto in = as_inputs<T>(img, k, h, v, scale);
    const auto to = as_image<T>(output);
    std::atomic<bool> all_finite{true};
    at::parallel_for(
        0, img.size(0) * in.rows, grain_of(k), [&](int64_t begin, int64_t end) {
          if (!loops<T>().forward(in, pixels, to, begin, end)) {
            all_finite = false;
          }
        });
    return all_finite.load();
  });
  if (!finite) {
    check_finite("offsets_h", offsets_h, scale);
    check_finite("offsets_v", offsets_v, scale);
  }
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
  const auto new_map = [&] {
    return at::empty(
        kernels.sizes(), kernels.options().memory_format(at::MemoryFormat::Contiguous));
  };
  const Tensor d_kernels = new_map(), d_offsets_h = new_map(), d_offsets_v = new_map();
  const Tensor k = with_rows(kernels), h = with_rows(offsets_h),
               v = with_rows(offsets_v);
  dispatch(img, [&](auto type) {
    using T = decltype(type);
    using A = typename Wide<T>::type;
    const Tensor quads = to_quads<T>(img), grad_quads = to_quads<T>(grad);
    const A* pixels = quads.const_data_ptr<A>();
    const A* grads = grad_quads.const_data_ptr<A>();
    const auto in = as_inputs<T>(img, k, h, v, scale);
    const auto to_k = as_map<T>(d_kernels), to_h = as_map<T>(d_offsets_h),
               to_v = as_map<T>(d_offsets_v);
    at::parallel_for(
        0, img.size(0) * in.rows, grain_of(k), [&](int64_t begin, int64_t end) {
          loops<T>().backward(
              in, groups_in(img), grads, pixels, to_k, to_h, to_v, begin, end);
        });
  });
  return {d_kernels, d_offsets_h, d_offsets_v};
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
  const Tensor d_img =
      at::empty(img.sizes(), img.options().memory_format(at::MemoryFormat::Contiguous));
  const Tensor k = with_rows(kernels), h = with_rows(offsets_h),
               v = with_rows(offsets_v);
  dispatch(img, [&](auto type) {
    using T = decltype(type);
    using A = typename Wide<T>::type;
    const Tensor grad_quads = to_quads<T>(grad);
    const A* grads = grad_quads.const_data_ptr<A>();
    const Tensor quads =
        new_quads(img, [](at::IntArrayRef size, const at::TensorOptions& options) {
          return at::zeros(size, options);
        });
    A* pixels = quads.data_ptr<A>();
    const auto in = as_inputs<T>(img, k, h, v, scale);
    const auto to = as_image<T>(d_img);
    const int64_t rows = img.size(0) * in.rows;
    const Tensor reached = at::empty({2, rows}, at::kInt);
    int32_t* first = reached.data_ptr<int32_t>();
    int32_t* last = first + rows;
    at::parallel_for(0, rows, grain_of(k), [&](int64_t begin, int64_t end) {
      loops<T>().reach(in, first, last, begin, end);
    });
    // A thread has rows of the image to itself and goes through all that may touch
    // them; more rows, less is gone through twice.
    const int64_t image_rows = img.size(0) * in.height;
    const int64_t grain = std::max(grain_of(k), int64_t(8)) * scale;
    at::parallel_for(0, image_rows, grain, [&](int64_t begin, int64_t end) {
      loops<T>().backward_img(
          in, groups_in(img), grads, first, last, pixels, begin, end);
      loops<T>().from_quads(pixels, to, begin, end);
    });
  });
  return d_img;
}

TORCH_LIBRARY_IMPL(sr_plugins, CPU, m) {
  m.impl("adaptive_grid_sample", forward);
  m.impl("adaptive_grid_sample_backward", backward);
  m.impl("adaptive_grid_sample_backward_img", backward_img);
}

} // namespace
} // namespace sr_plugins
