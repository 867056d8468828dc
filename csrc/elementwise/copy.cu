#include "elementwise/elementwise_launch.cuh"
#include "elementwise/functors.h"
#include "elementwise/transpose_kernel.cuh"
#include "elementwise/transpose_short_kernel.cuh"

namespace kernelopt {
namespace {

/// The same as transpose() in vectors; false where neither side of a matrix is short or rows of the
/// other one do not begin on 16 bytes.
template <typename T>
bool transpose_short(const char* op, const Tensor& source, const Tensor& destination, int64_t batch,
                     int64_t rows, int64_t columns) {
  using Shape = TransposeShortShape;
  const int64_t width = std::min(rows, columns), length = std::max(rows, columns);
  TransposeShortParams p{};
  p.source = source.const_data_ptr();
  p.destination = destination.mutable_data_ptr();
  const auto aligned = [](const void* data) { return reinterpret_cast<uintptr_t>(data) % 16 == 0; };
  if (width > Shape::kMaxWidth || length * sizeof(T) % 16 != 0 || !aligned(p.source) ||
      !aligned(p.destination)) {
    return false;
  }
  p.length = length;
  p.width = static_cast<int>(width);
  p.tile = Shape::tile(width, sizeof(T));
  const int64_t tiles = (length - 1) / p.tile + 1;
  if (batch > std::numeric_limits<int32_t>::max() / tiles) {
    return false;
  }
  p.tiles = static_cast<unsigned>(tiles);
  const auto kernel =
      columns == width ? transpose_short_kernel<T, true> : transpose_short_kernel<T, false>;
  kernel<<<static_cast<unsigned>(batch * tiles), Shape::kThreads, p.tile * width * sizeof(T),
           current_stream(source)>>>(p);
  KERNELOPT_CHECK_LAUNCH(op);
  return true;
}

/// destination[n, c, r] = source[n, r, c]; false where there are too many tiles for a grid.
template <typename T>
bool transpose(const char* op, const Tensor& source, const Tensor& destination, int64_t batch,
               int64_t rows, int64_t columns) {
  if (transpose_short<T>(op, source, destination, batch, rows, columns)) {
    return true;
  }
  using Shape = TransposeShape<T>;
  const int64_t row_tiles = divide_up(rows, Shape::kTile);
  const int64_t column_tiles = divide_up(columns, Shape::kTile);
  if (batch > std::numeric_limits<int32_t>::max() / row_tiles / column_tiles) {
    return false;
  }
  transpose_kernel<T><<<static_cast<unsigned>(batch * row_tiles * column_tiles), Shape::kThreads, 0,
                        current_stream(source)>>>(static_cast<const T*>(source.const_data_ptr()),
                                                  static_cast<T*>(destination.mutable_data_ptr()),
                                                  rows, columns, static_cast<unsigned>(row_tiles),
                                                  static_cast<unsigned>(column_tiles));
  KERNELOPT_CHECK_LAUNCH(op);
  return true;
}

/// Copies of images from one memory format to the other; whether this is one.
bool copy_to_other_format(const char* op, const Tensor& source, const Tensor& destination) {
  const bool to_channels_last = source.is_contiguous() && is_channels_last(destination);
  if (!to_channels_last && !(is_channels_last(source) && destination.is_contiguous())) {
    return false;
  }
  const int64_t batch = source.size(0), channels = source.size(1);
  const int64_t plane = source.size(2) * source.size(3);
  if (batch * channels * plane == 0) {
    return false;
  }
  const int64_t rows = to_channels_last ? channels : plane;
  const int64_t columns = to_channels_last ? plane : channels;
  switch (element_size(source.scalar_type())) {
    case 2: return transpose<uint16_t>(op, source, destination, batch, rows, columns);
    case 4: return transpose<uint32_t>(op, source, destination, batch, rows, columns);
    case 8: return transpose<uint64_t>(op, source, destination, batch, rows, columns);
    default: return false;
  }
}

}  // namespace

void copy_cuda(const char* op, const Tensor& source, const Tensor& destination) {
  if (copy_to_other_format(op, source, destination)) {
    return;
  }
  launch_elementwise<1>(op, [](auto) { return Copy{}; }, {&destination, &source});
}

Tensor contiguous_cuda(const char* op, const Tensor& tensor) {
  if (tensor.is_contiguous()) {
    return tensor;
  }
  Tensor copy = empty_contiguous(op, tensor.sizes(), tensor.scalar_type(), tensor);
  copy_cuda(op, tensor, copy);
  return copy;
}

Tensor channels_last_cuda(const char* op, const Tensor& tensor) {
  if (is_channels_last(tensor)) {
    return tensor;
  }
  Tensor copy = empty_channels_last(op, tensor.sizes(), tensor.scalar_type(), tensor);
  copy_cuda(op, tensor, copy);
  return copy;
}

}  // namespace kernelopt
