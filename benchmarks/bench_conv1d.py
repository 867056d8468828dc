"""Cases of ``conv1d``: the reference problems, and the layers of real nets."""

from typing import Any

from kernelopt.benchmarking.cases import Case, convolution


def _case(
    problem: str,
    batch: int,
    channels: int,
    length: int,
    out: int,
    taps: int = 1,
    stride: int = 1,
    **options: Any,
) -> Case:
    """A case whose padding keeps the length, unless it is given."""
    options.setdefault("padding", options.get("dilation", 1) * (taps - 1) // 2)
    options.setdefault("bias", True)
    return convolution("conv1d", problem, (batch, channels, length), out, taps, stride, **options)


SEEDS = (
    _case("67", 32, 64, 131072, 128, 3, padding=0, bias=False),
    _case("76", 64, 64, 524280, 128, 3, 3, padding=0, dilation=4, bias=False),
)


def _vocoders() -> list[Case]:
    """HiFi-GAN's residual blocks, and the discriminators of HiFi-GAN and MelGAN (grouped)."""
    cases = []
    for batch, frames in ((16, 32), (1, 171), (4, 803)):
        cases.append(_case("hifigan_v1/conv_pre", batch, 80, frames, 512, 7))
        cases.append(_case("hifigan_v1/conv_post", batch, 32, 256 * frames, 1, 7))
        for channels, upsampling in ((256, 8), (128, 64), (64, 128), (32, 256)):
            for taps, dilation in ((3, 1), (7, 3), (11, 5)):
                cases.append(
                    _case(
                        f"hifigan_v1/resblock{channels}.k{taps}",
                        batch, channels, upsampling * frames, channels, taps, dilation=dilation,
                    )
                )  # fmt: skip
    discriminator = (
        (1, 128, 15, 1, 1, 8192),
        (128, 128, 41, 2, 4, 8192),
        (128, 256, 41, 2, 16, 4096),
        (256, 512, 41, 4, 16, 2048),
        (512, 1024, 41, 4, 16, 512),
        (1024, 1024, 41, 1, 16, 128),
        (1024, 1024, 5, 1, 1, 128),
        (1024, 1, 3, 1, 1, 128),
    )
    for index, (channels, out, taps, stride, groups, length) in enumerate(discriminator):
        cases.append(
            _case(
                f"hifigan_msd/convs.{index}", 16, channels, length, out, taps, stride, groups=groups
            )
        )
    melgan = (
        (16, 64, 41, 4, 4, 8192),
        (64, 256, 41, 4, 16, 2048),
        (256, 1024, 41, 4, 64, 512),
        (1024, 1024, 41, 4, 256, 128),
    )
    for index, (channels, out, taps, stride, groups, length) in enumerate(melgan):
        cases.append(
            _case(
                f"melgan_msd/layer_{index + 1}",
                16,
                channels,
                length,
                out,
                taps,
                stride,
                groups=groups,
            )
        )
    return cases


def _wavenets() -> list[Case]:
    """Dilated stacks: Parallel WaveGAN, WaveNet, WaveGlow, DiffWave, VITS."""
    stacks = (
        ("parallel_wavegan", 64, 128, 3, (1, 8, 64, 512), ((6, 25600), (1, 60001))),
        ("wavenet", 64, 128, 2, (1, 16, 512), ((1, 16001), (8, 8000))),
        ("waveglow", 512, 1024, 3, (1, 8, 128), ((1, 2000), (4, 2000))),
        ("diffwave", 64, 128, 3, (1, 32, 512), ((16, 15872), (1, 66150))),
        ("vits_posterior", 192, 384, 5, (1,), ((1, 437), (64, 333))),
    )
    cases = []
    for net, channels, out, taps, dilations, sizes in stacks:
        for batch, length in sizes:
            for dilation in dilations:
                cases.append(
                    _case(
                        f"{net}/dilated{dilation}",
                        batch,
                        channels,
                        length,
                        out,
                        taps,
                        dilation=dilation,
                    )
                )
            cases.append(_case(f"{net}/skip", batch, channels, length, channels))
    return cases


def _speech_synthesis() -> list[Case]:
    layers = (
        ("tacotron2/encoder", 512, 512, 5, ((1, 87), (64, 163))),
        ("tacotron2/postnet.0", 80, 512, 5, ((1, 421), (64, 801))),
        ("tacotron2/postnet.1", 512, 512, 5, ((1, 421), (64, 801))),
        ("tacotron2/postnet.4", 512, 80, 5, ((64, 801),)),
        ("tacotron2/location", 2, 32, 31, ((64, 163),)),
        ("fastspeech2/ffn.0", 256, 1024, 9, ((1, 87), (16, 803))),
        ("fastspeech2/ffn.1", 1024, 256, 1, ((16, 803),)),
        ("fastspeech2/predictor", 256, 256, 3, ((48, 133),)),
        ("vits/ffn", 192, 768, 3, ((1, 137), (64, 201))),
    )
    return [
        _case(problem, batch, channels, length, out, taps)
        for problem, channels, out, taps, sizes in layers
        for batch, length in sizes
    ]


def _speech_encoders() -> list[Case]:
    cases = []
    for batch, samples in ((1, 16000), (8, 160000), (1, 480001)):
        length = samples
        for index, (taps, stride) in enumerate(
            ((10, 5), (3, 2), (3, 2), (3, 2), (3, 2), (2, 2), (2, 2))
        ):
            case = _case(
                f"wav2vec2/extractor.{index}",
                batch,
                512 if index else 1,
                length,
                512,
                taps,
                stride,
                padding=0,
                bias=False,
            )
            length = case.output_shape[2]
            if index in (0, 1, 3, 6):
                cases.append(case)
        cases.append(
            _case("wav2vec2/position", batch, 768, length, 768, 128, padding=64, groups=16)
        )
    for net, mels, width in (("tiny", 80, 384), ("small", 80, 768), ("large_v3", 128, 1280)):
        for batch in (1, 16):
            cases.append(
                _case(f"whisper_{net}/conv1", batch, mels, 3000, width, 3, activation="gelu")
            )
            cases.append(
                _case(
                    f"whisper_{net}/conv2",
                    batch,
                    width,
                    3000,
                    width,
                    3,
                    2,
                    padding=1,
                    activation="gelu",
                )
            )
    for width in (144, 256, 512):
        for batch, length in ((1, 251), (32, 399)):
            cases.append(_case(f"conformer{width}/pointwise1", batch, width, length, 2 * width))
            cases.append(
                _case(f"conformer{width}/depthwise", batch, width, length, width, 31, groups=width)
            )
    for channels, taps in ((256, 33), (512, 51), (512, 75)):
        for batch in (1, 32):
            cases.append(
                _case(
                    f"quartznet/depthwise{taps}",
                    batch,
                    channels,
                    801,
                    channels,
                    taps,
                    groups=channels,
                    bias=False,
                )
            )
    for channels, taps in ((256, 11), (512, 17), (768, 25)):
        cases.append(_case(f"jasper/block{taps}", 16, channels, 801, channels, taps, bias=False))
    for batch in (1, 64):
        cases.append(_case("ecapa_tdnn/layer0", batch, 80, 301, 1024, 5, activation="relu"))
        cases.append(
            _case("ecapa_tdnn/res2net", batch, 128, 301, 128, 3, dilation=3, activation="relu")
        )
        cases.append(_case("ecapa_tdnn/mfa", batch, 3072, 301, 1536))
        cases.append(_case("xvector/frame2", batch, 512, 296, 512, 3, dilation=2, padding=0))
    return cases


def _sequence_models() -> list[Case]:
    """Causal depthwise convolutions: Mamba, Griffin, Hyena."""
    nets = (
        ("mamba_130m", 1536, 4, ((1, 2048), (8, 2048), (64, 511))),
        ("mamba_790m", 3072, 4, ((1, 4096), (8, 1023))),
        ("mamba_2_8b", 5120, 4, ((1, 2048), (2, 8191))),
        ("mamba2_1_3b", 4352, 4, ((1, 2048), (16, 1000))),
        ("griffin_2b", 2560, 4, ((1, 2048), (8, 2047))),
        ("hyena_150m", 2304, 3, ((1, 8192), (4, 2048))),
        ("lru_small", 256, 7, ((256, 128), (1, 16384))),
        ("gated_delta", 2048, 2, ((1, 4096), (32, 255))),
    )
    return [
        _case(
            f"{net}/conv1d", batch, channels, length, channels, taps,
            padding=taps - 1, groups=channels, activation="silu" if "mamba" in net else None,
        )
        for net, channels, taps, sizes in nets
        for batch, length in sizes
    ]  # fmt: skip


def _signals() -> list[Case]:
    """ECG, EEG and raw-waveform classifiers."""
    layers = (
        ("ecg_ribeiro/stem", 12, 64, 17, 1, ((1, 4096), (64, 4096))),
        ("ecg_ribeiro/block1", 64, 128, 17, 4, ((1, 4096), (64, 4096))),
        ("ecg_ribeiro/block3", 196, 256, 17, 4, ((64, 256),)),
        ("ecg_hannun/stem", 1, 32, 16, 1, ((1, 8960), (128, 2560))),
        ("ecg_hannun/block", 64, 64, 16, 1, ((128, 640),)),
        ("xresnet1d101/stem", 12, 32, 5, 2, ((1, 1000), (128, 1000))),
        ("xresnet1d101/block", 64, 64, 5, 1, ((128, 250),)),
        ("resnet1d_wang/stem", 12, 128, 7, 1, ((1, 1000), (256, 1000))),
        ("inception_time/k39", 32, 32, 39, 1, ((1, 512), (64, 1001))),
        ("inception_time/k9", 32, 32, 9, 1, ((64, 1001),)),
        ("inception_time/bottleneck", 128, 32, 1, 1, ((64, 1001),)),
        ("m5/conv1", 1, 128, 80, 4, ((1, 32000), (128, 8000))),
        ("m5/conv2", 128, 128, 3, 1, ((128, 497),)),
        ("sincnet/sinc", 1, 80, 251, 1, ((1, 3200), (128, 3200))),
        ("tcn_eeg/block", 64, 64, 7, 1, ((256, 333),)),
        ("text_cnn/k5", 300, 100, 5, 1, ((50, 61), (256, 33))),
    )
    return [
        _case(problem, batch, channels, length, out, taps, stride)
        for problem, channels, out, taps, stride, sizes in layers
        for batch, length in sizes
    ]


def _genomics() -> list[Case]:
    layers = (
        ("deepsea/conv1", 4, 320, 8, 1, ((1, 1000), (128, 1000))),
        ("deepsea/conv2", 320, 480, 8, 1, ((128, 248),)),
        ("basset/conv1", 4, 300, 19, 1, ((1, 600), (256, 600))),
        ("basset/conv2", 300, 200, 11, 1, ((256, 200),)),
        ("basenji2/stem", 4, 288, 15, 1, ((1, 131072), (4, 131072))),
        ("basenji2/tower2", 339, 399, 5, 1, ((4, 32768),)),
        ("basenji2/dilated4", 768, 384, 3, 4, ((4, 1024),)),
        ("basenji2/dilated64", 768, 384, 3, 64, ((4, 1024),)),
        ("enformer/stem", 4, 768, 15, 1, ((1, 196608),)),
        ("enformer/stem_pointwise", 768, 768, 1, 1, ((1, 196608),)),
        ("enformer/tower1", 768, 896, 5, 1, ((1, 49152),)),
        ("enformer/final", 1536, 3072, 1, 1, ((1, 896),)),
        ("bpnet/stem", 4, 64, 25, 1, ((64, 1000), (1, 2114))),
        ("bpnet/dilated16", 64, 64, 3, 16, ((64, 1000),)),
        ("bpnet/dilated512", 64, 64, 3, 512, ((64, 2114),)),
        ("spliceai/block1", 32, 32, 11, 1, ((1, 15000), (16, 15000))),
        ("spliceai/block4", 32, 32, 41, 25, ((16, 15000),)),
    )
    return [
        _case(problem, batch, channels, length, out, taps, dilation=dilation)
        for problem, channels, out, taps, dilation, sizes in layers
        for batch, length in sizes
    ]


def _unets() -> list[Case]:
    """1-D diffusion nets and source separation."""
    layers = (
        ("diffuser/down1", 32, 64, 5, 1, ((64, 128), (256, 32))),
        ("diffuser/mid", 256, 256, 5, 1, ((64, 16), (256, 4))),
        ("diffusion_policy/down1", 256, 512, 5, 1, ((1, 16), (256, 16))),
        ("diffusion_policy/mid", 1024, 1024, 5, 1, ((1, 4), (256, 4))),
        ("diffusion_policy/downsample", 512, 512, 3, 2, ((256, 8),)),
        ("audio_diffusion/block256", 256, 256, 3, 1, ((1, 4096), (16, 4096))),
        ("audio_diffusion/block1024", 1024, 1024, 3, 1, ((16, 257),)),
        ("wave_unet/down3", 48, 72, 15, 1, ((1, 16384), (16, 4096))),
        ("wave_unet/up2", 120, 48, 5, 1, ((16, 8192),)),
    )
    cases = [
        _case(problem, batch, channels, length, out, taps, stride)
        for problem, channels, out, taps, stride, sizes in layers
        for batch, length in sizes
    ]
    encoders = (
        (
            "htdemucs",
            ((2, 48, 343980), (48, 96, 85995), (96, 192, 21499), (192, 384, 5375)),
            (1, 4),
        ),
        (
            "denoiser48",
            ((1, 48, 63828), (48, 96, 15956), (96, 192, 3988), (192, 384, 996)),
            (1, 64),
        ),
    )
    for net, steps, batches in encoders:
        for batch in batches:
            for index, (channels, out, length) in enumerate(steps):
                cases.append(
                    _case(
                        f"{net}/encoder.{index}",
                        batch,
                        channels,
                        length,
                        out,
                        8,
                        4,
                        padding=2,
                        activation="gelu" if net == "htdemucs" else "relu",
                    )
                )
            cases.append(
                _case(f"{net}/rewrite", batch, steps[-1][1], steps[-1][2] // 4, 2 * steps[-1][1])
            )
    for batch in (1, 4):
        cases.append(
            _case("conv_tasnet/encoder", batch, 1, 32000, 512, 16, 8, padding=0, bias=False)
        )
        cases.append(_case("conv_tasnet/bottleneck", batch, 512, 3999, 128))
        cases.append(_case("conv_tasnet/pointwise", batch, 128, 3999, 512))
        for dilation in (1, 16, 128):
            cases.append(
                _case(
                    f"conv_tasnet/depthwise{dilation}",
                    batch,
                    512,
                    3999,
                    512,
                    3,
                    dilation=dilation,
                    groups=512,
                )
            )
    return cases


def _codecs() -> list[Case]:
    """EnCodec and DAC encoders: residual units, and downsampling with kernels of two strides."""
    cases = []
    for net, first, strides, taps, dilations, samples in (
        ("encodec_24khz", 32, (2, 4, 5, 8), 3, (1,), ((1, 24000), (16, 24001))),
        ("dac_44khz", 64, (2, 4, 8, 8), 7, (1, 9), ((1, 44100), (8, 16757))),
    ):
        for batch, length in samples:
            cases.append(_case(f"{net}/stem", batch, 1, length, first, 7))
            channels = first
            for stride in strides:
                for dilation in dilations:
                    cases.append(
                        _case(
                            f"{net}/unit{channels}.d{dilation}",
                            batch,
                            channels,
                            length,
                            channels,
                            taps,
                            dilation=dilation,
                        )
                    )
                down = _case(
                    f"{net}/down{channels}",
                    batch,
                    channels,
                    length,
                    2 * channels,
                    2 * stride,
                    stride,
                    padding=(stride + 1) // 2,
                )
                cases.append(down)
                channels, length = 2 * channels, down.output_shape[2]
    return cases


def _point_clouds() -> list[Case]:
    return [
        _case(f"pointnet/mlp{out}", batch, channels, 1024 if batch > 1 else 4097, out)
        for channels, out in ((3, 64), (64, 128), (128, 1024))
        for batch in (1, 32)
    ]


GRID = (
    *_vocoders(),
    *_wavenets(),
    *_speech_synthesis(),
    *_speech_encoders(),
    *_sequence_models(),
    *_signals(),
    *_genomics(),
    *_unets(),
    *_codecs(),
    *_point_clouds(),
)

# Where torch.compile is measured too: chosen once, at even steps in the order of the floors.
COMPILED = (
    ("conformer512/pointwise1", "1x512x251 -> 1024, k1 bias"),
    ("hifigan_v1/resblock64.k7", "1x64x21888 -> 64, k7 p9 d3 bias"),
    ("diffwave/dilated32", "1x64x66150 -> 128, k3 p32 d32 bias"),
    ("wave_unet/up2", "16x120x8192 -> 48, k5 p2 bias"),
    ("mamba_130m/conv1d", "64x1536x511 -> 1536, k4 p3 g1536 bias silu"),
)
