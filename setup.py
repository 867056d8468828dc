"""Builds the one binary module, kernelopt/_C.so, on the LibTorch Stable ABI.

The module links no Python and only libtorch's stable C interface, so one file serves every CPython
>= 3.10 and every torch >= 2.10, with CUDA or without. Environment variables:

    CUDA_HOME             the CUDA toolkit, 13.0 or newer; default: that of the nvcc on PATH, else
                          /usr/local/cuda
    TORCH_CUDA_ARCH_LIST  GPU architectures, as torch writes them; default: ARCHS below
    KERNELOPT_CUDA        "0": build the CPU part alone; "1": fail where there is no CUDA toolkit;
                          default: build the CUDA part where there is a toolkit
    MAX_JOBS              compilers at a time; default: as many as there are cores

Objects are kept in build/, one folder for each toolkit and architecture list, so every way of
building (in place, editable, wheel) compiles only what changed.
"""

import functools
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import torch
from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from torch.utils import cpp_extension

ROOT = Path(__file__).resolve().parent
# compute_103 is left out on purpose: code for it from nvcc 13 has given wrong results, and sm_100
# code runs there. The PTX serves what comes after.
ARCHS = "7.5;8.0;8.6;8.9;9.0a;10.0;12.0+PTX"
OLDEST_CUDA = (13, 0)
TORCH_TARGET = "0x020a000000000000"  # 2.10, the oldest torch with the stable interface used here


def cuda_home() -> Path | None:
    """The CUDA toolkit, or None where there is none or KERNELOPT_CUDA=0."""
    wanted = os.environ.get("KERNELOPT_CUDA", "")
    if wanted == "0":
        return None
    nvcc = shutil.which("nvcc")
    candidates = [
        os.environ.get("CUDA_HOME"),
        nvcc and Path(nvcc).resolve().parents[1],
        "/usr/local/cuda",
    ]
    for candidate in candidates:
        home = Path(candidate or "/nonexistent")
        # The header as well: the nvcc on PATH may be a script outside its toolkit.
        if (home / "bin" / "nvcc").exists() and (home / "include" / "cuda_runtime.h").exists():
            return home
    if wanted == "1":
        raise SystemExit("kernelopt: KERNELOPT_CUDA=1, but no CUDA toolkit: set CUDA_HOME to one")
    return None


def cuda_version(home: Path) -> str:
    """The toolkit's version, "13.0"."""
    text = subprocess.check_output([home / "bin" / "nvcc", "--version"], text=True)
    match = re.search(r"release (\d+\.\d+)", text)
    assert match, text
    return match[1]


def sources(*suffixes: str) -> list[str]:
    return sorted(
        str(path.relative_to(ROOT))
        for path in (ROOT / "csrc").rglob("*")
        if path.suffix in suffixes
    )


class Configuration(NamedTuple):
    """What is built; without a CUDA part, version and archs are "none"."""

    home: Path | None
    version: str
    archs: str  # comma-separated

    @property
    def objects(self) -> str:
        """The folder of its object files."""
        name = f"cuda{self.version}-{self.archs}" if self.home else "cpu"
        return str(ROOT / "build" / name.replace(",", "_"))


@functools.lru_cache(maxsize=1)
def configuration() -> Configuration:
    home = cuda_home()
    if home is None:
        print("kernelopt: building the CPU part alone")
        return Configuration(None, "none", "none")
    version = cuda_version(home)
    if tuple(map(int, version.split("."))) < OLDEST_CUDA:
        raise SystemExit(
            f"kernelopt: CUDA {version} in {home} is too old: set CUDA_HOME to a toolkit of "
            "{}.{} or newer, or KERNELOPT_CUDA=0 for the CPU part alone".format(*OLDEST_CUDA)
        )
    archs = ",".join(re.split("[; ,]+", os.environ.get("TORCH_CUDA_ARCH_LIST") or ARCHS))
    print(f"kernelopt: building with CUDA {version} for {archs}")
    return Configuration(home, version, archs)


def extension() -> Extension:
    home, version, archs = configuration()
    torch_include = Path(torch.__file__).parent / "include"
    common = [
        "-O3",
        "-std=c++17",
        f"-DTORCH_TARGET_VERSION={TORCH_TARGET}",
        *(["-DUSE_CUDA"] if home else []),
    ]
    # Not for nvcc, which takes the commas of a -D to separate macros.
    build_info = [f"-DKERNELOPT_CUDA_VERSION={version}", f"-DKERNELOPT_CUDA_ARCHS={archs}"]
    host = [
        "-fvisibility=hidden",
        "-fvisibility-inlines-hidden",
        # Error texts carry file names: they must not carry the build machine's folders.
        f"-ffile-prefix-map={ROOT}=.",
        f"-ffile-prefix-map={torch_include}=torch",
    ]
    # Nobody reads the floating-point exception flags, and for their sake the compiler makes no
    # vectors of loops that choose between two values.
    cxx = [*common, *build_info, "-Wall", *host, "-fno-trapping-math"]
    # --no-as-needed: libtorch.so must stay among the needed libraries, for it is what makes the
    # weak symbols of common/torch_api.h resolve on a CUDA torch.
    link = ["-Wl,--no-as-needed", "-ltorch", "-ltorch_cpu", "-Wl,--as-needed"]
    link += ["-Wl,-z,defs", "-Wl,--exclude-libs,ALL", "-Wl,-s"]
    if home is None:
        result = cpp_extension.CppExtension(
            "kernelopt._C",
            sources(".cpp"),
            include_dirs=[str(ROOT / "csrc")],
            extra_compile_args={"cxx": cxx},
            extra_link_args=link,
            py_limited_api=True,
        )
        result.libraries = []
        return result

    # torch, where it is a CPU-only build, finds no toolkit and no architecture by itself.
    cpp_extension.CUDA_HOME = str(home)
    # Nothing of torch's CUDA is linked, so its version need not be the toolkit's, as torch asks of
    # an extension; and without one torch writes no header dependencies for .cu files, and an
    # incremental build would miss a changed kernel header.
    torch.version.cuda = version
    os.environ["TORCH_CUDA_ARCH_LIST"] = archs.replace(",", ";")
    # The last files to compile are the large ones: their architectures side by side then.
    threads = min(len(archs.split(",")), len(os.sched_getaffinity(0)) // 4)
    result = cpp_extension.CUDAExtension(
        "kernelopt._C",
        sources(".cpp", ".cu"),
        include_dirs=[str(ROOT / "csrc")],
        extra_compile_args={
            "cxx": cxx,
            "nvcc": [
                *common,
                *(["-DKERNELOPT_SM90A"] if "9.0a" in archs.split(",") else []),
                "-Xcompiler=" + ",".join(["-Wall", *host]),
                "--expt-relaxed-constexpr",
                # BuildExtension switches the 16-bit conversions and operators off.
                "-U__CUDA_NO_HALF_OPERATORS__",
                "-U__CUDA_NO_HALF_CONVERSIONS__",
                "-U__CUDA_NO_HALF2_OPERATORS__",
                "-U__CUDA_NO_BFLOAT16_CONVERSIONS__",
                *([f"--threads={threads}"] if threads > 1 else []),
                "--compress-mode=size",
            ],
        },
        extra_link_args=link,
        py_limited_api=True,
    )
    # Neither torch's C++ libraries nor a shared CUDA runtime: those tie a wheel to one version.
    result.libraries = ["cudart_static", "rt", "pthread", "dl"]
    result.library_dirs += [str(path) for path in (home / "lib64", home / "lib") if path.exists()]
    return result


class BuildExtension(cpp_extension.BuildExtension):
    def get_ext_filename(self, fullname: str) -> str:
        return os.path.join(*fullname.split(".")) + ".so"  # no Python ABI in the name

    def finalize_options(self) -> None:
        super().finalize_options()
        self.build_temp = configuration().objects

    def build_extensions(self) -> None:
        compiler = os.environ.get("CXX", "c++")
        if shutil.which(compiler) is None:
            raise SystemExit(
                f"kernelopt: no C++ compiler: {compiler!r} is not on PATH; install one "
                "(Debian, Ubuntu: apt-get install g++) or name one in CXX"
            )
        os.environ.setdefault("MAX_JOBS", str(len(os.sched_getaffinity(0))))
        # A Python built with its own -rpath would leave that folder's name in the module.
        for name in ("linker_so", "linker_so_cxx"):
            command = getattr(self.compiler, name, None)
            if command:
                kept = [word for word in command if not word.startswith("-Wl,-rpath")]
                setattr(self.compiler, name, kept)
        super().build_extensions()


class UniversalWheel(bdist_wheel):
    def get_tag(self) -> tuple[str, str, str]:
        return "py3", "none", super().get_tag()[2]  # any CPython: the module uses no symbol of it


setup(
    ext_modules=[extension()],
    cmdclass={"build_ext": BuildExtension, "bdist_wheel": UniversalWheel},
)
