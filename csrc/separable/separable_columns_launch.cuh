// The launches of a separable convolution over padded columns for one operand type; one .cu file a
// type instantiates them, so that they compile side by side.
#pragma once

#include "common/device.h"
#include "depthwise/depthwise_launch.h"
#include "separable/separable_columns.h"
#include "separable/separable_columns_depthwise_kernel.cuh"
#include "separable/separable_columns_pack_kernel.cuh"
#include "separable/separable_columns_plan.h"
#include "separable/separable_columns_wgmma_kernel.cuh"

namespace kernelopt {

template <typename T>
void launch_columns_depthwise(const char* op, const SeparableColumnsPlan& plan,
                              cudaStream_t stream) {
  using Shape = SeparableColumnsShape;
  const SeparableColumnsParams& p = plan.params;
  auto kernel = separable_columns_depthwise_kernel<T, 3, 0, Shape::kFewRows, 1>;
  if (p.strip_rows == Shape::kManyRows) {
    constexpr int kColumns = sizeof(T) == 2 ? 2 : 1;
    kernel = p.strip_columns == 1
                 ? separable_columns_depthwise_kernel<T, 3, 1, Shape::kManyRows, 1>
                 : separable_columns_depthwise_kernel<T, 3, 1, Shape::kManyRows, kColumns>;
  } else if (Shape::is_plain(p.problem, 3, 1)) {
    kernel = separable_columns_depthwise_kernel<T, 3, 1, Shape::kFewRows, 1>;
  }
  KERNELOPT_CUDA_CHECK(op, cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                                plan.depthwise_shared_bytes));
  KERNELOPT_CUDA_CHECK(op,
                       launch_dependent(kernel, dim3(plan.depthwise_blocks), plan.depthwise_threads,
                                        plan.depthwise_shared_bytes, stream, plan.params));
}

/// The kernel of a plan's products: clusters of blocks share tiles of one panel only, and warps of
/// their own store wider ones only.
template <typename T>
auto columns_product_kernel(const SeparableColumnsPlan& plan) {
  switch (plan.columns) {
    case 32: return separable_columns_wgmma_kernel<T, 32, false, false>;
    case 64:
      return plan.params.shares > 1 ? separable_columns_wgmma_kernel<T, 64, true, false>
                                    : separable_columns_wgmma_kernel<T, 64, false, false>;
    case 128:
      return plan.storers ? separable_columns_wgmma_kernel<T, 128, false, true>
                          : separable_columns_wgmma_kernel<T, 128, false, false>;
    case 160:
      return plan.storers ? separable_columns_wgmma_kernel<T, 160, false, true>
                          : separable_columns_wgmma_kernel<T, 160, false, false>;
    case SeparableColumnsShape::kWideColumns:
      return separable_columns_wgmma_kernel<T, SeparableColumnsShape::kWideColumns, false, false>;
    default:
      return plan.storers ? separable_columns_wgmma_kernel<T, 192, false, true>
                          : separable_columns_wgmma_kernel<T, 192, false, false>;
  }
}

template <typename T>
void launch_columns_product(const char* op, const SeparableColumnsPlan& plan,
                            const SeparableColumnsMaps& maps, cudaStream_t stream) {
  const auto kernel = columns_product_kernel<T>(plan);
  KERNELOPT_CUDA_CHECK(op, cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                                plan.product_shared_bytes));
  cudaLaunchAttribute attributes[2] = {};
  attributes[0].id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attributes[0].val.programmaticStreamSerializationAllowed = 1;
  attributes[1].id = cudaLaunchAttributeClusterDimension;
  attributes[1].val.clusterDim = {static_cast<unsigned>(plan.params.shares), 1, 1};
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(plan.product_blocks);
  config.blockDim = dim3(SeparableColumnsShape::threads(plan.columns, plan.storers));
  config.dynamicSmemBytes = plan.product_shared_bytes;
  config.stream = stream;
  config.attrs = attributes;
  config.numAttrs = plan.params.shares > 1 ? 2 : 1;
  KERNELOPT_CUDA_CHECK(op, cudaLaunchKernelEx(&config, kernel, plan.params, maps));
}

/// Launches both kernels of a plan, the first one by `launch_first(plan)`.
template <typename T, typename LaunchFirst>
bool launch_columns(const char* op, SeparableColumnsPlan& plan, const Tensor& columns,
                    const Tensor& packed, cudaStream_t stream, LaunchFirst&& launch_first) {
  plan.params.columns = columns.mutable_data_ptr();
  plan.params.packed = packed.mutable_data_ptr();
  SeparableColumnsMaps maps;
  if (!encode_columns_maps(plan.params, static_cast<int>(sizeof(T)), &maps)) {
    return false;
  }
  launch_first(plan);
  launch_columns_product<T>(op, plan, maps, stream);
  return true;
}

inline Tensor column_words(const char* op, int64_t bytes, const Tensor& like) {
  return empty_contiguous(op, std::vector<int64_t>{divide_up(bytes, 4)}, ScalarType::Float, like);
}

/// 16-bit planes of an even width by the depthwise kernel on tensor cores; whether it did.
template <typename T>
bool launch_banded_columns(const char* op, const SeparableColumnsPlan& plan, const Tensor& like,
                           cudaStream_t stream) {
  if constexpr (sizeof(T) == 2) {
    const SeparableColumnsParams& p = plan.params;
    const SeparableWgmmaProblem& problem = p.problem;
    if (p.packs || !SeparableColumnsShape::is_plain(problem, 3, 1)) {
      return false;
    }
    const auto axis_of = [](const SeparableAxis& axis) {
      return DepthwiseAxis{axis.input_size, axis.output_size, axis.kernel_size,
                           axis.stride,     axis.padding,     axis.dilation};
    };
    const DepthwiseParams params{problem.batch, problem.channels,   problem.channels,  1, 1,
                                 false,         axis_of(problem.h), axis_of(problem.w)};
    const DepthwiseColumns columns{
        problem.input, problem.depthwise_weight, problem.depthwise_bias, p.columns, p.pitch,
        p.total};
    return launch_depthwise_banded_columns(op, params, columns, like.scalar_type(),
                                           multiprocessor_count(like.get_device_index()),
                                           problem.depthwise_activation, stream);
  }
  return false;
}

template <typename T>
bool launch_separable_columns_as(const char* op, const SeparableWgmmaProblem& problem,
                                 const Tensor& like, cudaStream_t stream) {
  constexpr int kSize = static_cast<int>(sizeof(T));
  const int device = like.get_device_index();
  if (!SeparableColumnsPolicy::takes(problem, kSize, multiprocessor_count(device))) {
    return false;
  }
  SeparableColumnsPlan plan = plan_separable_columns(
      problem, kSize, max_shared_bytes_per_block(device), multiprocessor_count(device));
  if (!plan.fits) {
    return false;
  }
  const Tensor columns = column_words(op, plan.column_bytes, like);
  const Tensor packed = column_words(op, plan.packed_bytes, like);
  return launch_columns<T>(op, plan, columns, packed, stream, [&](const SeparableColumnsPlan& p) {
    if (!launch_banded_columns<T>(op, p, like, stream)) {
      launch_columns_depthwise<T>(op, p, stream);
    }
  });
}

template <typename T>
bool launch_image_columns_as(const char* op, const SeparableWgmmaProblem& problem,
                             const Tensor& like, cudaStream_t stream) {
  const int device = like.get_device_index();
  SeparableColumnsPlan plan =
      plan_image_columns(problem, static_cast<int>(sizeof(T)), max_shared_bytes_per_block(device),
                         multiprocessor_count(device));
  if (!plan.fits) {
    return false;
  }
  const Tensor columns = column_words(op, plan.column_bytes, like);
  const Tensor packed = column_words(op, plan.packed_bytes, like);
  return launch_columns<T>(op, plan, columns, packed, stream, [&](const SeparableColumnsPlan& p) {
    const auto kernel = separable_columns_pack_kernel<T>;
    KERNELOPT_CUDA_CHECK(op, launch_dependent(kernel, dim3(p.depthwise_blocks), p.depthwise_threads,
                                              p.depthwise_shared_bytes, stream, p.params));
  });
}

}  // namespace kernelopt
