"""Cases of ``conv_transpose1d``: the reference problems, and the upsampling layers of real nets."""

from typing import Any

from kernelopt.benchmarking.cases import Case, convolution


def _case(
    problem: str,
    batch: int,
    channels: int,
    length: int,
    out: int,
    taps: int,
    stride: int = 1,
    **options: Any,
) -> Case:
    options.setdefault("padding", (taps - stride) // 2)
    return convolution(
        "conv_transpose1d", problem, (batch, channels, length), out, taps, stride, **options
    )


SEEDS = (
    _case("64", 64, 128, 65536, 128, 3, padding=0),
    _case("74", 32, 32, 131072, 64, 5, padding=0, dilation=3),
    _case("79", 16, 32, 131072, 64, 3, 2, padding=1, dilation=2),
)

# Decoders that halve the channels at each step: net, first channels, (stride, taps) of each step,
# then (batch, frames) pairs: training segments, and whole utterances of odd length.
_VOCODERS = (
    (
        "hifigan_v1",
        512,
        ((8, 16), (8, 16), (2, 4), (2, 4)),
        ((16, 32), (1, 171), (4, 803), (16, 803)),
    ),
    ("hifigan_v2", 128, ((8, 16), (8, 16), (2, 4), (2, 4)), ((16, 32), (1, 803))),
    ("hifigan_v3", 256, ((8, 16), (8, 16), (4, 8)), ((16, 32), (1, 171), (8, 803))),
    ("melgan", 512, ((8, 16), (8, 16), (2, 4), (2, 4)), ((16, 32), (1, 600))),
    ("bigvgan", 1536, ((4, 8), (4, 8), (2, 4), (2, 4), (2, 4), (2, 4)), ((2, 32), (1, 257))),
    ("vits", 512, ((8, 16), (8, 16), (2, 4), (2, 4)), ((64, 32), (1, 437))),
    ("istftnet", 512, ((8, 16), (8, 16)), ((16, 32), (1, 803))),
    ("multiband_melgan", 384, ((2, 4), (5, 10), (5, 10)), ((32, 54), (1, 333))),
)

# Codec decoders, output_padding where taps - stride is odd.
_CODECS = (
    ("encodec_24khz", 512, ((8, 16), (5, 10), (4, 8), (2, 4)), ((1, 75), (8, 225), (32, 75))),
    ("dac_44khz", 1536, ((8, 16), (8, 16), (4, 8), (2, 4)), ((1, 87), (4, 87))),
    ("mimi", 1024, ((8, 16), (6, 12), (5, 10), (4, 8)), ((1, 125), (16, 25))),
    ("stable_audio_vae", 2048, ((8, 16), (8, 16), (4, 8), (4, 8), (2, 4)), ((1, 64),)),
)

# Decoders of the Demucs family: net, ((channels, out), ...) with the length before each.
_DEMUCS = (
    (
        "demucs_v2",
        ((2048, 1024, 42), (1024, 512, 172), (512, 256, 692), (256, 128, 2772), (128, 64, 11092)),
        (1, 4, 16),
    ),
    ("htdemucs", ((384, 192, 1344), (192, 96, 5376), (96, 48, 21504), (48, 8, 86016)), (1, 4)),
    (
        "denoiser48",
        ((768, 384, 61), (384, 192, 248), (192, 96, 996), (96, 48, 3988), (48, 1, 15956)),
        (1, 64),
    ),
)

# Last layer of time-domain separation nets: net, channels, taps, stride, (batch, frames) pairs
_SEPARATION = (
    ("conv_tasnet", 512, 16, 8, ((1, 3999), (4, 7999))),
    ("sepformer", 256, 16, 8, ((1, 3999), (2, 15999))),
    ("sudo_rm_rf", 512, 21, 10, ((1, 3201), (8, 1601))),
    ("dprnn", 64, 2, 1, ((1, 31999), (8, 31999))),
    ("dprnn16", 64, 16, 8, ((1, 3999), (16, 3999))),
)

# Upsampling that keeps the channels: net, taps, stride, (channels, length) pairs, batches
_UNETS = (
    ("diffuser", 4, 2, ((256, 8), (128, 16), (64, 32)), (1, 64, 256)),
    ("diffusion_policy", 4, 2, ((1024, 4), (512, 8)), (1, 64, 256)),
    ("jukebox_vqvae", 4, 2, ((64, 8192), (64, 16384), (64, 65536)), (1, 4, 32)),
    ("audio_diffusion", 4, 2, ((512, 256), (256, 1024), (128, 4096), (64, 16384)), (1, 16)),
)

# Decoders with doubling lengths by kernel 2, stride 2: net, first channels, first length, steps
_SIGNAL_UNETS = (
    ("ecg_unet", 512, 63, 4, (1, 32, 128)),
    ("eeg_utime", 256, 187, 4, (1, 12)),
    ("seismic_phasenet", 128, 47, 4, (16, 256)),
)


def _stacks() -> list[Case]:
    cases = []
    for nets in (_VOCODERS, _CODECS):
        for net, first, steps, sizes in nets:
            for batch, frames in sizes:
                channels, length = first, frames
                for index, (stride, taps) in enumerate(steps):
                    excess = (taps - stride) % 2
                    case = _case(
                        f"{net}/ups.{index}",
                        batch,
                        channels,
                        length,
                        channels // 2,
                        taps,
                        stride,
                        padding=(taps - stride + excess) // 2,
                        output_padding=excess,
                        bias=True,
                    )
                    cases.append(case)
                    channels, length = channels // 2, case.output_shape[2]
    return cases


def _demucs() -> list[Case]:
    return [
        _case(
            f"{net}/decoder.{index}", batch, channels, length, out, 8, 4, padding=0, bias=True,
            activation="gelu" if net == "htdemucs" and out > 8 else None,
        )
        for net, layers, batches in _DEMUCS
        for batch in batches
        for index, (channels, out, length) in enumerate(layers)
    ]  # fmt: skip


def _separation() -> list[Case]:
    return [
        _case(f"{net}/decoder", batch, channels, frames, 1, taps, stride, padding=0)
        for net, channels, taps, stride, sizes in _SEPARATION
        for batch, frames in sizes
    ]


def _unets() -> list[Case]:
    return [
        _case(f"{net}/up{channels}", batch, channels, length, channels, taps, stride, bias=True)
        for net, taps, stride, layers in [entry[:4] for entry in _UNETS]
        for batch in next(entry[4] for entry in _UNETS if entry[0] == net)
        for channels, length in layers
    ]


def _signal_unets() -> list[Case]:
    return [
        _case(
            f"{net}/up.{step}",
            batch,
            first >> step,
            length << step,
            first >> step + 1,
            2,
            2,
            bias=True,
        )
        for net, first, length, steps, batches in _SIGNAL_UNETS
        for batch in batches
        for step in range(steps)
    ]


def _generators() -> list[Case]:
    """WaveGAN (25 taps, stride 4) and SEGAN (31 taps, stride 2), which need output padding."""
    cases = []
    for batch in (1, 64):
        for index, (channels, out, length) in enumerate(
            ((1024, 512, 16), (512, 256, 64), (256, 128, 256), (128, 64, 1024), (64, 1, 4096))
        ):
            cases.append(
                _case(
                    f"wavegan/layer.{index}", batch, channels, length, out, 25, 4,
                    padding=11, output_padding=1, bias=True,
                )
            )  # fmt: skip
        for index, (channels, out, length) in enumerate(
            ((2048, 512, 8), (1024, 256, 32), (512, 128, 256), (128, 32, 2048), (64, 16, 4096))
        ):
            cases.append(
                _case(
                    f"segan/decoder.{index}", min(batch, 32), channels, length, out, 31, 2,
                    padding=15, output_padding=1, bias=True,
                )
            )  # fmt: skip
    return cases


def _grouped() -> list[Case]:
    """Upsampling with one filter a channel, or a few channels a group."""
    cases = [
        _case(f"mimi/upsample{channels}", batch, channels, length, channels, 4, 2, groups=channels)
        for channels in (512, 768)
        for batch, length in ((1, 25), (1, 1251), (16, 125), (64, 377))
    ]
    cases += [
        _case(
            f"bilinear/depthwise{stride}",
            batch,
            channels,
            length,
            channels,
            2 * stride,
            stride,
            groups=channels,
        )
        for stride, channels, length in ((2, 64, 4001), (4, 128, 1000), (8, 80, 433))
        for batch in (1, 8)
    ]
    return cases + [
        _case(f"grouped_decoder/g{groups}", batch, 256, length, 128, 8, 4, groups=groups, bias=True)
        for groups in (2, 4, 16, 64)
        for batch, length in ((1, 501), (16, 250))
    ]


def _autoencoders() -> list[Case]:
    """Signal auto-encoders: 3 taps, stride 2, output padding 1; and spectrogram inversion."""
    layers = ((128, 64, 125), (64, 32, 250), (32, 16, 500), (16, 1, 1000))
    cases = [
        _case(
            f"signal_autoencoder/decoder.{index}", batch, channels, length, out, 3, 2,
            padding=1, output_padding=1, bias=True,
        )
        for batch in (1, 32, 256)
        for index, (channels, out, length) in enumerate(layers)
    ]  # fmt: skip
    return cases + [
        _case("waveglow/upsample", 1, 80, frames, 80, 1024, 256, padding=0, bias=True)
        for frames in (63, 401)
    ]


GRID = (
    *_stacks(),
    *_demucs(),
    *_separation(),
    *_unets(),
    *_signal_unets(),
    *_generators(),
    *_grouped(),
    *_autoencoders(),
)

# Where torch.compile is measured too: chosen once, at even steps in the order of the floors.
COMPILED = (
    ("signal_autoencoder/decoder.1", "32x64x250 -> 32, k3 s2 p1 op1 bias"),
    ("htdemucs/decoder.2", "1x96x21504 -> 48, k8 s4 bias gelu"),
    ("encodec_24khz/ups.0", "32x512x75 -> 256, k16 s8 p4 bias"),
)
