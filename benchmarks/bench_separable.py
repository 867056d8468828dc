"""Cases of ``separable_conv2d`` and ``pointwise_conv2d``: reference problems and real layers."""

from typing import Any

from kernelopt.benchmarking.cases import Case, convolution


def _separable(
    problem: str,
    batch: int,
    channels: int,
    side: int,
    out: int,
    taps: int = 3,
    stride: int = 1,
    **options: Any,
) -> Case:
    dilation = options.get("dilation", 1)
    options.setdefault("padding", dilation * (taps - 1) // 2)
    shape = (batch, channels, side, options.pop("width", side))
    return convolution("separable_conv2d", problem, shape, out, taps, stride, **options)


def _pointwise(
    problem: str, batch: int, channels: int, side: int, out: int, **options: Any
) -> Case:
    shape = (batch, channels, side, options.pop("width", side))
    return convolution("pointwise_conv2d", problem, shape, out, **options)


SEEDS = (
    _separable("86", 16, 64, 512, 128),
    _pointwise("87", 16, 64, 1024, 128),
)

_FOLDED = {"bias": True, "depthwise_activation": "relu", "activation": "relu"}
_LINEAR = {"bias": True, "depthwise_activation": "relu"}

# net, options, batches, layers as (channels, side, out, taps, stride). Inference form: the batch
# normalisation is folded into the biases, so an activation follows each stage that has one.
_NETS: tuple[tuple[str, dict[str, Any], tuple[int, ...], tuple[tuple[int, ...], ...]], ...] = (
    (
        "mobilenet_v1",
        _FOLDED,
        (1, 32, 256),
        (
            (32, 112, 64, 3, 1),
            (64, 112, 128, 3, 2),
            (128, 56, 128, 3, 1),
            (128, 56, 256, 3, 2),
            (256, 28, 256, 3, 1),
            (256, 28, 512, 3, 2),
            (512, 14, 512, 3, 1),
            (512, 14, 1024, 3, 2),
            (1024, 7, 1024, 3, 1),
        ),
    ),
    (
        "mobilenet_v1_025",
        _FOLDED,
        (1, 128),
        ((8, 112, 16, 3, 1), (32, 56, 32, 3, 1), (64, 28, 64, 3, 1), (128, 14, 128, 3, 1)),
    ),
    (
        "mobilenet_v2",
        _LINEAR,
        (1, 64),
        (
            (32, 112, 16, 3, 1),
            (96, 112, 24, 3, 2),
            (144, 56, 24, 3, 1),
            (192, 28, 32, 3, 1),
            (384, 14, 64, 3, 1),
            (576, 14, 96, 3, 1),
            (960, 7, 160, 3, 1),
        ),
    ),
    (
        "mnasnet",
        _LINEAR,
        (1, 64),
        (
            (32, 112, 16, 3, 1),
            (72, 56, 24, 3, 1),
            (120, 28, 40, 5, 1),
            (480, 14, 80, 5, 1),
            (1152, 7, 192, 5, 1),
        ),
    ),
    (
        "mobilenet_v3",
        _LINEAR,
        (1, 128),
        ((16, 112, 16, 3, 1), (64, 112, 24, 3, 2), (200, 14, 80, 3, 1), (184, 14, 80, 3, 1)),
    ),
    (
        "xception",
        {},
        (1, 32),
        (
            (64, 147, 128, 3, 1),
            (128, 74, 256, 3, 1),
            (256, 37, 728, 3, 1),
            (728, 19, 728, 3, 1),
            (1024, 10, 1536, 3, 1),
        ),
    ),
    (
        "efficientdet_d0",
        {"bias": True},
        (1, 32),
        (
            (64, 64, 64, 3, 1),
            (64, 32, 64, 3, 1),
            (64, 16, 64, 3, 1),
            (64, 64, 36, 3, 1),
            (64, 32, 810, 3, 1),
        ),
    ),
    ("ssdlite", _LINEAR, (1, 24), ((672, 20, 24, 3, 1), (480, 10, 24, 3, 1), (256, 5, 546, 3, 1))),
    (
        "fastdepth",
        _FOLDED,
        (1, 8),
        (
            (1024, 7, 512, 5, 1),
            (512, 14, 256, 5, 1),
            (256, 28, 128, 5, 1),
            (128, 56, 64, 5, 1),
            (64, 112, 32, 5, 1),
        ),
    ),
    (
        "separable_unet",
        _FOLDED,
        (1, 8),
        (
            (3, 256, 64, 3, 1),
            (64, 256, 64, 3, 1),
            (128, 128, 128, 3, 1),
            (256, 64, 256, 3, 1),
            (512, 33, 512, 3, 1),
        ),
    ),
    (
        "blazeface",
        _LINEAR,
        (1, 64),
        ((24, 64, 24, 5, 1), (24, 64, 48, 5, 2), (48, 32, 48, 5, 1), (96, 16, 96, 5, 1)),
    ),
    ("deeplab_decoder", _FOLDED, (1, 8), ((304, 129, 256, 3, 1), (256, 129, 256, 3, 1))),
    (
        "pp_lcnet",
        _FOLDED,
        (1, 64),
        ((16, 112, 32, 3, 1), (64, 56, 64, 3, 1), (256, 14, 256, 5, 1), (512, 7, 512, 5, 1)),
    ),
)

# Expansions and projections: net, batches, layers as (channels, side, out)
_POINTWISE = (
    (
        "mobilenet_v2",
        (1, 64, 256),
        ((24, 56, 144), (144, 28, 32), (64, 14, 384), (384, 14, 64), (160, 7, 960), (320, 7, 1280)),
    ),
    (
        "efficientnet_b0",
        (1, 64),
        ((16, 112, 96), (24, 56, 144), (80, 14, 480), (672, 14, 112), (192, 7, 1152)),
    ),
    ("mobilenet_v3", (1, 128), ((16, 112, 64), (40, 28, 120), (112, 14, 672), (160, 7, 960))),
    ("shufflenet_v2", (1, 128), ((58, 28, 58), (116, 14, 116), (232, 7, 232), (464, 7, 1024))),
    (
        "resnet50",
        (1, 32),
        ((64, 56, 256), (256, 56, 64), (512, 28, 128), (1024, 14, 256), (512, 7, 2048)),
    ),
    ("convnext_tiny", (1, 64), ((96, 56, 384), (384, 56, 96), (384, 14, 1536), (3072, 7, 768))),
    ("unet_head", (1, 4), ((64, 572, 2), (32, 512, 1), (128, 257, 21))),
    ("restormer", (1, 2), ((48, 256, 144), (48, 256, 255), (192, 64, 576))),
)


def _separables() -> list[Case]:
    return [
        _separable(
            f"{net}/sep{channels}.{side}.{out}", batch, channels, side, out, taps, stride, **options
        )
        for net, options, batches, layers in _NETS
        for batch in batches
        for channels, side, out, taps, stride in layers
    ]


def _pointwises() -> list[Case]:
    return [
        _pointwise(f"{net}/pw{channels}.{side}.{out}", batch, channels, side, out, bias=True)
        for net, batches, layers in _POINTWISE
        for batch in batches
        for channels, side, out in layers
    ]


def _dilated() -> list[Case]:
    return [
        _separable(
            f"deeplab_aspp/d{dilation}", batch, channels, 33, 256, dilation=dilation, **_FOLDED
        )
        for channels in (320, 2048)
        for dilation in (12, 24, 36)
        for batch in (1, 8)
    ]


def _keyword_spotting() -> list[Case]:
    """DS-CNN on 25 x 5 maps, where everything is launch time."""
    return [
        _separable(f"ds_cnn/sep{channels}", batch, channels, 25, channels, width=5, **_FOLDED)
        for channels in (64, 172, 276)
        for batch in (1, 100)
    ]


def _channels_last() -> list[Case]:
    layers = ((32, 112, 64), (128, 56, 128), (256, 28, 256), (512, 14, 512))
    cases = []
    for batch in (1, 64):
        for channels, side, out in layers:
            cases.append(
                _separable(
                    f"mobilenet_v1/sep{channels}.{side}.{out}",
                    batch, channels, side, out, channels_last=True, **_FOLDED,
                )
            )  # fmt: skip
            cases.append(
                _pointwise(
                    f"mobilenet_v1/pw{channels}.{side}.{out}",
                    batch, channels, side, out, channels_last=True, bias=True,
                )
            )  # fmt: skip
    return cases


GRID = (*_separables(), *_pointwises(), *_dilated(), *_keyword_spotting(), *_channels_last())

# Where torch.compile is measured too: chosen once, at even steps in the order of the floors.
COMPILED = (
    ("ssdlite/sep672.20.24", "1x672x20x20 -> 24, k3 p1 bias relu"),
    ("mobilenet_v2/pw384.14.64", "64x384x14x14 -> 64, k1 bias"),
    ("pp_lcnet/sep16.112.32", "64x16x112x112 -> 32, k3 p1 bias relu relu"),
)
