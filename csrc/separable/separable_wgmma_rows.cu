#include "separable/separable_wgmma_rows.h"

#include "common/device.h"
#include "separable/separable_wgmma_rows_kernel.cuh"
#include "separable/separable_wgmma_rows_plan.h"

namespace kernelopt {

bool launch_separable_rows(const char* op, const SeparableWgmmaProblem& problem, int device,
                           cudaStream_t stream) {
  SeparableRowsPlan plan = plan_separable_rows(problem, max_shared_bytes_per_block(device),
                                               multiprocessor_count(device));
  if (!plan.fits || !SeparableRowsPolicy::takes(plan.params)) {
    return false;
  }
  SeparableRowsMaps maps{};
  plan.params.boxes = encode_rows_maps(plan.params, &maps);
  KERNELOPT_CUDA_CHECK(
      op, cudaFuncSetAttribute(separable_wgmma_rows_kernel,
                               cudaFuncAttributeMaxDynamicSharedMemorySize, plan.shared_bytes));
  separable_wgmma_rows_kernel<<<plan.grid, SeparableRowsShape::kThreads, plan.shared_bytes,
                                stream>>>(plan.params, maps);
  KERNELOPT_CHECK_LAUNCH(op);
  return true;
}

}  // namespace kernelopt
