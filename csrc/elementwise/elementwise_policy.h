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
  // Blocks that a multiprocessor's registers must hold.
  static constexpr int kResidentBlocks = 3;
  // Loads a thread in flight: 48 KiB a multiprocessor in 16-byte vectors.
  static constexpr int unroll(int vec_size) { return vec_size > 1 ? 4 : 8; }
  // Elements a block sums before a second block shares the work, so that partial sums cost little.
  static constexpr int kMinItemsPerBlock = 16384;
  // Blocks a multiprocessor that keep it busy.
  static constexpr int kBlocksPerMultiprocessor = 8;
  // Threads of a block along kept dimensions: 512 bytes of memory in 16-byte vectors or in single
  // fp32 elements; the rest of the block takes other rows.
  static constexpr int kMaxLanes = 32;
  static constexpr int kMaxElementLanes = 64;
  // Vectors that a run along a reduced dimension has at least to be read in vectors: its first and
  // last one are read element by element where it does not start or end on a vector's boundary.
  static constexpr int kMinRunVectors = 4;
};

}  // namespace kernelopt
