// Tuning of the element-wise kernels. Includes no torch header.
#pragma once

namespace kernelopt {

struct ElementwisePolicy {
  // One 16-byte vector of each operand a thread: the 32 KiB of an operand that 2048 threads have in
  // flight on a multiprocessor cover Hopper's memory latency. More vectors a thread are no faster
  // where the memory is the limit, and slower where the index arithmetic is or the call is small.
  static constexpr int kThreads = 256;
  // So that as many threads as there can be are there; without a bound the compiler takes 40.
  static constexpr int kRegisters = 32;
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
