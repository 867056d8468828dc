#include "separable/separable_bands.h"

#include "common/device.h"
#include "separable/separable_bands_kernel.cuh"
#include "separable/separable_bands_plan.h"

namespace kernelopt {

template <typename T>
bool launch_separable_bands_as(const char* op, const SeparableWgmmaProblem& problem, int device,
                               cudaStream_t stream) {
  const int multiprocessors = multiprocessor_count(device);
  const SeparableBandsPlan plan =
      plan_separable_bands(problem, max_shared_bytes_per_block(device), multiprocessors);
  SeparableWgmmaMaps maps{};
  if (!plan.fits || !SeparableBandsPolicy::takes(plan.params, multiprocessors) ||
      !encode_bands_maps(plan, &maps)) {
    return false;
  }
  const auto kernel =
      plan.chunks == 4 ? separable_bands_kernel<T, 4> : separable_bands_kernel<T, 2>;
  KERNELOPT_CUDA_CHECK(op, cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                                plan.shared_bytes));
  kernel<<<plan.grid, SeparableBandsShape::kThreads, plan.shared_bytes, stream>>>(plan.params,
                                                                                  maps);
  KERNELOPT_CHECK_LAUNCH(op);
  return true;
}

template bool launch_separable_bands_as<__half>(const char*, const SeparableWgmmaProblem&, int,
                                                cudaStream_t);
template bool launch_separable_bands_as<__nv_bfloat16>(const char*, const SeparableWgmmaProblem&,
                                                       int, cudaStream_t);

}  // namespace kernelopt
