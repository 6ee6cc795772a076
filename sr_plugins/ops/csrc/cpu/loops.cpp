// Compiled once for each set of instructions; SR_PLUGINS_ISA names it.
#include "loops.h"

namespace sr_plugins::SR_PLUGINS_ISA {
namespace {

// Pixels of a row that are worked on at a time: what is known of them, and what they
// touch of the image for one row of taps, stays in the first cache.
constexpr int kBlock = 128;

template <typename A>
struct Vector {
  // Four channels of one pixel, and of two neighbours.
  typedef A Quad __attribute__((vector_size(4 * sizeof(A))));
  typedef A Pair __attribute__((vector_size(8 * sizeof(A))));
};

template <typename V, typename A>
SR_PLUGINS_INLINE V load(const A* from) {
  V value;
  __builtin_memcpy(&value, from, sizeof(V));
  return value;
}

template <typename V, typename A>
SR_PLUGINS_INLINE void store(A* to, V value) {
  __builtin_memcpy(to, &value, sizeof(V));
}

template <typename To, typename From>
SR_PLUGINS_INLINE To bits(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  __builtin_memcpy(&to, &from, sizeof(To));
  return to;
}

SR_PLUGINS_INLINE float widen(float x) {
  return x;
}
SR_PLUGINS_INLINE double widen(double x) {
  return x;
}
SR_PLUGINS_INLINE float widen(BFloat16 x) {
  return bits<float>(uint32_t(x.bits) << 16);
}
SR_PLUGINS_INLINE float widen(Half x) {
  const uint32_t magnitude = x.bits & 0x7fff;
  // Infinity and NaN keep the largest exponent.
  const uint32_t bias = magnitude >= 0x7c00 ? 224 : 112;
  const float normal = bits<float>((magnitude << 13) + (bias << 23));
  const float subnormal = float(int32_t(magnitude)) * 0x1p-24f;
  const float value = magnitude < 0x400 ? subnormal : normal;
  return bits<float>(bits<uint32_t>(value) | uint32_t(x.bits & 0x8000) << 16);
}

// To the nearest, ties to even.
SR_PLUGINS_INLINE void narrow(float x, float& to) {
  to = x;
}
SR_PLUGINS_INLINE void narrow(double x, double& to) {
  to = x;
}
SR_PLUGINS_INLINE void narrow(float x, BFloat16& to) {
  const uint32_t b = bits<uint32_t>(x);
  const uint32_t rounded = (b + 0x7fff + (b >> 16 & 1)) >> 16;
  to.bits = uint16_t((b & 0x7fffffff) > 0x7f800000 ? 0x7fc0 : rounded);
}
SR_PLUGINS_INLINE void narrow(float x, Half& to) {
  const uint32_t b = bits<uint32_t>(x);
  const uint32_t magnitude = b & 0x7fffffff;
  const uint32_t shifted = magnitude - (112u << 23);
  const uint32_t normal = (shifted + 0xfff + (shifted >> 13 & 1)) >> 13;
  // The last place of 0.5 is 2^-24, the unit of subnormal halves.
  const uint32_t subnormal =
      bits<uint32_t>(bits<float>(magnitude) + 0.5f) - (126u << 23);
  uint32_t value = magnitude < (113u << 23) ? subnormal : normal;
  // 65520 and more round to infinity.
  value = magnitude >= 0x477ff000 ? 0x7c00 : value;
  value = magnitude > 0x7f800000 ? 0x7e00 : value;
  to.bits = uint16_t(value | (b >> 16 & 0x8000));
}

// A part of a row of the output.
struct Block {
  int64_t n;
  int32_t y, x, count;
};

template <typename Work>
SR_PLUGINS_INLINE void for_blocks(
    int32_t rows, int32_t columns, int64_t begin, int64_t end, Work work) {
  for (int64_t row = begin; row < end; ++row) {
    for (int32_t x = 0; x < columns; x += kBlock) {
      const int32_t count = columns - x < kBlock ? columns - x : kBlock;
      work(Block{row / rows, int32_t(row % rows), x, count});
    }
  }
}

// Samples of one tap for a block.
template <typename A>
struct Samples {
  // Pixel of the image to the left, in either row.
  alignas(64) int32_t top[kBlock];
  alignas(64) int32_t bottom[kBlock];
  alignas(64) A right[kBlock];
  alignas(64) A below[kBlock];
  alignas(64) A sense[kBlock];
};

// Returns whether all positions are finite.
template <typename T, typename A>
SR_PLUGINS_INLINE bool find(
    const Inputs<T>& in, int32_t tap, const Block& block, Samples<A>& samples) {
  const TapRow<A> row(in, tap, block.y);
  const T* __restrict offsets_h = row_of(in.offsets_h, block.n, tap, block.y) + block.x;
  const T* __restrict offsets_v = row_of(in.offsets_v, block.n, tap, block.y) + block.x;
  int32_t wrong = 0;
  for (int32_t i = 0; i < block.count; ++i) {
    const auto sample =
        row.sample(widen(offsets_h[i]), widen(offsets_v[i]), (block.x + i) * in.scale);
    const A check = sample.right + sample.below;
    wrong |= check != check;
    samples.top[i] = sample.top * in.width + sample.column;
    samples.bottom[i] = sample.bottom * in.width + sample.column;
    samples.right[i] = sample.right;
    samples.below[i] = sample.below;
    samples.sense[i] = sample.sense;
  }
  return wrong == 0;
}

// Of the pixels left and right above, left and right below: times the kernel.
template <typename T, typename A>
SR_PLUGINS_INLINE void weigh(
    const Inputs<T>& in,
    int32_t tap,
    const Block& block,
    const Samples<A>& samples,
    A (*__restrict weights)[4]) {
  const T* __restrict kernels = row_of(in.kernels, block.n, tap, block.y) + block.x;
  for (int32_t i = 0; i < block.count; ++i) {
    const A kernel = widen(kernels[i]);
    const A below = kernel * samples.below[i];
    const A above = kernel - below;
    const A below_right = below * samples.right[i];
    const A above_right = above * samples.right[i];
    weights[i][0] = above - above_right;
    weights[i][1] = above_right;
    weights[i][2] = below - below_right;
    weights[i][3] = below_right;
  }
}

// Asks for the rows of the image that the next row of the output is the first to
// touch, spread over the taps of this one. No order that hardware would foresee leads
// to them.
template <typename T, typename A>
struct Prefetch {
  const char* from;
  int64_t step, rest;

  Prefetch(const Inputs<T>& in, const A* pixels, const Block& block) {
    const int32_t side = side_of(in.scale);
    // Offsets of a network are in -1 to 1.
    const int32_t row = (block.y + 2) * in.scale + side / 2;
    const int32_t left = row < in.height ? in.height - row : 0;
    const int32_t rows = left < in.scale ? left : in.scale;
    const int64_t width = in.width * kLanes * int64_t(sizeof(A));
    from = reinterpret_cast<const char*>(pixels) + (in.height - left) * width +
           rows * width * block.x / in.columns;
    rest = rows * width * block.count / in.columns;
    step = rest / (side * side) + 64;
  }

  SR_PLUGINS_INLINE void advance() {
    for (int64_t i = 0; i < step && i < rest; i += 64) {
      __builtin_prefetch(from + i, 0, 2);
    }
    from += step;
    rest -= step;
  }
};

template <typename T, typename A>
void to_quads(const Image<const T>& from, A* quads, int64_t begin, int64_t end) {
  const int64_t groups = groups_of(from.channels);
  for (int64_t row = begin; row < end; ++row) {
    const int64_t n = row / from.height, y = row % from.height;
    for (int64_t channel = 0; channel < groups * kLanes; ++channel) {
      const int64_t group = n * groups + channel / kLanes;
      A* to =
          quads + (group * from.height + y) * from.width * kLanes + channel % kLanes;
      const T* line = from.data + n * from.batch_stride +
                      channel * from.channel_stride + y * from.row_stride;
      for (int64_t x = 0; x < from.width; ++x) {
        to[x * kLanes] =
            channel < from.channels ? widen(line[x * from.column_stride]) : A(0);
      }
    }
  }
}

template <typename T, typename A>
void from_quads(const A* quads, const Image<T>& to, int64_t begin, int64_t end) {
  const int64_t groups = groups_of(to.channels);
  for (int64_t row = begin; row < end; ++row) {
    const int64_t n = row / to.height, y = row % to.height;
    for (int64_t channel = 0; channel < to.channels; ++channel) {
      const int64_t group = n * groups + channel / kLanes;
      const A* from =
          quads + (group * to.height + y) * to.width * kLanes + channel % kLanes;
      T* line = to.data + n * to.batch_stride + channel * to.channel_stride +
                y * to.row_stride;
      for (int64_t x = 0; x < to.width; ++x) {
        narrow(from[x * kLanes], line[x * to.column_stride]);
      }
    }
  }
}

template <typename T, typename A>
bool forward(
    const Inputs<T>& in,
    const A* img,
    const Image<T>& output,
    int64_t begin,
    int64_t end) {
  using Pair = typename Vector<A>::Pair;
  const int32_t taps = side_of(in.scale) * side_of(in.scale);
  const int64_t groups = groups_of(output.channels);
  const int64_t plane = int64_t(in.height) * in.width * kLanes;
  bool finite = true;
  Samples<A> samples;
  alignas(64) A weights[kBlock][4];
  // Left and right pixels apart.
  alignas(64) A sums[kBlock][2 * kLanes];
  for_blocks(in.rows, in.columns, begin, end, [&](const Block& block) {
    for (int64_t group = 0; group < groups; ++group) {
      const A* pixels = img + (block.n * groups + group) * plane;
      Prefetch<T, A> prefetch(in, pixels, block);
      __builtin_memset(sums, 0, sizeof(sums));
      for (int32_t tap = 0; tap < taps; ++tap) {
        prefetch.advance();
        finite &= find(in, tap, block, samples);
        weigh(in, tap, block, samples, weights);
        for (int32_t i = 0; i < block.count; ++i) {
          const A* w = weights[i];
          const Pair above = {w[0], w[0], w[0], w[0], w[1], w[1], w[1], w[1]};
          const Pair below = {w[2], w[2], w[2], w[2], w[3], w[3], w[3], w[3]};
          Pair sum = load<Pair>(sums[i]);
          sum += above * load<Pair>(pixels + samples.top[i] * kLanes);
          sum += below * load<Pair>(pixels + samples.bottom[i] * kLanes);
          store(sums[i], sum);
        }
      }
      for (int64_t lane = 0; lane < kLanes; ++lane) {
        const int64_t channel = group * kLanes + lane;
        T* to = output.data + block.n * output.batch_stride +
                channel * output.channel_stride + block.y * output.row_stride + block.x;
        for (int32_t i = 0; i < block.count && channel < output.channels; ++i) {
          narrow(sums[i][lane] + sums[i][lane + kLanes], to[i]);
        }
      }
    }
  });
  return finite;
}

// Sums over the lanes of a, b, c and d.
template <typename Quad>
SR_PLUGINS_INLINE Quad sum_lanes(Quad a, Quad b, Quad c, Quad d) {
  const Quad ab = Quad{a[0], b[0], a[1], b[1]} + Quad{a[2], b[2], a[3], b[3]};
  const Quad cd = Quad{c[0], d[0], c[1], d[1]} + Quad{c[2], d[2], c[3], d[3]};
  return Quad{ab[0], ab[1], cd[0], cd[1]} + Quad{ab[2], ab[3], cd[2], cd[3]};
}

template <typename T, typename A>
void backward(
    const Inputs<T>& in,
    int64_t groups,
    const A* grad,
    const A* img,
    const Map<T>& d_kernels,
    const Map<T>& d_offsets_h,
    const Map<T>& d_offsets_v,
    int64_t begin,
    int64_t end) {
  using Quad = typename Vector<A>::Quad;
  const int32_t taps = side_of(in.scale) * side_of(in.scale);
  const int64_t plane = int64_t(in.height) * in.width * kLanes;
  const int64_t grad_plane = int64_t(in.rows) * in.columns * kLanes;
  Samples<A> samples;
  // Products of `grad` with the pixels left and right above, left and right below.
  alignas(64) A products[kBlock][4];
  for_blocks(in.rows, in.columns, begin, end, [&](const Block& block) {
    const int64_t at = (int64_t(block.y) * in.columns + block.x) * kLanes;
    Prefetch<T, A> prefetch(in, img + block.n * groups * plane, block);
    for (int32_t tap = 0; tap < taps; ++tap) {
      prefetch.advance();
      find(in, tap, block, samples);
      for (int64_t group = 0; group < groups; ++group) {
        const A* pixels = img + (block.n * groups + group) * plane;
        const A* grads = grad + (block.n * groups + group) * grad_plane + at;
        for (int32_t i = 0; i < block.count; ++i) {
          const A* top = pixels + samples.top[i] * kLanes;
          const A* bottom = pixels + samples.bottom[i] * kLanes;
          const Quad g = load<Quad>(grads + i * kLanes);
          Quad sum = sum_lanes<Quad>(
              g * load<Quad>(top),
              g * load<Quad>(top + kLanes),
              g * load<Quad>(bottom),
              g * load<Quad>(bottom + kLanes));
          if (group > 0) {
            sum += load<Quad>(products[i]);
          }
          store(products[i], sum);
        }
      }
      const T* __restrict kernels = row_of(in.kernels, block.n, tap, block.y) + block.x;
      T* __restrict to_kernels = row_of(d_kernels, block.n, tap, block.y) + block.x;
      T* __restrict to_h = row_of(d_offsets_h, block.n, tap, block.y) + block.x;
      T* __restrict to_v = row_of(d_offsets_v, block.n, tap, block.y) + block.x;
      for (int32_t i = 0; i < block.count; ++i) {
        const A right = samples.right[i], below = samples.below[i];
        const A across_top = products[i][1] - products[i][0];
        const A across_bottom = products[i][3] - products[i][2];
        const A top = products[i][0] + right * across_top;
        const A down = products[i][2] + right * across_bottom - top;
        const A across = across_top + below * (across_bottom - across_top);
        const A factor = widen(kernels[i]) * A(in.scale);
        narrow(top + below * down, to_kernels[i]);
        narrow(factor * samples.sense[i] * across, to_h[i]);
        narrow(factor * down, to_v[i]);
      }
    }
  });
}

template <typename T, typename A>
void reach(
    const Inputs<T>& in, int32_t* first, int32_t* last, int64_t begin, int64_t end) {
  const int32_t taps = side_of(in.scale) * side_of(in.scale);
  for (int64_t row = begin; row < end; ++row) {
    A lowest = A(in.height), highest = 0;
    for (int32_t tap = 0; tap < taps; ++tap) {
      const int32_t y = int32_t(row % in.rows);
      const TapRow<A> place(in, tap, y);
      const T* __restrict offsets = row_of(in.offsets_v, row / in.rows, tap, y);
      for (int32_t i = 0; i < in.columns; ++i) {
        const auto position = place.vertical(widen(offsets[i]));
        const A a = position.before, b = position.after;
        lowest = a < lowest ? a : lowest;
        lowest = b < lowest ? b : lowest;
        highest = a > highest ? a : highest;
        highest = b > highest ? b : highest;
      }
    }
    first[row] = int32_t(lowest);
    last[row] = int32_t(highest);
  }
}

template <typename T, typename A>
void backward_img(
    const Inputs<T>& in,
    int64_t groups,
    const A* grad,
    const int32_t* first,
    const int32_t* last,
    A* d_img,
    int64_t begin,
    int64_t end) {
  using Quad = typename Vector<A>::Quad;
  const int32_t taps = side_of(in.scale) * side_of(in.scale);
  const int64_t plane = int64_t(in.height) * in.width * kLanes;
  const int64_t grad_plane = int64_t(in.rows) * in.columns * kLanes;
  Samples<A> samples;
  alignas(64) A weights[kBlock][4];
  for (int64_t n = begin / in.height; n * in.height < end; ++n) {
    // Rows of this image that are ours, then pixels.
    const int64_t start = n * in.height;
    const int64_t from = begin > start ? begin - start : 0;
    const int64_t to = end - start < in.height ? end - start : in.height;
    const int64_t first_pixel = from * in.width, no_pixel = to * in.width;
    for (int64_t row = n * in.rows; row < (n + 1) * in.rows; ++row) {
      if (last[row] < from || first[row] >= to) {
        continue;
      }
      for_blocks(in.rows, in.columns, row, row + 1, [&](const Block& block) {
        const int64_t at = (int64_t(block.y) * in.columns + block.x) * kLanes;
        for (int32_t tap = 0; tap < taps; ++tap) {
          find(in, tap, block, samples);
          weigh(in, tap, block, samples, weights);
          for (int64_t group = 0; group < groups; ++group) {
            A* pixels = d_img + (n * groups + group) * plane;
            const A* grads = grad + (n * groups + group) * grad_plane + at;
            const auto add = [&](int64_t pixel, const A* w, Quad g) {
              if (pixel >= first_pixel && pixel < no_pixel) {
                A* left = pixels + pixel * kLanes;
                A* right = left + kLanes;
                store(left, load<Quad>(left) + w[0] * g);
                store(right, load<Quad>(right) + w[1] * g);
              }
            };
            for (int32_t i = 0; i < block.count; ++i) {
              const Quad g = load<Quad>(grads + i * kLanes);
              add(samples.top[i], weights[i], g);
              add(samples.bottom[i], weights[i] + 2, g);
            }
          }
        }
      });
    }
  }
}

} // namespace

template <typename T>
Loops<T> loops() {
  using A = typename Wide<T>::type;
  return {
      to_quads<T, A>,
      from_quads<T, A>,
      forward<T, A>,
      backward<T, A>,
      reach<T, A>,
      backward_img<T, A>};
}

template Loops<float> loops<float>();
template Loops<double> loops<double>();
template Loops<Half> loops<Half>();
template Loops<BFloat16> loops<BFloat16>();

} // namespace sr_plugins::SR_PLUGINS_ISA
