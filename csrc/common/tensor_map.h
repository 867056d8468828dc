// Tensor maps: how the copy engine of Hopper finds boxes of a tensor. Includes no torch header.
#pragma once

#include <cuda.h>

#include <cstdint>

namespace kernelopt {

/// Boxes of a tensor of four axes, the innermost first, its elements neighbours along that one.
struct TensorMapShape {
  static constexpr int kRank = 4;

  int element_bytes;            // 2, 4 or 8
  uint64_t sizes[kRank];        // elements
  uint64_t strides[kRank - 1];  // bytes, of all axes but the first; multiples of 16
  uint32_t box[kRank];          // elements, at most 256; the first axis' bytes a multiple of 16
  bool swizzled;                // 16-byte units of each row of 128 bytes are exchanged
};

/// Fills `map` for the tensor at `base`, aligned to 16 bytes. False where the driver has no tensor
/// maps or refuses this one.
bool encode_tensor_map(const TensorMapShape& shape, const void* base, CUtensorMap* map);

}  // namespace kernelopt
