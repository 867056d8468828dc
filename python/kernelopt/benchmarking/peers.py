"""The steps of measuring one case: kernelopt, its peers, the errors and the path."""

from __future__ import annotations

from collections.abc import Sequence

from .cases import Case

EAGER = "eager"
CUDNN_BENCHMARK = "eager_cudnn_benchmark"
CHANNELS_LAST = "eager_channels_last"
COMPILE = "compile"
MAX_AUTOTUNE = "compile_max_autotune"
EAGER_PEERS = (EAGER, CUDNN_BENCHMARK, CHANNELS_LAST)
PEERS = (*EAGER_PEERS, COMPILE, MAX_AUTOTUNE)

KERNELOPT = "kernelopt"
# kernelopt under the setting of the peer CUDNN_BENCHMARK, which changes what ATen's path takes.
KERNELOPT_CUDNN_BENCHMARK = "kernelopt_cudnn_benchmark"
ERROR = "error"
EAGER_ERROR = "eager_error"
PATH = "path"
ATEN = "aten"  # the path where no kernel of kernelopt's is the longest
OVERHEAD = "overhead"

# Seconds a step may take before its worker is given up.
STEP_LIMITS = {"start": 240.0, "environment": 180.0, COMPILE: 180.0, MAX_AUTOTUNE: 300.0}
STEP_LIMIT = 90.0


def step_limit(step: str, given: float | None) -> float:
    """The limit of a step; ``given`` replaces that of all but the start of a worker."""
    if given is not None and step != "start":
        return given
    return STEP_LIMITS.get(step, STEP_LIMIT)


# Peers measured in rounds of their own, each in a fresh process: cuDNN keeps one plan for a
# convolution, whether a benchmark or its heuristic chose it, so the two must not share a process.
# The compiled peers come last because they cost most: when the time is up, it is they that miss.
ROUNDS = ("base", CUDNN_BENCHMARK, COMPILE, MAX_AUTOTUNE)


def serves(step: str, chosen: Sequence[str]) -> bool:
    """Whether a step is to be taken where these peers are chosen."""
    peer = CUDNN_BENCHMARK if step == KERNELOPT_CUDNN_BENCHMARK else step
    return peer not in PEERS or peer in chosen


def steps_of_round(name: str, case: Case, device_type: str, compiled: bool) -> list[str]:
    """The steps that a case takes in a round; ``compiled``: torch.compile is measured on it."""
    convolution = case.op not in ("add", "gelu")
    if name == CUDNN_BENCHMARK:
        return [name, KERNELOPT_CUDNN_BENCHMARK] if convolution and device_type == "cuda" else []
    if name in (COMPILE, MAX_AUTOTUNE):
        return [name] if compiled else []
    steps = [KERNELOPT, EAGER]
    if convolution and len(case.shape) == 4 and not case.channels_last:
        steps.append(CHANNELS_LAST)
    return [*steps, ERROR, EAGER_ERROR, PATH]
