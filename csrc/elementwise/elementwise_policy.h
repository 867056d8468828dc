// Tuning of the element-wise kernels. Includes no torch header.
#pragma once

namespace kernelopt {

struct ElementwisePolicy {
  static constexpr int kThreads = 256;
  // Independent 16-byte loads of one operand in flight a thread, before the first is used. With
  // 2048 threads on a multiprocessor that is 64 KiB for one operand: above the 48 KiB that Hopper
  // needs to hide its memory latency.
  static constexpr int kUnroll = 2;
  // Elements or vectors a thread where operands are strided: loads in flight beside the index
  // arithmetic.
  static constexpr int strided_items(int vec_size) { return vec_size > 1 ? 2 : 4; }
};

struct SumPolicy {
  static constexpr int kThreads = 256;
  static constexpr int kUnroll = 8;
  // Elements a block sums before a second block shares the work, so that partial sums cost little.
  static constexpr int kMinItemsPerBlock = 4096;
  // Blocks a multiprocessor that keep it busy.
  static constexpr int kBlocksPerMultiprocessor = 8;
};

}  // namespace kernelopt
