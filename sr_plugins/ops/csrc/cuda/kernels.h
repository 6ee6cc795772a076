// Launches of the kernels, to be called from code that is compiled without nvcc.
#pragma once

#include <cuda_runtime_api.h>

#include "../adaptive_grid_sample.h"

namespace sr_plugins::cuda {

template <typename T>
void forward(
    const Inputs<T>&,
    int64_t n,
    const Image<const T>& img,
    const Image<T>& output,
    cudaStream_t stream);

template <typename T>
void backward(
    const Inputs<T>&,
    int64_t n,
    const Image<const T>& grad,
    const Image<const T>& img,
    const Map<T>& d_kernels,
    const Map<T>& d_offsets_h,
    const Map<T>& d_offsets_v,
    cudaStream_t stream);

// Adds to `sum` in no particular order.
template <typename T, typename S>
void backward_img(
    const Inputs<T>&,
    int64_t n,
    const Image<const T>& grad,
    const Image<S>& sum,
    cudaStream_t stream);

// Adds to `sum`, in units of `unit`: a number on the device, at least 2^-62 of what
// any element can come to.
template <typename T>
void backward_img_fixed(
    const Inputs<T>&,
    int64_t n,
    const Image<const T>& grad,
    const Image<int64_t>& sum,
    const double* unit,
    cudaStream_t stream);

} // namespace sr_plugins::cuda
