// The code of a GPU's threads, thread after thread on a CPU. Arguments are contiguous.
#include "cuda/threads.h"

using namespace sr_plugins;

namespace {

constexpr int kStep = 3;

template <typename T>
Image<T> image(T* data, int64_t channels, int64_t height, int64_t width) {
  const int64_t plane = height * width;
  return {data, channels, height, width, channels * plane, plane, width, 1};
}

template <typename T>
struct Problem {
  int64_t n, channels;
  Inputs<T> in;
  Image<const T> img;

  Map<T> map(T* data) const {
    const int64_t plane = int64_t(in.rows) * in.columns;
    const int64_t side = side_of(in.scale);
    return {data, side * side * plane, plane, in.columns};
  }
  Map<const T> map(const T* data) const {
    const auto as = map(const_cast<T*>(data));
    return {data, as.batch_stride, as.tap_stride, as.row_stride};
  }

  Problem(const int64_t* sizes, const T* const* tensors)
      : n(sizes[0]), channels(sizes[1]) {
    const int32_t rows = sizes[2], columns = sizes[3], scale = sizes[4];
    in.scale = scale;
    in.rows = rows;
    in.columns = columns;
    in.height = rows * scale;
    in.width = columns * scale;
    img = image(tensors[0], channels, in.height, in.width);
    in.kernels = map(tensors[1]);
    in.offsets_h = map(tensors[2]);
    in.offsets_v = map(tensors[3]);
  }

  template <typename Work>
  void for_threads(Work work) const {
    for (int64_t index = 0; index < n * in.rows * in.columns; ++index) {
      for (int first = 0; first < kStep; ++first) {
        work(Pixel(in, index), first);
      }
    }
  }
};

// Tensors: img, kernels, offsets_h, offsets_v, grad. Outputs: of forward, gradients of
// kernels, offsets_h, offsets_v and img.
template <int Count, typename T>
void run(
    const int64_t* sizes, const T* const* tensors, T* const* outputs, double unit) {
  const Problem<T> p(sizes, tensors);
  const auto& in = p.in;
  const auto grad = image(tensors[4], p.channels, in.rows, in.columns);
  const auto output = image(outputs[0], p.channels, in.rows, in.columns);
  const auto sum = image(outputs[4], p.channels, in.height, in.width);
  p.for_threads([&](const Pixel& pixel, int first) {
    for (int64_t channel = 0; channel < p.channels; channel += Count) {
      T sums[Count] = {};
      forward_thread<Count>(in, p.img, channel, pixel, first, kStep, sums);
      for (int c = 0; c < Count; ++c) {
        *pixel.of(output, channel + c) += sums[c];
      }
      backward_img_thread<Count>(
          in, grad, sum, channel, pixel, first, kStep, [&](T* to, T value) {
            *to += unit > 0 ? T(double(to_fixed(value, unit)) * unit) : value;
          });
    }
    const auto backward =
        p.channels == Count ? backward_thread<Count, T> : backward_thread<0, T>;
    backward(
        in,
        grad,
        p.img,
        pixel,
        first,
        kStep,
        p.map(outputs[1]),
        p.map(outputs[2]),
        p.map(outputs[3]));
  });
}

} // namespace

extern "C" void run_one(
    const int64_t* sizes, const double* const* from, double* const* to, double unit) {
  run<1>(sizes, from, to, unit);
}
extern "C" void run_three(
    const int64_t* sizes, const double* const* from, double* const* to, double unit) {
  run<3>(sizes, from, to, unit);
}
