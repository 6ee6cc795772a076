// The loops of the CPU on buffers of exactly their sizes, for AddressSanitizer.
#include <cmath>
#include <cstdio>
#include <limits>
#include <random>
#include <vector>

#include "cpu/loops.h"

using namespace sr_plugins;

namespace {

std::mt19937 generator;

float offset(float range) {
  const float special[] = {
      NAN,
      INFINITY,
      -INFINITY,
      std::numeric_limits<float>::max(),
      -std::numeric_limits<float>::max(),
      2147483648.0f,
      -1e10f,
      1e-40f};
  if (range == 0 && generator() % 4 == 0) {
    return special[generator() % 8];
  }
  return std::uniform_real_distribution<float>(-1, 1)(generator) *
         (range == 0 ? 1 : range);
}

template <typename T>
T from_float(float x) {
  if constexpr (sizeof(T) == 2) {
    uint32_t bits;
    __builtin_memcpy(&bits, &x, 4);
    return T{uint16_t(bits >> 16)};
  } else {
    return T(x);
  }
}

template <typename T>
void run(int64_t n, int64_t channels, int rows, int columns, int scale, float range) {
  using A = typename Wide<T>::type;
  const auto loops = SR_PLUGINS_ISA::loops<T>();
  const int64_t taps = side_of(scale) * side_of(scale);
  const int64_t height = rows * scale, width = columns * scale;
  const int64_t groups = groups_of(channels), plane = rows * columns;
  const auto random = [&](int64_t size, float scope) {
    std::vector<T> values(size);
    for (auto& value : values) {
      value = from_float<T>(offset(scope));
    }
    return values;
  };
  const auto image = [](auto& values, int64_t c, int64_t h, int64_t w) {
    using V = std::remove_reference_t<decltype(*values.data())>;
    return Image<V>{values.data(), c, h, w, c * h * w, h * w, w, 1};
  };
  const auto map = [&](auto& values) {
    using V = std::remove_reference_t<decltype(*values.data())>;
    return Map<V>{values.data(), taps * plane, plane, columns};
  };
  const auto img = random(n * channels * height * width, 1);
  const auto grad = random(n * channels * plane, 1);
  const auto kernels = random(n * taps * plane, 1);
  const auto offsets_h = random(n * taps * plane, range);
  const auto offsets_v = random(n * taps * plane, range);
  std::vector<T> output(n * channels * plane), d_img(img.size());
  std::vector<T> d_kernels(kernels.size()), d_h(kernels.size()), d_v(kernels.size());
  std::vector<A> quads(n * groups * height * width * kLanes), d_quads(quads.size());
  std::vector<A> grad_quads(n * groups * plane * kLanes);
  std::vector<int32_t> first(n * rows), last(n * rows);
  const Inputs<T> in{
      scale,
      int32_t(height),
      int32_t(width),
      rows,
      columns,
      map(kernels),
      map(offsets_h),
      map(offsets_v)};

  loops.to_quads(image(img, channels, height, width), quads.data(), 0, n * height);
  loops.to_quads(image(grad, channels, rows, columns), grad_quads.data(), 0, n * rows);
  const auto to = image(output, channels, rows, columns);
  const bool finite = loops.forward(in, quads.data(), to, 0, n * rows);
  if (finite != (range != 0)) {
    std::printf("expected to be told of offsets that are not finite\n");
    std::exit(1);
  }
  loops.backward(
      in,
      groups,
      grad_quads.data(),
      quads.data(),
      map(d_kernels),
      map(d_h),
      map(d_v),
      0,
      n * rows);
  loops.reach(in, first.data(), last.data(), 0, n * rows);
  for (int64_t row = 0; row < n * height; row += 5) {
    const int64_t end = row + 5 < n * height ? row + 5 : n * height;
    loops.backward_img(
        in,
        groups,
        grad_quads.data(),
        first.data(),
        last.data(),
        d_quads.data(),
        row,
        end);
  }
  loops.from_quads(
      d_quads.data(), image(d_img, channels, height, width), 0, n * height);
}

template <typename T>
void run_all() {
  for (const float range : {1.0f, 7.0f, 1e4f, 1e30f, 0.0f}) {
    run<T>(1, 1, 3, 3, 1, range);
    run<T>(2, 3, 2, 5, 2, range);
    run<T>(1, 5, 5, 2, 3, range);
    run<T>(1, 3, 2, 131, 4, range);
    run<T>(1, 4, 9, 17, 4, range);
  }
}

} // namespace

int main() {
  run_all<float>();
  run_all<double>();
  run_all<BFloat16>();
  std::printf("done\n");
}
