"""Enumerations that the op schemas carry as integers; the public functions take names as well."""

from __future__ import annotations

from enum import IntEnum


class Activation(IntEnum):
    """What a convolution applies to its result. Numbered as in ``csrc/common/math.h``."""

    NONE = 0
    RELU = 1
    GELU = 2
    """``x * Phi(x)``, Phi the standard normal distribution function."""
    GELU_TANH = 3
    """The tanh form of GELU."""
    SILU = 4


class Precision(IntEnum):
    """How a float32 convolution is computed. Numbered as in ``csrc/common/math.h``."""

    DEFAULT = 0
    """An error of at most a tenth of TF32's. Shapes that go to ATen's operators have those' error:
    TF32's where torch's settings allow it."""
    IEEE = 1
    """No worse than strict float32."""


class Approximate(IntEnum):
    """The form of GELU."""

    NONE = 0
    TANH = 1
