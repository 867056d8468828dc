#include "elementwise/add.h"

#include "common/check.h"
#include "elementwise/elementwise_cpu.h"
#include "elementwise/functors.h"

namespace kernelopt {

Tensor prepare_add(const Tensor& self, const Tensor& other) {
  constexpr const char* kOp = "add";
  check_tensor(kOp, "self", self);
  check_tensor(kOp, "other", other);
  check_matches(kOp, "other", other, "self", self);
  const std::vector<int64_t> sizes = broadcast_sizes(kOp, self, other);
  return empty_strided(kOp, sizes, elementwise_output_strides(sizes, {&self, &other}),
                       self.scalar_type(), self);
}

void check_add_backward(const Tensor& grad_output, IntList self_sizes, IntList other_sizes,
                        const BoolList& output_mask) {
  constexpr const char* kOp = "add_backward";
  check_tensor(kOp, "grad_output", grad_output);
  KERNELOPT_CHECK(output_mask.size() == 2, kOp, "expected output_mask to have 2 values, got ",
                  output_mask.size());
  const std::pair<const char*, IntList> operands[] = {{"self_size", self_sizes},
                                                      {"other_size", other_sizes}};
  for (const auto& [name, sizes] : operands) {
    const int64_t missing = grad_output.dim() - static_cast<int64_t>(sizes.size());
    bool broadcasts = missing >= 0;
    for (size_t dim = 0; broadcasts && dim < sizes.size(); ++dim) {
      const int64_t size = grad_output.size(static_cast<int64_t>(dim) + missing);
      broadcasts = sizes[dim] == 1 || sizes[dim] == size;
    }
    KERNELOPT_CHECK(broadcasts, kOp, "expected ", name,
                    " to broadcast to the shape of grad_output, ", format_list(grad_output.sizes()),
                    ", got ", format_list(sizes));
  }
}

namespace {

Tensor add_cpu(const Tensor& self, const Tensor& other, double alpha) {
  Tensor output = prepare_add(self, other);
  const auto plan = plan_iteration<3>({&output, &self, &other});
  dispatch_floating_cpu("add", self.scalar_type(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    using A = AccumulateType<T>;
    elementwise_loop_cpu<T, 2>(plan, Add<A>{static_cast<A>(alpha)}, mutable_data<T>(output),
                               {const_data<T>(self), const_data<T>(other)});
  });
  return output;
}

std::tuple<Tensor, Tensor> add_backward_cpu(const Tensor& grad_output, IntList self_sizes,
                                            IntList other_sizes, double alpha,
                                            const BoolList& output_mask) {
  check_add_backward(grad_output, self_sizes, other_sizes, output_mask);
  return add_gradients(grad_output, self_sizes, other_sizes, alpha, output_mask, sum_to_size_cpu);
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(kernelopt, m) {
  m.def("add(Tensor self, Tensor other, float alpha=1) -> Tensor");
  m.def(
      "add_backward(Tensor grad_output, SymInt[] self_size, SymInt[] other_size, float alpha=1, "
      "bool[2] output_mask=[True, True]) -> (Tensor grad_self, Tensor grad_other)");
}

STABLE_TORCH_LIBRARY_IMPL(kernelopt, CPU, m) {
  m.impl("add", TORCH_BOX(&add_cpu));
  m.impl("add_backward", TORCH_BOX(&add_backward_cpu));
}

}  // namespace kernelopt
