"""Cases of ``depthwise_conv2d``: the reference problems, and the layers of real nets."""

from typing import Any

from kernelopt.benchmarking.cases import Case, convolution

Taps = int | tuple[int, int]


def _case(
    problem: str,
    batch: int,
    channels: int,
    height: int,
    width: int,
    taps: Taps,
    stride: int = 1,
    **options: Any,
) -> Case:
    """A case whose padding keeps the size at stride 1, unless it is given."""
    sizes = (taps, taps) if isinstance(taps, int) else taps
    dilation = options.get("dilation", 1)
    options.setdefault("padding", tuple(dilation * (size - 1) // 2 for size in sizes))
    out = channels * options.pop("multiplier", 1)
    return convolution(
        "depthwise_conv2d",
        problem,
        (batch, channels, height, width),
        out,
        taps,
        stride,
        groups=channels,
        **options,
    )


SEEDS = (
    _case("82", 16, 64, 512, 512, 3, padding=0),
    _case("83", 64, 8, 512, 512, (3, 1), padding=0),
    _case("84", 64, 128, 256, 512, 3, padding=0),
    _case("85", 32, 128, 128, 256, (3, 7), padding=0),
)

# net, batches, layers as (channels, side, taps, stride)
_NETS = (
    (
        "mobilenet_v1",
        (1, 32, 256),
        (
            (32, 112, 3, 1),
            (64, 112, 3, 2),
            (128, 56, 3, 1),
            (128, 56, 3, 2),
            (256, 28, 3, 1),
            (512, 14, 3, 1),
            (512, 14, 3, 2),
            (1024, 7, 3, 1),
        ),
    ),
    (
        "mobilenet_v2",
        (1, 64),
        (
            (96, 112, 3, 2),
            (144, 56, 3, 1),
            (144, 56, 3, 2),
            (192, 28, 3, 1),
            (384, 14, 3, 1),
            (576, 14, 3, 2),
            (960, 7, 3, 1),
        ),
    ),
    (
        "mobilenet_v3_large",
        (1, 128),
        (
            (16, 112, 3, 1),
            (64, 112, 3, 2),
            (72, 56, 5, 2),
            (120, 28, 5, 1),
            (240, 28, 3, 2),
            (200, 14, 3, 1),
            (672, 14, 5, 2),
            (960, 7, 5, 1),
        ),
    ),
    (
        "mobilenet_v3_small",
        (1, 256),
        ((16, 112, 3, 2), (88, 28, 3, 1), (240, 14, 5, 1), (576, 7, 5, 1)),
    ),
    (
        "efficientnet_b0",
        (1, 64),
        (
            (32, 112, 3, 1),
            (96, 112, 3, 2),
            (144, 56, 5, 2),
            (240, 28, 5, 1),
            (480, 14, 5, 1),
            (672, 14, 5, 1),
            (1152, 7, 5, 1),
            (1152, 7, 3, 1),
        ),
    ),
    (
        "efficientnet_b4",
        (1, 16),
        ((48, 190, 3, 1), (192, 95, 3, 1), (336, 48, 5, 1), (960, 24, 5, 1), (1632, 12, 5, 1)),
    ),
    (
        "mnasnet",
        (1, 64),
        (
            (32, 112, 3, 1),
            (72, 56, 3, 1),
            (120, 28, 5, 1),
            (480, 14, 5, 1),
            (576, 14, 3, 1),
            (1152, 7, 5, 1),
        ),
    ),
    ("shufflenet_v2", (1, 128), ((24, 56, 3, 2), (58, 28, 3, 1), (116, 14, 3, 1), (232, 7, 3, 1))),
    (
        "xception",
        (1, 32),
        (
            (64, 147, 3, 1),
            (128, 74, 3, 1),
            (256, 37, 3, 1),
            (728, 19, 3, 1),
            (1024, 10, 3, 1),
            (1536, 10, 3, 1),
        ),
    ),
    ("convnext_tiny", (1, 64), ((96, 56, 7, 1), (192, 28, 7, 1), (384, 14, 7, 1), (768, 7, 7, 1))),
    (
        "convnext_base",
        (1, 32, 128),
        ((128, 56, 7, 1), (256, 28, 7, 1), (512, 14, 7, 1), (1024, 7, 7, 1)),
    ),
    (
        "ghostnet",
        (1, 128),
        ((8, 112, 3, 1), (36, 56, 3, 1), (60, 28, 3, 1), (100, 14, 3, 1), (480, 7, 3, 1)),
    ),
    ("fastvit", (1, 64), ((64, 64, 7, 1), (128, 32, 7, 1), (256, 16, 7, 1))),
    ("replknet31", (1, 16), ((128, 56, 31, 1), (256, 28, 29, 1), (512, 14, 27, 1))),
    ("vmamba_tiny", (1, 64), ((192, 56, 3, 1), (384, 28, 3, 1), (768, 14, 3, 1))),
    (
        "segformer_b2",
        (1, 4),
        ((256, 128, 3, 1), (512, 64, 3, 1), (1280, 32, 3, 1), (2048, 16, 3, 1)),
    ),
    ("nafnet32", (1, 4), ((64, 256, 3, 1), (128, 128, 3, 1), (256, 64, 3, 1))),
    ("restormer", (1, 2), ((144, 256, 3, 1), (288, 128, 3, 1), (576, 64, 3, 1))),
    ("mixer_pool_free", (1, 64), ((64, 56, 5, 1), (320, 14, 5, 1))),
)


def _classifiers() -> list[Case]:
    return [
        _case(f"{net}/dw{channels}.{side}", batch, channels, side, side, taps, stride)
        for net, batches, layers in _NETS
        for batch in batches
        for channels, side, taps, stride in layers
    ]


def _detection() -> list[Case]:
    """Images that are not square, sides that are odd."""
    sizes = ((96, 200, 333), (192, 100, 167), (384, 50, 84), (768, 25, 42))
    cases = [
        _case(f"convnext_tiny_coco/dw{channels}", batch, channels, height, width, 7, bias=True)
        for channels, height, width in sizes
        for batch in (1, 4)
    ]
    cases += [
        _case(f"efficientdet_d0/bifpn{side}", batch, 64, side, side, 3, bias=True)
        for side in (64, 32, 16, 8, 5)
        for batch in (1, 32)
    ]
    return cases + [
        _case(f"ssdlite/head{side}", batch, channels, side, side, 3, activation="relu", bias=True)
        for channels, side in ((672, 20), (480, 10), (512, 5), (256, 3), (128, 2))
        for batch in (1, 24)
    ]


def _segmentation() -> list[Case]:
    """Dilated layers of DeepLab V3+ on images of 513 pixels."""
    return [
        _case(
            f"deeplab_xception/d{dilation}.{channels}",
            batch,
            channels,
            33,
            33,
            3,
            dilation=dilation,
        )
        for channels, dilation in ((728, 2), (1536, 4), (2048, 12), (2048, 24))
        for batch in (1, 8)
    ] + [_case("deeplab_decoder/dw304", batch, 304, 129, 129, 3, bias=True) for batch in (1, 8)]


def _asymmetric() -> list[Case]:
    """InceptionNeXt's strips, SLaK's long kernels, EEGNet's channel multiplier and time filters."""
    cases = []
    for batch in (1, 64):
        for channels, side in ((12, 56), (24, 28), (48, 14)):
            for taps in ((1, 11), (11, 1), (3, 3)):
                name = f"inceptionnext/{taps[0]}x{taps[1]}.{channels}"
                cases.append(_case(name, batch, channels, side, side, taps, bias=True))
        cases.append(_case("slak/51x5", min(batch, 16), 96, 56, 56, (51, 5)))
        cases.append(_case("slak/5x51", min(batch, 16), 96, 56, 56, (5, 51)))
        cases.append(_case("eegnet/spatial", batch, 8, 22, 1125, (22, 1), multiplier=2, padding=0))
        cases.append(_case("eegnet/separable", batch, 16, 1, 140, (1, 16)))
        cases.append(_case("multiplier2/dw32", batch, 32, 112, 112, 3, multiplier=2))
        cases.append(_case("conformer_2d/k31", batch, 256, 1, 399, (1, 31)))
    return cases


def _channels_last() -> list[Case]:
    """The same layers in the memory format that many users train them in."""
    return [
        _case(
            f"{net}/dw{channels}.{side}",
            batch,
            channels,
            side,
            side,
            taps,
            stride,
            channels_last=True,
        )
        for net, channels, side, taps, stride in (
            ("mobilenet_v2", 144, 56, 3, 1),
            ("mobilenet_v2", 576, 14, 3, 2),
            ("efficientnet_b0", 240, 28, 5, 1),
            ("convnext_tiny", 96, 56, 7, 1),
            ("convnext_tiny", 384, 14, 7, 1),
            ("xception", 728, 19, 3, 1),
        )
        for batch in (1, 64)
    ]


GRID = (*_classifiers(), *_detection(), *_segmentation(), *_asymmetric(), *_channels_last())

# Where torch.compile is measured too: chosen once, at even steps in the order of the floors.
COMPILED = (
    ("convnext_base/dw1024.7", "1x1024x7x7 -> 1024, k7 p3"),
    ("nafnet32/dw128.128", "1x128x128x128 -> 128, k3 p1"),
    ("mobilenet_v3_large/dw240.28", "128x240x28x28 -> 240, k3 s2 p1"),
)
