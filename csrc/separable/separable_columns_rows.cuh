// How results of the product over padded columns leave beside the next products where images are
// wide: a warp puts them into rows of shared memory, at the place that they have in 16 bytes of
// memory though rows begin on any element, and another one has the copy engine store their middles.
// Includes no torch header.
#pragma once

#include "common/bulk_copy.cuh"
#include "common/pairs16.cuh"
#include "common/wgmma.cuh"
#include "separable/separable_columns_params.h"

namespace kernelopt {

#if KERNELOPT_HAS_WGMMA

/// Rows of 16 channels x kColumns columns in shared memory. The columns of the j-th image among
/// them lie 8 j elements and the image's place in 16 bytes further right.
template <typename T, int kColumns>
struct ColumnsRows {
  using Shape = SeparableColumnsShape;
  static constexpr int kUnit = 16 / static_cast<int>(sizeof(T));
  static constexpr int kPitch = Shape::row_pitch(kColumns);

  static __device__ __forceinline__ T* output(const SeparableColumnsParams& p) {
    return static_cast<T*>(p.problem.output);
  }
  static __device__ __forceinline__ unsigned base(const SeparableColumnsParams& p) {
    return static_cast<unsigned>(reinterpret_cast<uintptr_t>(p.problem.output) / sizeof(T));
  }

  /// Writes a warp's accumulators from kFirst columns on, with biases and not below `least`.
  /// @param biases   of the thread's two rows
  /// @param channel  the warp's first
  /// @param column   the first, a multiple of 8
  template <int kFirst, int kRegisters>
  static __device__ __forceinline__ void turn(const SeparableColumnsParams& p,
                                              const float (&accumulators)[kRegisters],
                                              const float (&biases)[2], float least, T* rows,
                                              int channel, int column) {
    const int lane = threadIdx.x % 32;
    const unsigned image = p.pitches.quotient(column);
    const unsigned next_image = static_cast<unsigned>(p.problem.out_channels) * p.plane;
    int end = static_cast<int>((image + 1) * p.pitch) - column;
    unsigned phases[2];
    T* places[2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      phases[half] = base(p) + image * next_image +
                     static_cast<unsigned>(channel + lane / 4 + half * 8) * p.plane;
      places[half] = rows + (lane / 4 + half * 8) * kPitch + lane % 4 * 2 + phases[half] % kUnit;
    }
#pragma unroll
    for (int i = 0; i < kColumns / 8; ++i) {
      if (i * 8 >= end) {
        end += p.pitch;
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          places[half] += 8 - phases[half] % kUnit;
          phases[half] += next_image;
          places[half] += phases[half] % kUnit;
        }
      }
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int from = (kFirst / 8 + i) * 4 + half * 2;
        float first = accumulators[from] + biases[half];
        float second = accumulators[from + 1] + biases[half];
        first = first < least ? least : first;
        second = second < least ? least : second;
        T* const place = places[half] + i * 8;
        if constexpr (sizeof(T) == 2) {
          const uint32_t pair = pack_pair<T>(first, second);
          reinterpret_cast<uint16_t*>(place)[0] = static_cast<uint16_t>(pair);
          reinterpret_cast<uint16_t*>(place)[1] = static_cast<uint16_t>(pair >> 16);
        } else {
          place[0] = first;
          place[1] = second;
        }
      }
    }
    fence_async_proxy();
    __syncwarp();
  }

  /// Moves what memory has on a multiple of its size.
  template <typename Piece>
  static __device__ __forceinline__ void move(T* to, const T* from, bool condition) {
    if (condition) {
      *reinterpret_cast<Piece*>(to) = *reinterpret_cast<const Piece*>(from);
    }
  }

  /// Stores the columns of one image.
  /// @param place   of the first one in the first row
  /// @param phase   of that place
  /// @param from    of the first one in the first row, but for the phase
  static __device__ __forceinline__ void store_image(T* place, unsigned phase, const T* from,
                                                     int plane, int channels, int length) {
    // Half of the lanes have the beginnings of rows and what the copy engine moves, half the ends.
    const int lane = threadIdx.x % 32, row = lane % 16;
    const unsigned shift = (phase + static_cast<unsigned>(row * plane)) % kUnit;
    T* const to = place + row * int64_t{plane};
    const T* const source = from + row * kPitch + shift;
    if (row >= channels) {
      return;
    }
    const int head = static_cast<int>((kUnit - shift) % kUnit);
    if (lane < 16 && length - head >= kUnit) {
      bulk_store(to + head, shared_address(source + head), (length - head) / kUnit * 16);
    }
    if (length < kUnit) {
      for (int at = lane / 16; at < length; at += 2) {
        to[at] = source[at];
      }
    } else if (lane < 16) {
      move<Single>(to, source, head % 2 != 0);
      move<Pair>(to + head % 2, source + head % 2, head & 2);
      if constexpr (kUnit == 8) {
        move<uint2>(to + head % 4, source + head % 4, head & 4);
      }
    } else {
      const int tail = (length - head) % kUnit, begin = length - tail;
      if constexpr (kUnit == 8) {
        move<uint2>(to + begin, source + begin, tail & 4);
      }
      const int pair = begin + (tail & 4), last = begin + (tail & 6);
      move<Pair>(to + pair, source + pair, tail & 2);
      move<Single>(to + last, source + last, tail & 1);
    }
  }

  /// Stores what turn() wrote, and waits until it is read.
  static __device__ __forceinline__ void store(const SeparableColumnsParams& p, const T* rows,
                                               int channel, int column) {
    const int channels = min(16, p.problem.out_channels - channel);
    int image = static_cast<int>(p.pitches.quotient(column));
    int begin = column;
#pragma unroll 1
    for (int j = 0; begin < column + kColumns && image < p.problem.batch; ++j) {
      const int pixel = begin - image * p.pitch;
      const int length = min(column + kColumns - begin, p.plane - pixel);
      const int64_t first = (int64_t{image} * p.problem.out_channels + channel) * p.plane + pixel;
      if (length > 0) {
        store_image(output(p) + first, base(p) + static_cast<unsigned>(first),
                    rows + (begin - column) + j * 8, p.plane, channels, length);
      }
      ++image;
      begin = image * p.pitch;
    }
    bulk_commit();
    bulk_wait_read<0>();
    __syncwarp();
  }

 private:
  using Single = std::conditional_t<sizeof(T) == 2, uint16_t, uint32_t>;
  using Pair = std::conditional_t<sizeof(T) == 2, uint32_t, uint2>;
};

#endif

}  // namespace kernelopt
