#include "common/check.h"
#include "elementwise/elementwise.h"

#include <algorithm>
#include <numeric>

namespace kernelopt {
namespace {

/// Stride of a tensor along dimension `dim` of a broadcast shape with `rank` dimensions.
int64_t broadcast_stride(const Tensor& tensor, int64_t dim, int64_t rank) {
  const int64_t own_dim = dim - (rank - tensor.dim());
  return own_dim < 0 || tensor.size(own_dim) == 1 ? 0 : tensor.stride(own_dim);
}

/// Whether dimension a should be further inside than b, judged by one operand:
/// 1 yes, -1 no, 0 undecided (a broadcast dimension says nothing).
int compare_strides(int64_t stride_a, int64_t size_a, int64_t stride_b, int64_t size_b) {
  if (stride_a == 0 || stride_b == 0) {
    return 0;
  }
  if (stride_a != stride_b) {
    return stride_a < stride_b ? 1 : -1;
  }
  return size_a == size_b ? 0 : size_a < size_b ? 1 : -1;
}

/// Dimensions of the shape ordered from the innermost, by the operands' strides, the first operand
/// that can tell deciding. An insertion sort, for the comparison is not transitive.
std::vector<int64_t> memory_order(IntList sizes, const std::vector<const Tensor*>& operands) {
  const int64_t rank = static_cast<int64_t>(sizes.size());
  std::vector<int64_t> order(sizes.size());
  std::iota(order.rbegin(), order.rend(), 0);
  for (size_t i = 1; i < order.size(); ++i) {
    size_t position = i;
    for (size_t j = i; j-- > 0;) {
      const int64_t outer = order[position], inner = order[j];
      int verdict = 0;
      for (const Tensor* operand : operands) {
        verdict = compare_strides(broadcast_stride(*operand, outer, rank), sizes[outer],
                                  broadcast_stride(*operand, inner, rank), sizes[inner]);
        if (verdict != 0) {
          break;
        }
      }
      if (verdict > 0) {
        std::swap(order[position], order[j]);
        position = j;
      } else if (verdict < 0) {
        break;
      }
    }
  }
  return order;
}

}  // namespace

std::vector<int64_t> broadcast_sizes(const char* op, const Tensor& self, const Tensor& other) {
  const int64_t rank = std::max(self.dim(), other.dim());
  std::vector<int64_t> sizes(static_cast<size_t>(rank));
  for (int64_t dim = 0; dim < rank; ++dim) {
    const int64_t self_dim = dim - (rank - self.dim()), other_dim = dim - (rank - other.dim());
    const int64_t a = self_dim < 0 ? 1 : self.size(self_dim);
    const int64_t b = other_dim < 0 ? 1 : other.size(other_dim);
    KERNELOPT_CHECK(a == b || a == 1 || b == 1, op,
                    "expected self and other to broadcast, got shapes ", format_list(self.sizes()),
                    " and ", format_list(other.sizes()), ", which differ at dimension ", dim, " (",
                    a, " and ", b, ")");
    sizes[static_cast<size_t>(dim)] = a == 1 ? b : a;
  }
  return sizes;
}

std::vector<int64_t> elementwise_output_strides(IntList sizes,
                                                const std::vector<const Tensor*>& inputs) {
  std::vector<int64_t> strides(sizes.size());
  int64_t stride = 1;
  for (const int64_t dim : memory_order(sizes, inputs)) {
    strides[static_cast<size_t>(dim)] = stride;
    stride *= std::max<int64_t>(sizes[static_cast<size_t>(dim)], 1);
  }
  return strides;
}

template <int kOperands>
Iteration<kOperands> plan_iteration(const Tensor* const (&operands)[kOperands]) {
  const Tensor& output = *operands[0];
  const IntList sizes = output.sizes();
  const int64_t rank = output.dim();
  Iteration<kOperands> plan{};
  plan.numel = output.numel();
  const std::vector<const Tensor*> all(std::begin(operands), std::end(operands));
  for (const int64_t dim : memory_order(sizes, all)) {
    const int64_t size = sizes[static_cast<size_t>(dim)];
    if (size == 1) {
      continue;
    }
    int64_t strides[kOperands];
    bool mergeable = plan.dims > 0;
    for (int operand = 0; operand < kOperands; ++operand) {
      strides[operand] = broadcast_stride(*operands[operand], dim, rank);
      mergeable = mergeable && strides[operand] ==
                                   plan.strides[operand][plan.dims - 1] * plan.sizes[plan.dims - 1];
    }
    if (mergeable) {
      plan.sizes[plan.dims - 1] *= size;
      continue;
    }
    for (int operand = 0; operand < kOperands; ++operand) {
      plan.strides[operand][plan.dims] = strides[operand];
    }
    plan.sizes[plan.dims] = size;
    ++plan.dims;
  }
  return plan;
}

template Iteration<2> plan_iteration(const Tensor* const (&)[2]);
template Iteration<3> plan_iteration(const Tensor* const (&)[3]);

namespace {

void append_dim(Iteration<1>& space, int64_t size, int64_t stride) {
  space.numel *= size;
  if (size == 1) {
    return;
  }
  const int last = space.dims - 1;
  if (last >= 0 && stride == space.strides[0][last] * space.sizes[last]) {
    space.sizes[last] *= size;
    return;
  }
  space.sizes[space.dims] = size;
  space.strides[0][space.dims] = stride;
  ++space.dims;
}

}  // namespace

Reduction plan_reduction(const Tensor& source, IntList sizes) {
  Reduction plan{};
  plan.kept.numel = plan.reduced.numel = 1;
  const int64_t missing = source.dim() - static_cast<int64_t>(sizes.size());
  for (int64_t dim = source.dim(); dim-- > 0;) {
    const int64_t size = source.size(dim);
    const bool kept = dim >= missing && sizes[static_cast<size_t>(dim - missing)] == size;
    append_dim(kept ? plan.kept : plan.reduced, size, source.stride(dim));
  }
  return plan;
}

}  // namespace kernelopt
