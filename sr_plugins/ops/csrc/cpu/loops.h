// Loops of adaptive_grid_sample on a CPU.
//
// Images and gradients of outputs are read from, and gradients of images added up in,
// "quads": (N, groups, height, width, 4), four channels of a pixel side by side, the
// last group filled up with zeros. The neighbours of a sample in a row are then one
// load for four channels.
//
// Functions take the rows from `begin` to `end` - 1 of all images, counted through the
// batch, so that calls with disjoint rows can run in parallel. Results do not depend on
// how the rows are shared out.
#pragma once

#include "../adaptive_grid_sample.h"

namespace sr_plugins {

// Bits of types that are computed in float.
struct Half {
  uint16_t bits;
};
struct BFloat16 {
  uint16_t bits;
};

constexpr int64_t kLanes = 4;

namespace {
SR_PLUGINS_INLINE int64_t groups_of(int64_t channels) {
  return (channels + kLanes - 1) / kLanes;
}
} // namespace

template <typename T>
struct Loops {
  using A = typename Wide<T>::type;

  void (*to_quads)(const Image<const T>&, A* quads, int64_t begin, int64_t end);
  void (*from_quads)(const A* quads, const Image<T>&, int64_t begin, int64_t end);
  // Over rows of the output. False when a position is not finite.
  bool (*forward)(
      const Inputs<T>&,
      const A* img,
      const Image<T>& output,
      int64_t begin,
      int64_t end);
  // Over rows of the output.
  void (*backward)(
      const Inputs<T>&,
      int64_t groups,
      const A* grad,
      const A* img,
      const Map<T>& d_kernels,
      const Map<T>& d_offsets_h,
      const Map<T>& d_offsets_v,
      int64_t begin,
      int64_t end);
  // The first and the last row of the image that each row of the output touches. Over
  // rows of the output.
  void (*reach)(
      const Inputs<T>&, int32_t* first, int32_t* last, int64_t begin, int64_t end);
  // Adds to rows of the image, in the same order whichever rows they are.
  void (*backward_img)(
      const Inputs<T>&,
      int64_t groups,
      const A* grad,
      const int32_t* first,
      const int32_t* last,
      A* d_img,
      int64_t begin,
      int64_t end);
};

// Instructions that loops.cpp is compiled for, as far as the build does.
namespace baseline {
template <typename T>
Loops<T> loops();
}
namespace avx2 {
template <typename T>
Loops<T> loops();
}
namespace avx512 {
template <typename T>
Loops<T> loops();
}

} // namespace sr_plugins
