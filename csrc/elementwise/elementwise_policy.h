// Tuning of the element-wise kernels. Includes no torch header.
#pragma once

namespace kernelopt {

struct ElementwisePolicy {
  // One 16-byte vector of each operand a thread: the 32 KiB of an operand that 2048 threads have in
  // flight on a multiprocessor cover Hopper's memory latency. More vectors a thread are no faster
  // where the memory is the limit, and slower where the index arithmetic is or the call is small.
  // Blocks of 128 keep more of them in turn than blocks of 256: tanh GELU, 8192 x 8192, float32 on
  // an H200 130.1 instead of 131.6 us; 64 are too many blocks to start (163.6).
  static constexpr int kThreads = 128;
  // So that as many threads as there can be are there; without a bound the compiler takes 40.
  static constexpr int kRegisters = 32;
};

struct SumPolicy {
  static constexpr int kThreads = 256;
  // Blocks that a multiprocessor's registers must hold.
  static constexpr int kResidentBlocks = 3;
  // Loads a thread in flight: 48 KiB a multiprocessor in 16-byte vectors.
  static constexpr int unroll(int vec_size) { return vec_size > 1 ? 4 : 8; }
  // Elements a block sums before a second block shares the work, so that partial sums cost little.
  static constexpr int kMinItemsPerBlock = 16384;
  // Rounds of resident blocks in which the shares are, and how much more of the rounds' places must
  // be filled for one more: every round left part empty costs (a bias gradient over [16384, 16384]
  // in bfloat16 on an H200 145 us in one full round, 172 in 1.4), and many full ones cost partial
  // sums.
  static constexpr int kMaxRounds = 4;
  static constexpr double kRoundGain = 0.04;
  // Threads of a block along kept dimensions: 512 bytes of memory in 16-byte vectors or in single
  // fp32 elements; the rest of the block takes other rows.
  static constexpr int kMaxLanes = 32;
  static constexpr int kMaxElementLanes = 64;
  // Vectors that a run along a reduced dimension has at least to be read in vectors: its first and
  // last one are read element by element where it does not start or end on a vector's boundary.
  static constexpr int kMinRunVectors = 4;
};

}  // namespace kernelopt
