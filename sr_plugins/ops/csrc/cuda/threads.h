// What one thread of a GPU does: one pixel of the output, for every `step`-th tap.
//
// Plain functions, so that a test can run the same code on a CPU. `Count` channels from
// `channel` on are taken at once; kernels and offsets are read once for all of them.
#pragma once

#include "../adaptive_grid_sample.h"

namespace sr_plugins {
namespace {

SR_PLUGINS_INLINE float widen(float x) {
  return x;
}
SR_PLUGINS_INLINE double widen(double x) {
  return x;
}
SR_PLUGINS_INLINE void narrow(float x, float& to) {
  to = x;
}
SR_PLUGINS_INLINE void narrow(double x, double& to) {
  to = x;
}

struct Pixel {
  int64_t n;
  int32_t y, x;

  // Pixels of the whole batch are counted in rows.
  template <typename T>
  SR_PLUGINS_INLINE Pixel(const Inputs<T>& in, int64_t index)
      : n(index / (int64_t(in.rows) * in.columns)),
        y(int32_t(index / in.columns % in.rows)),
        x(int32_t(index % in.columns)) {}

  template <typename T>
  SR_PLUGINS_INLINE T* of(const Image<T>& image, int64_t channel) const {
    return image.data + n * image.batch_stride + channel * image.channel_stride +
           y * image.row_stride + x * image.column_stride;
  }

  template <typename T>
  SR_PLUGINS_INLINE T& of(const Map<T>& map, int32_t tap) const {
    return row_of(map, n, tap, y)[x];
  }
};

template <typename A, typename T>
SR_PLUGINS_INLINE Sample<A> sample_at(
    const Inputs<T>& in, const Pixel& pixel, int32_t tap) {
  return TapRow<A>(in, tap, pixel.y)
      .sample(
          widen(pixel.of(in.offsets_h, tap)),
          widen(pixel.of(in.offsets_v, tap)),
          pixel.x * in.scale);
}

// Pixels left and right above, left and right below, within a channel.
struct Corners {
  int64_t at[4];

  template <typename A, typename T>
  SR_PLUGINS_INLINE Corners(const Sample<A>& sample, const Image<T>& img) {
    const int64_t column = sample.column * img.column_stride;
    at[0] = sample.top * img.row_stride + column;
    at[1] = at[0] + img.column_stride;
    at[2] = sample.bottom * img.row_stride + column;
    at[3] = at[2] + img.column_stride;
  }
};

// Adds to `sums`, one for each channel.
template <int Count, typename T, typename A>
SR_PLUGINS_INLINE void forward_thread(
    const Inputs<T>& in,
    const Image<const T>& img,
    int64_t channel,
    const Pixel& pixel,
    int32_t tap,
    int32_t step,
    A* sums) {
  const T* image = img.data + pixel.n * img.batch_stride;
  for (; tap < side_of(in.scale) * side_of(in.scale); tap += step) {
    const auto sample = sample_at<A>(in, pixel, tap);
    const Corners corners(sample, img);
    const A kernel = widen(pixel.of(in.kernels, tap));
    for (int c = 0; c < Count; ++c) {
      const T* plane = image + (channel + c) * img.channel_stride;
      const A top_left = widen(plane[corners.at[0]]);
      const A bottom_left = widen(plane[corners.at[2]]);
      const A top = top_left + sample.right * (widen(plane[corners.at[1]]) - top_left);
      const A bottom =
          bottom_left + sample.right * (widen(plane[corners.at[3]]) - bottom_left);
      sums[c] += kernel * (top + sample.below * (bottom - top));
    }
  }
}

// Count 0 stands for any number of channels.
template <int Count, typename T>
SR_PLUGINS_INLINE void backward_thread(
    const Inputs<T>& in,
    const Image<const T>& grad,
    const Image<const T>& img,
    const Pixel& pixel,
    int32_t tap,
    int32_t step,
    const Map<T>& d_kernels,
    const Map<T>& d_offsets_h,
    const Map<T>& d_offsets_v) {
  using A = typename Wide<T>::type;
  const int64_t channels = Count > 0 ? Count : img.channels;
  const T* image = img.data + pixel.n * img.batch_stride;
  A kept[Count > 0 ? Count : 1];
  for (int c = 0; c < Count; ++c) {
    kept[c] = widen(*pixel.of(grad, c));
  }
  for (; tap < side_of(in.scale) * side_of(in.scale); tap += step) {
    const auto sample = sample_at<A>(in, pixel, tap);
    const Corners corners(sample, img);
    A products[4] = {0, 0, 0, 0};
    for (int64_t c = 0; c < channels; ++c) {
      const T* plane = image + c * img.channel_stride;
      const A g = Count > 0 ? kept[Count > 0 ? c : 0] : widen(*pixel.of(grad, c));
      for (int i = 0; i < 4; ++i) {
        products[i] += g * widen(plane[corners.at[i]]);
      }
    }
    const A across_top = products[1] - products[0];
    const A across_bottom = products[3] - products[2];
    const A top = products[0] + sample.right * across_top;
    const A down = products[2] + sample.right * across_bottom - top;
    const A across = across_top + sample.below * (across_bottom - across_top);
    const A factor = widen(pixel.of(in.kernels, tap)) * A(in.scale);
    narrow(top + sample.below * down, pixel.of(d_kernels, tap));
    narrow(factor * sample.sense * across, pixel.of(d_offsets_h, tap));
    narrow(factor * down, pixel.of(d_offsets_v, tap));
  }
}

// `sum` is a contiguous image; `add` adds a number to one of its elements, whatever
// other threads do.
template <int Count, typename T, typename S, typename Add>
SR_PLUGINS_INLINE void backward_img_thread(
    const Inputs<T>& in,
    const Image<const T>& grad,
    const Image<S>& sum,
    int64_t channel,
    const Pixel& pixel,
    int32_t tap,
    int32_t step,
    const Add& add) {
  using A = typename Wide<T>::type;
  A g[Count];
  for (int c = 0; c < Count; ++c) {
    g[c] = widen(*pixel.of(grad, channel + c));
  }
  S* image = sum.data + pixel.n * sum.batch_stride;
  for (; tap < side_of(in.scale) * side_of(in.scale); tap += step) {
    const auto sample = sample_at<A>(in, pixel, tap);
    const Corners corners(sample, sum);
    const A kernel = widen(pixel.of(in.kernels, tap));
    const A below = kernel * sample.below;
    const A above = kernel - below;
    const A shares[4] = {
        above - above * sample.right,
        above * sample.right,
        below - below * sample.right,
        below * sample.right};
    for (int c = 0; c < Count; ++c) {
      S* plane = image + (channel + c) * sum.channel_stride;
      for (int i = 0; i < 4; ++i) {
        add(plane + corners.at[i], shares[i] * g[c]);
      }
    }
  }
}

// Whole numbers of a unit: their sum does not depend on the order.
SR_PLUGINS_INLINE int64_t to_fixed(double value, double unit) {
  return int64_t(llrint(value / unit));
}

} // namespace
} // namespace sr_plugins
