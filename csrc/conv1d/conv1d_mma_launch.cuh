// Launches of the tensor-core correlation for one operand type; one .cu file a type instantiates
// it, so that they compile side by side.
#pragma once

#include "common/device.h"
#include "common/tensor.h"
#include "conv1d/conv1d_mma_kernel.cuh"
#include "conv1d/conv1d_mma_plan.h"
#include "conv1d/conv1d_problem.h"
#include "conv1d/correlation_weight_kernel.cuh"

namespace kernelopt {

/// One phase of a problem as a correlation. Taps run towards higher input positions: those of a
/// transposed problem are taken from the last to the first.
template <typename T>
CorrelationParams<T> correlation_of(const Conv1dProblem& problem, const Conv1dPhase& phase) {
  const bool reversed = phase.in_tap_step < 0;
  const int64_t last = reversed ? phase.taps - 1 : 0;
  CorrelationParams<T> p{};
  p.input = static_cast<const T*>(problem.input);
  p.weight = static_cast<const T*>(problem.weight) + phase.first_tap + last * phase.tap_step;
  p.bias = static_cast<const T*>(problem.bias);
  p.output = static_cast<T*>(problem.output);
  p.input_batch_stride = problem.input_strides.batch;
  p.input_channel_stride = problem.input_strides.channel;
  p.output_batch_stride = problem.output_strides.batch;
  p.output_channel_stride = problem.output_strides.channel;
  p.weight_group_stride = problem.weight_group_stride();
  p.weight_out_stride = problem.weight_out_stride();
  p.weight_in_stride = problem.weight_in_stride();
  p.weight_tap_stride = reversed ? -phase.tap_step : phase.tap_step;
  p.batch = static_cast<int>(problem.batch);
  p.groups = static_cast<int>(problem.groups);
  p.in_channels = static_cast<int>(problem.in_channels);
  p.out_channels = static_cast<int>(problem.out_channels);
  p.taps = static_cast<int>(phase.taps);
  p.input_length = static_cast<int>(problem.in_length);
  p.positions = static_cast<int>(phase.count);
  p.input_step = static_cast<int>(phase.in_step);
  p.input_first = static_cast<int>(phase.in_start + last * phase.in_tap_step);
  p.tap_step = static_cast<int>(reversed ? -phase.in_tap_step : phase.in_tap_step);
  p.output_first = phase.out_start * problem.output_strides.length;
  p.output_step = phase.out_step * problem.output_strides.length;
  p.activation = problem.activation;
  return p;
}

/// Plans a correlation for one policy and, where it fits, launches it.
template <typename T, typename Policy>
bool launch_correlation(const char* op, CorrelationParams<T> p, const Tensor& like,
                        cudaStream_t stream) {
  const int device = like.get_device_index();
  const CorrelationMmaPlan plan = plan_correlation_mma<T, Policy>(
      p, max_shared_bytes_per_block(device), multiprocessor_count(device));
  if (!plan.fits) {
    return false;
  }
  const std::vector<int64_t> words{plan.packed_bytes / 4};
  const Tensor packed = empty_contiguous(op, words, ScalarType::Float, like);
  uint4* fragments = static_cast<uint4*>(packed.mutable_data_ptr());
  p.packed_weight = fragments;
  constexpr int kPackThreads = 256;
  const int64_t count = plan.packed_bytes / (16 * MmaTraits<T>::kParts);
  const unsigned pack_blocks = static_cast<unsigned>((count + kPackThreads - 1) / kPackThreads);
  pack_correlation_weight_kernel<T>
      <<<pack_blocks, kPackThreads, 0, stream>>>(p, fragments, Policy::kBlockM / 16, count);
  const auto kernel = p.input_step == 1 ? correlation_mma_kernel<T, Policy, true>
                                        : correlation_mma_kernel<T, Policy, false>;
  KERNELOPT_CUDA_CHECK(op, cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                                plan.shared_bytes));
  kernel<<<dim3(plan.grid_x, plan.grid_y), Policy::kThreads, plan.shared_bytes, stream>>>(p);
  KERNELOPT_CHECK_LAUNCH(op);
  return true;
}

/// Launches one phase with the largest tile that it fills the device with; false where none fits.
template <typename T>
bool launch_phase(const char* op, const CorrelationParams<T>& p, const Tensor& like,
                  cudaStream_t stream) {
  const int64_t wanted = multiprocessor_count(like.get_device_index());
  // Worth it: channels for more than half of the block's, and blocks for every multiprocessor.
  const auto suits = [&](auto policy) {
    using Policy = decltype(policy);
    const int64_t m_blocks = (p.out_channels + Policy::kBlockM - 1) / Policy::kBlockM;
    const int64_t n_tiles = (p.positions + Policy::kBlockN - 1) / Policy::kBlockN;
    return 2 * p.out_channels > Policy::kBlockM &&
           m_blocks * n_tiles * p.batch * p.groups >= wanted;
  };
  if (suits(WideCorrelation{}) && (launch_correlation<T, WideCorrelation>(op, p, like, stream) ||
                                   launch_correlation<T, SquareCorrelation>(op, p, like, stream))) {
    return true;
  }
  if (suits(TallCorrelation{}) && launch_correlation<T, TallCorrelation>(op, p, like, stream)) {
    return true;
  }
  if (p.out_channels <= FlatCorrelation::kBlockM && suits(FlatCorrelation{}) &&
      launch_correlation<T, FlatCorrelation>(op, p, like, stream)) {
    return true;
  }
  return launch_correlation<T, SmallCorrelation>(op, p, like, stream);
}

/// All phases of a problem; false where one does not fit.
template <typename T>
bool launch_conv1d_mma_as(const char* op, const Conv1dProblem& problem, const Conv1dPhases& phases,
                          const Tensor& like) {
  const cudaStream_t stream = current_stream(like);
  for (int64_t index = 0; index < phases.count; ++index) {
    const Conv1dPhase phase = phases.phase(problem, index);
    if (phase.count > 0 && !launch_phase<T>(op, correlation_of<T>(problem, phase), like, stream)) {
      return false;
    }
  }
  return true;
}

extern template bool launch_conv1d_mma_as<float>(const char*, const Conv1dProblem&,
                                                 const Conv1dPhases&, const Tensor&);
extern template bool launch_conv1d_mma_as<__half>(const char*, const Conv1dProblem&,
                                                  const Conv1dPhases&, const Tensor&);
extern template bool launch_conv1d_mma_as<__nv_bfloat16>(const char*, const Conv1dProblem&,
                                                         const Conv1dPhases&, const Tensor&);

}  // namespace kernelopt
