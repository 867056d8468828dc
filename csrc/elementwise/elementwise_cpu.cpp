#include "elementwise/elementwise_cpu.h"

#include "elementwise/activation_cpu.h"
#include "elementwise/functors.h"

#include <algorithm>

namespace kernelopt {

void activation_cpu(const char* op, const Tensor& z, const Tensor& output, Activation activation) {
  const auto plan = plan_iteration<2>({&output, &z});
  dispatch_floating_cpu(op, z.scalar_type(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    with_activation(activation, [&](auto kind) {
      elementwise_loop_cpu<T, 1>(plan, ActivationForward<OnCpu<decltype(kind), T>>{},
                                 mutable_data<T>(output), {const_data<T>(z)},
                                 kCpuFunctionGrainSize);
    });
  });
}

void activation_backward_cpu(const char* op, const Tensor& grad, const Tensor& z,
                             const Tensor& grad_z, Activation activation) {
  const auto plan = plan_iteration<3>({&grad_z, &grad, &z});
  dispatch_floating_cpu(op, z.scalar_type(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    with_activation(activation, [&](auto kind) {
      elementwise_loop_cpu<T, 2>(plan, ActivationBackward<OnCpu<decltype(kind), T>>{},
                                 mutable_data<T>(grad_z), {const_data<T>(grad), const_data<T>(z)},
                                 kCpuFunctionGrainSize);
    });
  });
}

Tensor finish(const char* op, const Tensor& value, IntList strides, Activation activation,
              const ActivationFunctions& functions) {
  const bool in_place = std::equal(strides.begin(), strides.end(), value.strides().begin());
  if (in_place && activation == Activation::kNone) {
    return value;
  }
  Tensor output =
      in_place ? value : empty_strided(op, value.sizes(), strides, value.scalar_type(), value);
  functions.forward(op, value, output, activation);
  return output;
}

Tensor sum_to_size_cpu(const char* op, const Tensor& source, IntList sizes, double scale) {
  Tensor output = empty_contiguous(op, sizes, source.scalar_type(), source);
  const Reduction reduction = plan_reduction(source, sizes);
  dispatch_floating_cpu(op, source.scalar_type(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    using A = AccumulateType<T>;
    const T* from = const_data<T>(source);
    T* to = mutable_data<T>(output);
    const int64_t grain =
        std::max<int64_t>(1, kCpuGrainSize / std::max<int64_t>(1, reduction.reduced.numel));
    torch::stable::parallel_for(0, reduction.kept.numel, grain, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        int64_t base[1], offset[1];
        reduction.kept.offsets(i, base);
        double sum = 0;
        for (int64_t j = 0; j < reduction.reduced.numel; ++j) {
          reduction.reduced.offsets(j, offset);
          sum += static_cast<double>(static_cast<A>(from[base[0] + offset[0]]));
        }
        to[i] = static_cast<T>(static_cast<A>(scale * sum));
      }
    });
  });
  return output;
}

}  // namespace kernelopt
