// What the kernels rely on. Users meet the checks in Python first.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/util/Exception.h>

#include <type_traits>

#include "adaptive_grid_sample.h"

namespace sr_plugins {
namespace {

inline void check_inputs(
    const at::Tensor& img,
    const at::Tensor& kernels,
    const at::Tensor& offsets_h,
    const at::Tensor& offsets_v,
    int64_t scale) {
  TORCH_CHECK_VALUE(
      scale >= 1 && scale <= 1024,
      "Expected `scale` to be 1 to 1024, but got ",
      scale,
      ".");
  for (const auto* tensor : {&img, &kernels, &offsets_h, &offsets_v}) {
    TORCH_CHECK_VALUE(
        tensor->dim() == 4,
        "Expected four dimensions, but got the shape ",
        tensor->sizes(),
        ".");
    TORCH_CHECK_TYPE(
        tensor->scalar_type() == img.scalar_type(),
        "Expected all tensors to be of the type of `img`, ",
        img.scalar_type(),
        ", but got ",
        tensor->scalar_type(),
        ".");
    TORCH_CHECK_VALUE(
        tensor->device() == img.device(),
        "Expected all tensors to be where `img` is, on ",
        img.device(),
        ", but got ",
        tensor->device(),
        ".");
  }
  const int64_t side = 3 * scale + 1, height = img.size(2), width = img.size(3);
  TORCH_CHECK_VALUE(
      height % scale == 0 && width % scale == 0 && height > side / 2 &&
          width > side / 2 && height <= kMaxSide && width <= kMaxSide &&
          height * width < (int64_t(1) << 31),
      "Expected the sides of `img` to be multiples of `scale`, ",
      scale,
      ", more than ",
      side / 2,
      ", at most ",
      kMaxSide,
      ", and their product below 2^31, but got ",
      height,
      " x ",
      width,
      " (height x width).");
  for (const auto* tensor : {&kernels, &offsets_h, &offsets_v}) {
    TORCH_CHECK_VALUE(
        tensor->size(0) == img.size(0) && tensor->size(1) == side * side &&
            tensor->size(2) == height / scale && tensor->size(3) == width / scale,
        "Expected kernels and offsets of the shape [",
        img.size(0),
        ", ",
        side * side,
        ", ",
        height / scale,
        ", ",
        width / scale,
        "], but got ",
        tensor->sizes(),
        ".");
  }
}

inline void check_grad(
    const at::Tensor& grad, const at::Tensor& img, const at::Tensor& kernels) {
  TORCH_CHECK_VALUE(
      grad.dim() == 4 && grad.size(0) == img.size(0) && grad.size(1) == img.size(1) &&
          grad.size(2) == kernels.size(2) && grad.size(3) == kernels.size(3),
      "Expected `grad` to be of the shape of the output, but got ",
      grad.sizes(),
      ".");
  TORCH_CHECK_TYPE(
      grad.scalar_type() == img.scalar_type() && grad.device() == img.device(),
      "Expected `grad` to be of the type of `img` and where it is, but got ",
      grad.scalar_type(),
      " on ",
      grad.device(),
      ".");
}

// Rows are contiguous already, or in a copy.
inline at::Tensor with_rows(const at::Tensor& map) {
  return map.stride(3) == 1 || map.size(3) == 1 ? map : map.contiguous();
}

template <typename T>
T* data_of(const at::Tensor& tensor) {
  if constexpr (std::is_const_v<T>) {
    return static_cast<T*>(tensor.const_data_ptr());
  } else {
    return static_cast<T*>(tensor.mutable_data_ptr());
  }
}

template <typename T>
Map<T> as_map(const at::Tensor& map) {
  return {data_of<T>(map), map.stride(0), map.stride(1), map.stride(2)};
}

template <typename T>
Image<T> as_image(const at::Tensor& image) {
  return {
      data_of<T>(image),
      image.size(1),
      image.size(2),
      image.size(3),
      image.stride(0),
      image.stride(1),
      image.stride(2),
      image.stride(3)};
}

template <typename T>
Inputs<T> as_inputs(
    const at::Tensor& img,
    const at::Tensor& kernels,
    const at::Tensor& offsets_h,
    const at::Tensor& offsets_v,
    int64_t scale) {
  return {
      int32_t(scale),
      int32_t(img.size(2)),
      int32_t(img.size(3)),
      int32_t(kernels.size(2)),
      int32_t(kernels.size(3)),
      as_map<const T>(kernels),
      as_map<const T>(offsets_h),
      as_map<const T>(offsets_v)};
}

} // namespace
} // namespace sr_plugins
