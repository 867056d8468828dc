// Tuning of the depthwise kernels for small tensors. Includes no torch header.
#pragma once

#include "common/math.h"
#include "depthwise/depthwise_params.h"

#include <cstdint>

namespace kernelopt {

/// Measured on an H100.
struct DepthwiseSmallPolicy {
  // Products up to which a thread's latencies cost less than the sliding kernels' start.
  static constexpr int64_t max_products(int element_bytes, int64_t taps, int64_t stride) {
    return element_bytes == 2 ? 3'300'000 : taps == 9 && stride == 1 ? 19'000'000 : 4'500'000;
  }
  static constexpr int64_t max_channels_last_products(int element_bytes, int64_t taps,
                                                      int64_t stride) {
    // fp32 at stride 2: 32x128x56x56, 3x3 28.2 us, there 31.6; 64x144x56x56 63.7 and 57.5.
    if (stride == 2) {
      return element_bytes == 2 ? (taps > 9 ? 12'000'000 : 1'900'000)
                                : (taps > 9 ? 120'000'000 : 30'000'000);
    }
    return taps == 49   ? 35'000'000
           : taps == 25 ? (element_bytes == 2 ? 20'000'000 : 25'000'000)
                        : (element_bytes == 2 ? 5'000'000 : 7'000'000);
  }
  // The same where a thread owns vectors of columns.
  // @param whole  vectors are the rows of the result
  static constexpr int64_t max_vector_products(int element_bytes, int64_t taps, int64_t stride,
                                               int columns, bool whole) {
    if (taps == 9 && stride == 1) {
      return element_bytes == 2 ? 30'000'000 : columns == 4 ? 120'000'000 : 50'000'000;
    }
    if (taps == 9) {
      return !whole ? 40'000'000 : element_bytes == 2 ? 80'000'000 : 120'000'000;
    }
    return !whole ? 0 : element_bytes == 4 ? 15'000'000 : stride == 2 ? 20'000'000 : 4'800'000;
  }
  // Rows of such a thread: more of them share what it reads, fewer are more threads.
  static constexpr int vector_rows(int element_bytes, int taps, int stride, bool many) {
    if (taps == 9) {
      return many ? (stride == 1 ? 4 : 2) : (stride == 1 ? 2 : 1);
    }
    return element_bytes == 4 ? 2 : 1;
  }
  // The time of a column whose threads own so many rows, in rows of a thread.
  static int64_t row_time(const DepthwiseAxis& h, int rows) {
    return divide_up(h.result_size, rows) * (rows + 1);
  }
  // 3x3 in fp32, H200. Up to so many results threads own two of a column, or four at stride 2:
  // 1x576x14x14 2.15 us, pairs by four rows 2.20. Then pairs of columns, by four rows and, from
  // kSomeResults on, by those that divide the height best: 1x384x28x28 2.6 by four rows, 2.75 by
  // seven; 1x192x56x56 3.5 and 3.3. Then four columns by four rows: 64x12x56x56 7.0, pairs 7.5; but
  // 1x1280x32x32 5.2 and 5.0.
  static constexpr int64_t kFewResults = 160'000;
  static constexpr int64_t kSomeResults = 450'000;
  static constexpr int64_t kManyQuadResults = 1'500'000;
  // Columns from which threads own pairs of them at any address: 1x192x95x95, 3x3 in fp32 6.4 us,
  // single ones 7.0; but 1x256x37x37 3.0 and 2.9, 32x1024x7x7 10.1 and 7.0.
  static constexpr int64_t kMinPairedColumns = 64;
  // Results from which they are many, where their rows are whole vectors.
  static constexpr int64_t kManyVectorResults = 2'000'000;
  // The columns, the widest vectors first. 3x3 in fp32 has rules of its own; 5x5 at stride 2 in
  // fp32 is slower by any, but pairs where small tensors have no vectors.
  static constexpr bool has_vectors(int element_bytes, int taps, int stride, int columns) {
    return columns == 4 ? element_bytes == 2 : element_bytes == 4 && !(taps == 25 && stride == 2);
  }
  // Results from which a thread owns four of them, not two: rows of a 3x3 kernel, or columns of the
  // channels_last one; and from which a thread of that owns two rows of these at stride 1.
  static constexpr int64_t kManyResults = 150'000;
  static constexpr int64_t kManyChannelsLastResults = 180'000;
  // The weight gradient: the same limit.
  static constexpr int64_t max_gradient_products(int element_bytes, int64_t stride) {
    return element_bytes == 2 ? 20'000'000 : stride == 1 ? 30'000'000 : 100'000'000;
  }
  static constexpr int kGradientRows = 4;       // of a thread's item
  static constexpr int kGradientThreads = 128;  // a block's, at most
  // Blocks wanted, and items a block sums at least.
  static constexpr int kGradientBlocksPerMultiprocessor = 6;
  static constexpr int64_t kMinGradientItems = 256;
};

}  // namespace kernelopt
