// Launches of the warpgroup kernel for one operand type; one .cu file a type instantiates it, so
// that they compile side by side.
#pragma once

#include "common/device.h"
#include "common/tensor.h"
#include "conv1d/conv1d_wgmma_held_launch.cuh"
#include "conv1d/conv1d_wgmma_joined_kernel.cuh"
#include "conv1d/conv1d_wgmma_joined_plan.h"
#include "conv1d/conv1d_wgmma_kernel.cuh"
#include "conv1d/conv1d_wgmma_pack_launch.cuh"
#include "conv1d/conv1d_wgmma_packed_launch.cuh"
#include "conv1d/conv1d_wgmma_packed_policy.h"
#include "conv1d/conv1d_wgmma_plan.h"
#include "conv1d/conv1d_wgmma_shared_kernel.cuh"
#include "conv1d/conv1d_wgmma_shared_plan.h"
#include "conv1d/conv1d_wgmma_split_launch.cuh"

#include <algorithm>

namespace kernelopt {

/// The kernel of a plan with kSlots slots.
template <typename T, int kSlots>
auto conv1d_wgmma_kernel_of(const Conv1dWgmmaPlan& plan) {
  const Conv1dCorrelation& correlation = plan.params.correlation;
  if (plan.params.segments > 1) {
    return conv1d_wgmma_kernel<T, kSlots, false, true>;
  }
  return correlation.input_step == 1 && correlation.residues == 1
             ? conv1d_wgmma_kernel<T, kSlots, true, false>
             : conv1d_wgmma_kernel<T, kSlots, false, false>;
}
template <typename T, int kSlots>
auto conv1d_wgmma_kernel_of(const Conv1dWgmmaSharedPlan& plan) {
  if constexpr (kSlots <= 128) {
    if (plan.params.correlation.residues == 2) {
      return conv1d_wgmma_shared_kernel<T, kSlots, 2, false>;
    }
    if (plan.params.correlation.input_step > 1) {
      return conv1d_wgmma_shared_kernel<T, kSlots, 1, true>;
    }
  }
  return conv1d_wgmma_shared_kernel<T, kSlots, 1, false>;
}
template <typename T, int kSlots>
auto conv1d_wgmma_kernel_of(const Conv1dWgmmaJoinedPlan&) {
  return conv1d_wgmma_joined_kernel<T, kSlots>;
}

/// Launches a plan's kernel behind the packing of its weights.
/// @return the workspace: the packed weights, then the splits' sums
template <typename T, typename Plan>
Tensor launch_conv1d_wgmma_plan(const char* op, Plan& plan, const Tensor& like) {
  const cudaStream_t stream = current_stream(like);
  const std::vector<int64_t> words{(plan.packed_bytes + plan.sums_bytes) / 4};
  const Tensor workspace = empty_contiguous(op, words, ScalarType::Float, like);
  uint4* packed_weight = static_cast<uint4*>(workspace.mutable_data_ptr());
  plan.params.packed_weight = packed_weight;
  if (plan.sums_bytes > 0) {
    plan.params.split_sums =
        static_cast<float*>(workspace.mutable_data_ptr()) + plan.packed_bytes / 4;
  }
  if (!plan.params.packs_weights) {
    pack_conv1d_wgmma_weight<T, 1>(op, plan, packed_weight, stream);
  }
  const auto launch = [&](auto slots) {
    const auto kernel = conv1d_wgmma_kernel_of<T, decltype(slots)::value>(plan);
    KERNELOPT_CUDA_CHECK(op,
                         cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                              plan.shared_bytes));
    KERNELOPT_CUDA_CHECK(
        op, launch_dependent(kernel, dim3(plan.grid_x, plan.grid_y, plan.splits),
                             Plan::Shape::kThreads, plan.shared_bytes, stream, plan.params));
  };
  switch (plan.block_slots) {
    case 32: launch(std::integral_constant<int, 32>()); break;
    case 64: launch(std::integral_constant<int, 64>()); break;
    case 128: launch(std::integral_constant<int, 128>()); break;
    default:
      if constexpr (std::is_same_v<Plan, Conv1dWgmmaSharedPlan>) {
        launch(std::integral_constant<int, 256>());
      }
      break;
  }
  return workspace;
}

/// Computes a problem by the kernel that holds its weights, or that its cost model says is the
/// fastest; false where none fits.
template <typename T>
bool launch_conv1d_wgmma_as(const char* op, const Conv1dProblem& problem, const Tensor& like) {
  const int device = like.get_device_index();
  const int max_shared_bytes = max_shared_bytes_per_block(device);
  const int multiprocessors = multiprocessor_count(device);
  const Conv1dWgmmaHeldPlan held =
      plan_conv1d_wgmma_held<T>(problem, max_shared_bytes, multiprocessors);
  if (held.fits) {
    launch_conv1d_wgmma_held_as<T>(op, held, like);
    return true;
  }
  const Conv1dWgmmaPackedPlan packed =
      cut_conv1d_wgmma_packed<T>(problem, max_shared_bytes, multiprocessors);
  const auto launch_packed = [&](double least) {
    return packed.fits && packed.cost < Conv1dPackedCost::gain(packed) * least &&
           launch_conv1d_wgmma_packed_as<T>(op, packed, like);
  };
  Conv1dWgmmaSharedPlan shared;
  if constexpr (sizeof(T) == 2) {
    shared = plan_conv1d_wgmma_shared<T>(problem, max_shared_bytes, multiprocessors);
  }
  // Planned only where they may be taken (Conv1dPackedCost::other_gain); without a plan they cost
  // more than any other.
  Conv1dWgmmaPlan plan;
  Conv1dWgmmaJoinedPlan joined;
  if (!shared.fits || !shared.params.aligned_rows) {
    plan = plan_conv1d_wgmma<T>(problem, max_shared_bytes, multiprocessors);
    joined = choose_conv1d_wgmma_joined<T>(problem, max_shared_bytes, multiprocessors);
  }
  const double joined_cost = conv1d_wgmma_cost<T>(joined);
  const double least = std::min(conv1d_wgmma_cost<T>(plan), joined_cost);
  if constexpr (sizeof(T) == 2) {
    const double shared_cost = conv1d_wgmma_cost<T>(shared);
    if (shared.fits && Conv1dPackedCost::other_gain(shared) * shared_cost <= least) {
      if (!launch_packed(shared_cost)) {
        launch_conv1d_wgmma_plan<T>(op, shared, like);
      }
      return true;
    }
  }
  if (launch_packed(least)) {
    return true;
  }
  if (joined.fits && joined_cost <= least) {
    launch_conv1d_wgmma_plan<T>(op, joined, like);
    return true;
  }
  if (!plan.fits) {
    return false;
  }
  const Tensor workspace = launch_conv1d_wgmma_plan<T>(op, plan, like);
  if (plan.sums_bytes > 0) {
    sum_conv1d_splits<T>(op, plan, current_stream(like));
  }
  return true;
}

extern template bool launch_conv1d_wgmma_as<float>(const char*, const Conv1dProblem&,
                                                   const Tensor&);
extern template bool launch_conv1d_wgmma_as<__half>(const char*, const Conv1dProblem&,
                                                    const Tensor&);
extern template bool launch_conv1d_wgmma_as<__nv_bfloat16>(const char*, const Conv1dProblem&,
                                                           const Tensor&);

}  // namespace kernelopt
