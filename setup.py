"""Builds the one binary module, kernelopt/_C.so, on the LibTorch Stable ABI.

The module links no Python and only libtorch's stable C interface, so one file serves every CPython
>= 3.10 and every torch >= 2.10, with CUDA or without. Environment variables:

    CUDA_HOME             the CUDA toolkit; default: the one nvcc on PATH belongs to, else /usr/local/cuda
    TORCH_CUDA_ARCH_LIST  GPU architectures, as torch writes them; default: ARCHS below
    KERNELOPT_CUDA        "0": build the CPU part alone; "1": fail where there is no nvcc;
                          default: build the CUDA part where there is an nvcc
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

import torch
from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from torch.utils import cpp_extension

ROOT = Path(__file__).resolve().parent
# compute_103 is left out on purpose: code for it from nvcc 13 has given wrong results, and sm_100
# code runs there. The PTX serves what comes after.
ARCHS = "7.5;8.0;8.6;8.9;9.0a;10.0;12.0+PTX"
TORCH_TARGET = "0x020a000000000000"  # 2.10, the oldest torch with the stable interface used here


def cuda_home() -> Path | None:
    """The CUDA toolkit, or None where there is none or KERNELOPT_CUDA=0."""
    wanted = os.environ.get("KERNELOPT_CUDA", "")
    if wanted == "0":
        return None
    nvcc = shutil.which("nvcc")
    candidates = [
        os.environ.get("CUDA_HOME"),
        "/usr/local/cuda",
        nvcc and Path(nvcc).resolve().parents[1],
    ]
    for candidate in candidates:
        if candidate and (Path(candidate) / "bin" / "nvcc").exists():
            return Path(candidate)
    if wanted == "1":
        raise SystemExit("kernelopt: KERNELOPT_CUDA=1, but no nvcc: set CUDA_HOME to a CUDA toolkit")
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


def extension() -> Extension:
    home = cuda_home()
    version = cuda_version(home) if home else "none"
    archs = os.environ.setdefault("TORCH_CUDA_ARCH_LIST", ARCHS) if home else "none"
    torch_include = Path(torch.__file__).parent / "include"
    common = [
        "-O3",
        "-std=c++17",
        f"-DTORCH_TARGET_VERSION={TORCH_TARGET}",
        f"-DKERNELOPT_CUDA_VERSION={version}",
        f"-DKERNELOPT_CUDA_ARCHS={archs.replace(' ', ',').replace(';', ',')}",
        *(["-DUSE_CUDA"] if home else []),
    ]
    host = [
        "-fvisibility=hidden",
        "-fvisibility-inlines-hidden",
        # Error texts carry file names: they must not carry the build machine's folders.
        f"-ffile-prefix-map={ROOT}=.",
        f"-ffile-prefix-map={torch_include}=torch",
    ]
    # --no-as-needed: libtorch.so must stay among the needed libraries, for it is what makes the
    # weak symbols of common/torch_api.h resolve on a CUDA torch.
    link = ["-Wl,--no-as-needed", "-ltorch", "-ltorch_cpu", "-Wl,--as-needed"]
    link += ["-Wl,-z,defs", "-Wl,--exclude-libs,ALL", "-Wl,-s"]
    if home is None:
        print("kernelopt: no CUDA toolkit found, building the CPU part alone")
        result = cpp_extension.CppExtension(
            "kernelopt._C",
            sources(".cpp"),
            include_dirs=[str(ROOT / "csrc")],
            extra_compile_args={"cxx": [*common, "-Wall", *host]},
            extra_link_args=link,
            py_limited_api=True,
        )
        result.libraries = []
        return result

    print(f"kernelopt: building with CUDA {version} for {archs}")
    # torch finds no toolkit by itself where it is a CPU-only build.
    cpp_extension.CUDA_HOME = str(home)
    major, minor = map(int, version.split("."))
    result = cpp_extension.CUDAExtension(
        "kernelopt._C",
        sources(".cpp", ".cu"),
        include_dirs=[str(ROOT / "csrc")],
        extra_compile_args={
            "cxx": [*common, "-Wall", *host],
            "nvcc": [
                *common,
                "-Xcompiler=" + ",".join(["-Wall", *host]),
                "--expt-relaxed-constexpr",
                # BuildExtension switches the 16-bit conversions and operators off.
                "-U__CUDA_NO_HALF_OPERATORS__",
                "-U__CUDA_NO_HALF_CONVERSIONS__",
                "-U__CUDA_NO_HALF2_OPERATORS__",
                "-U__CUDA_NO_BFLOAT16_CONVERSIONS__",
                *(["--compress-mode=size"] if (major, minor) >= (12, 8) else []),
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

    def build_extensions(self) -> None:
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
