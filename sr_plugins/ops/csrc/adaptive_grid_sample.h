// Where adaptive_grid_sample samples, for all implementations; pointers and sizes only.
//
// Everything with a body has internal linkage: the CPU's loops are compiled once for
// each instruction set, and the linker must not mix them up.
#pragma once

#include <math.h>
#include <stdint.h>

#ifdef __CUDACC__
#define SR_PLUGINS_INLINE __host__ __device__ __forceinline__
#else
#define SR_PLUGINS_INLINE inline __attribute__((always_inline))
#endif

namespace sr_plugins {

// The type to compute in.
template <typename T>
struct Wide {
  using type = float;
};
template <>
struct Wide<double> {
  using type = double;
};

// (N, channels, height, width) of any strides, in elements.
template <typename T>
struct Image {
  T* data;
  int64_t channels, height, width;
  int64_t batch_stride, channel_stride, row_stride, column_stride;
};

// (N, k * k, h, w) of which each row is contiguous; strides in elements.
template <typename T>
struct Map {
  T* data;
  int64_t batch_stride, tap_stride, row_stride;
};

template <typename T>
struct Inputs {
  int32_t scale;
  // Of the image and of the output, at most kMaxSide.
  int32_t height, width, rows, columns;
  Map<const T> kernels, offsets_h, offsets_v;
};

// Float holds all whole numbers up to it.
constexpr int64_t kMaxSide = (1 << 24) - 1024;

namespace {

SR_PLUGINS_INLINE int32_t side_of(int32_t scale) {
  return 3 * scale + 1;
}

SR_PLUGINS_INLINE float round_down(float x) {
  return floorf(x);
}
SR_PLUGINS_INLINE double round_down(double x) {
  return floor(x);
}
SR_PLUGINS_INLINE float size_of(float x) {
  return fabsf(x);
}
SR_PLUGINS_INLINE double size_of(double x) {
  return fabs(x);
}

template <typename T>
SR_PLUGINS_INLINE T* row_of(const Map<T>& map, int64_t n, int32_t tap, int32_t y) {
  return map.data + n * map.batch_stride + tap * map.tap_stride + y * map.row_stride;
}

// Pixels along one side of the image, and beyond it the `pad` reflected ones.
template <typename A>
struct Extent {
  A pad, last;

  SR_PLUGINS_INLINE Extent(int32_t size, int32_t scale)
      : pad(A(side_of(scale) / 2)), last(A(size - 1)) {}

  // For what is not finite, too: NaN becomes a number in the first comparison.
  SR_PLUGINS_INLINE A clip(A pixel) const {
    pixel = pixel < last + pad ? pixel : last + pad;
    return pixel > -pad ? pixel : -pad;
  }
  SR_PLUGINS_INLINE A reflect(A pixel) const {
    return last - size_of(last - size_of(pixel));
  }
};

template <typename A>
struct Position {
  // Pixels of the image, whole numbers.
  A before, after;
  // From the one to the other; not finite where the displacement is not.
  A fraction;
};

// As published, the second pixel follows from the first after that is clipped.
template <typename A>
SR_PLUGINS_INLINE Position<A> locate(A displacement, A start, const Extent<A>& extent) {
  const A whole = round_down(displacement);
  const A first = extent.clip(whole + start);
  return {
      extent.reflect(first),
      extent.reflect(extent.clip(first + 1)),
      displacement - whole};
}

// The four pixels of a sample and their shares. In a row they are neighbours: `column`
// and the one to its right.
template <typename A>
struct Sample {
  int32_t top, bottom, column;
  // Shares of the column to the right and of the row below.
  A right, below;
  // The derivative of `right`: 1, -1 where the image runs backwards, 0 at its end.
  A sense;
};

// One tap of one row of the output.
template <typename A>
struct TapRow {
  Extent<A> columns, rows;
  A scale, centre;
  int32_t start_x, start_y;

  template <typename T>
  SR_PLUGINS_INLINE TapRow(const Inputs<T>& in, int32_t tap, int32_t y)
      : columns(in.width, in.scale),
        rows(in.height, in.scale),
        scale(A(in.scale)),
        centre(A(in.scale - 1) / 2),
        start_x(tap % side_of(in.scale) - side_of(in.scale) / 2),
        start_y(tap / side_of(in.scale) - side_of(in.scale) / 2 + y * in.scale) {}

  SR_PLUGINS_INLINE Position<A> vertical(A offset) const {
    return locate<A>(offset * scale + centre, A(start_y), rows);
  }

  // `x` is the first pixel of the output's in the image.
  SR_PLUGINS_INLINE Sample<A> sample(A offset_h, A offset_v, int32_t x) const {
    const auto h = locate<A>(offset_h * scale + centre, A(x + start_x), columns);
    const auto v = vertical(offset_v);
    const A sense = h.after - h.before;
    const A backwards = sense < 0 ? 1 - h.fraction : h.fraction * 0;
    return {
        int32_t(v.before),
        int32_t(v.after),
        int32_t(sense < 0 ? h.after : h.before),
        sense > 0 ? h.fraction : backwards,
        v.fraction,
        sense};
  }
};

} // namespace
} // namespace sr_plugins
