"""Cases of ``add`` and ``gelu``: the reference problems, and the shapes of real nets."""

from kernelopt.benchmarking.cases import Case, add, gelu

SEEDS = (
    add("add 2^12", (1 << 12,)),
    add("add 2^12 broadcast", (64, 64), (64,)),
    add("add 2^20", (1 << 20,)),
    add("add 2^20 broadcast", (1024, 1024), (1024,)),
    add("add 2^28", (1 << 28,)),
    add("add 2^28 broadcast", (16384, 16384), (16384,)),
    gelu("26", (4096, 393216)),
    gelu("88", (8192, 8192), "gelu_tanh", written_out=True),
)

# net, GELU form, width of the MLP's hidden layer, heads, (batch, tokens) pairs
_TRANSFORMERS = (
    ("bert_base", "gelu", 3072, 12, ((1, 128), (8, 512), (32, 384), (256, 77))),
    ("bert_large", "gelu", 4096, 16, ((1, 384), (16, 512))),
    ("gpt2", "gelu_tanh", 3072, 12, ((1, 1024), (8, 1024), (32, 333))),
    ("gpt2_xl", "gelu_tanh", 6400, 25, ((1, 1024), (4, 1023))),
    ("t5_v1_1_base", "gelu_tanh", 2048, 12, ((8, 512), (64, 128))),
    ("gemma_2b", "gelu_tanh", 16384, 8, ((1, 2048), (2, 1537))),
    ("whisper_small", "gelu", 3072, 12, ((1, 1500), (16, 1500))),
    ("wav2vec2_base", "gelu", 3072, 12, ((1, 499), (8, 1249))),
    ("vit_b16", "gelu", 3072, 12, ((1, 197), (256, 197))),
    ("vit_l14", "gelu", 4096, 16, ((1, 257), (32, 257))),
    ("dit_xl2", "gelu_tanh", 4608, 16, ((2, 256), (16, 1024))),
    ("esm2_650m", "gelu", 5120, 20, ((1, 1022), (8, 511))),
)

# net, channels and side of the residual sums, batches
_VISION = (
    ("resnet50", ((256, 56), (512, 28), (1024, 14), (2048, 7)), (1, 32, 256)),
    ("mobilenet_v2", ((24, 56), (32, 28), (64, 14), (96, 14), (160, 7)), (1, 64)),
    ("efficientnet_b0", ((24, 56), (40, 28), (80, 14), (112, 14), (192, 7)), (1, 128)),
    ("xception", ((128, 74), (256, 37), (728, 19), (1024, 10)), (1, 32)),
)

# net, channels and side of the MLP's hidden layer (4 C), batches
_CONVNEXT = (
    ("convnext_tiny", ((384, 56), (768, 28), (1536, 14), (3072, 7)), (1, 64)),
    ("convnext_base", ((512, 56), (1024, 28), (2048, 14), (4096, 7)), (1, 32)),
)

# net, (channels, length) of the layers whose output goes through GELU or gets a conditioning vector
_AUDIO = (
    ("wav2vec2", ((512, 3199), (512, 1599), (512, 799), (512, 399)), (1, 8)),
    ("htdemucs", ((48, 85995), (96, 21499), (192, 5375), (384, 1344)), (1, 4)),
    ("wavenet", ((64, 16000), (128, 8191)), (1, 8)),
    ("diffusion_1d", ((256, 128), (512, 64), (1024, 33)), (16, 64)),
)


def _transformers() -> list[Case]:
    cases = []
    for net, form, hidden, heads, sizes in _TRANSFORMERS:
        width = heads * 64
        for batch, tokens in sizes:
            stream = (batch, tokens, width)
            scores = (min(batch, 8), heads, tokens, tokens)
            cases += [
                gelu(f"{net}/mlp", (batch, tokens, hidden), form),
                add(f"{net}/residual", stream),
                add(f"{net}/position", stream, (1, tokens, width)),
                add(f"{net}/mask", scores, (scores[0], 1, 1, tokens)),
            ]
    return cases


def _vision() -> list[Case]:
    cases = []
    for net, stages, batches in _VISION:
        for batch in batches:
            for channels, side in stages:
                cases.append(add(f"{net}/residual{side}", (batch, channels, side, side)))
    for net, stages, batches in _CONVNEXT:
        for batch in batches:
            for channels, side in stages:
                cases.append(gelu(f"{net}/mlp{side}", (batch, side, side, channels)))
                cases.append(add(f"{net}/bias{side}", (batch, side, side, channels), (channels,)))
    return cases


def _audio() -> list[Case]:
    cases = []
    for net, layers, batches in _AUDIO:
        for batch in batches:
            for channels, length in layers:
                shape = (batch, channels, length)
                cases.append(gelu(f"{net}/conv{channels}", shape))
                cases.append(add(f"{net}/condition{channels}", shape, (batch, channels, 1)))
    return cases


def _attention_windows() -> list[Case]:
    return [
        add(f"swin_tiny/position_bias{heads}", (windows, heads, 49, 49), (heads, 49, 49))
        for heads, windows in ((3, 64), (3, 1024), (6, 256), (12, 64), (24, 16), (24, 256))
    ]


def _language_model_scale() -> list[Case]:
    return [
        add("llama_7b/residual", (batch, tokens, 4096))
        for batch, tokens in ((1, 1), (32, 1), (1, 4095))
    ] + [
        add(
            f"unet_2d/time_embedding{channels}",
            (batch, channels, side, side),
            (batch, channels, 1, 1),
        )
        for channels, side in ((320, 64), (640, 32), (1280, 16), (1280, 8))
        for batch in (1, 2, 16)
    ]


GRID = (*_transformers(), *_vision(), *_audio(), *_attention_windows(), *_language_model_scale())

# Where torch.compile is measured too: chosen once, at even steps in the order of the floors.
COMPILED = (
    ("unet_2d/time_embedding1280", "2x1280x16x16 + 2x1280x1x1"),
    ("wav2vec2/conv512", "8x512x3199 exact"),
)
