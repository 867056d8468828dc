#include "common/activation16.cuh"
#include "common/device.h"
#include "common/dtype.cuh"
#include "common/grid_dependency.cuh"
#include "conv1d/conv1d_cuda.h"
#include "elementwise/fast_iteration.h"

namespace kernelopt {
namespace {

constexpr int kThreads = 256;
constexpr int kAtOnce = 4;  // vectors of a thread
// Elements, with those of the last block that are none, are counted by 32 bits.
constexpr int64_t kMaxElements = kFastLimit - kThreads * kAtOnce * kVecBytes;

/// z = activation(z + bias) over rows of `length` elements, those of `channels` one after the
/// other; rows begin anywhere in vectors.
template <typename T, typename ActivationType>
__global__ void __launch_bounds__(kThreads)
    add_bias_to_rows_kernel(T* z, const T* bias, uint32_t elements, FastDivisor length,
                            FastDivisor channels) {
  constexpr uint32_t kVector = kVecBytes / sizeof(T);
  using Vector = Vec<T, kVector>;
  const uint32_t first = (blockIdx.x * kThreads * kAtOnce + threadIdx.x) * kVector;
  grid_dependency_wait();
  grid_dependency_launch();  // not before: a dependent may read what was complete by then
  Vector values[kAtOnce];
#pragma unroll
  for (uint32_t i = 0; i < kAtOnce; ++i) {
    const uint32_t element = first + i * kThreads * kVector;
    if (element + kVector <= elements) {
      values[i] = *reinterpret_cast<const Vector*>(z + element);
    } else {
#pragma unroll
      for (uint32_t j = 0; j < kVector; ++j) {
        if (element + j < elements) {
          values[i].values[j] = z[element + j];
        }
      }
    }
  }
#pragma unroll
  for (uint32_t i = 0; i < kAtOnce; ++i) {
    const uint32_t element = first + i * kThreads * kVector;
    if (element >= elements) {
      return;
    }
    const uint32_t row = length.quotient(element);
    uint32_t left = length.divisor - (element - row * length.divisor);  // of the row
    uint32_t channel = row - channels.quotient(row) * channels.divisor;
    float b = to_accumulate(bias[channel]);
#pragma unroll
    for (uint32_t j = 0; j < kVector; ++j) {
      if (left == 0) {
        left = length.divisor;
        channel = channel + 1 == channels.divisor ? 0 : channel + 1;
        b = to_accumulate(bias[channel]);
      }
      --left;
      values[i].values[j] = from_accumulate<T>(activate_sum<T, ActivationOfSum<T, ActivationType>>(
          to_accumulate(values[i].values[j]), b));
    }
    if (element + kVector <= elements) {
      *reinterpret_cast<Vector*>(z + element) = values[i];
    } else {
#pragma unroll
      for (uint32_t j = 0; j < kVector; ++j) {
        if (element + j < elements) {
          z[element + j] = values[i].values[j];
        }
      }
    }
  }
}

/// @param z  of 1 to kMaxElements elements
/// @return false for tensors that the kernel does not take
bool add_bias_to_rows(const char* op, const Tensor& z, const Tensor& bias, Activation activation) {
  const int64_t elements = z.numel();
  if (reinterpret_cast<uintptr_t>(z.mutable_data_ptr()) % kVecBytes != 0 ||
      bias.scalar_type() != z.scalar_type()) {
    return false;
  }
  return dispatch_up_to_32bit(z.scalar_type(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    constexpr int64_t kBlockElements = kThreads * kAtOnce * kVecBytes / int64_t{sizeof(T)};
    const Tensor biases = contiguous_cuda(op, bias);
    with_activation(activation, [&](auto kind) {
      KERNELOPT_CUDA_CHECK(
          op, launch_dependent(add_bias_to_rows_kernel<T, decltype(kind)>,
                               dim3(grid_size(op, divide_up(elements, kBlockElements))), kThreads,
                               0, current_stream(z), static_cast<T*>(z.mutable_data_ptr()),
                               static_cast<const T*>(biases.const_data_ptr()),
                               static_cast<uint32_t>(elements),
                               FastDivisor::of(static_cast<uint32_t>(z.size(2))),
                               FastDivisor::of(static_cast<uint32_t>(z.size(1)))));
    });
    return true;
  });
}

}  // namespace

Tensor conv1d_forward_aten_cuda(const char* op, const Tensor& input, const Tensor& weight,
                                const std::optional<Tensor>& bias,
                                const Conv1dArguments& arguments) {
  // Of few outputs ATen's own pass is as fast: 1x12x1000 -> 32, k5 s2 took 0.0074 ms, with that
  // 0.0070; 1x64x4096 -> 128, k17 s4 0.0170 and 0.0167; 256x256x4 -> 256, k5 0.0216 and 0.0218.
  constexpr int64_t kMinOutputs = 1 << 18;
  const int64_t outputs = input.size(0) * arguments.out_channels * arguments.out_length;
  const bool many = outputs >= kMinOutputs || arguments.activation != Activation::kNone;
  if (bias.has_value() && bias->scalar_type() == input.scalar_type() && many && outputs > 0 &&
      outputs < kMaxElements) {
    const torch::stable::accelerator::DeviceGuard guard(input.get_device_index());
    const Tensor z = conv1d_forward_aten(op, input, weight, std::nullopt, arguments,
                                         Activation::kNone, kActivationCuda);
    if (add_bias_to_rows(op, z, *bias, arguments.activation)) {
      return z;
    }
  }
  return conv1d_forward_aten(op, input, weight, bias, arguments, arguments.activation,
                             kActivationCuda);
}

}  // namespace kernelopt
