# Builds the wheel, tests it on a CPU-only machine, and leaves it in dist/:
#
#     docker build --output dist .
#
# pip's own settings (PIP_INDEX_URL, PIP_EXTRA_INDEX_URL, ...) pass through as --build-arg; with an
# index of CPU builds of torch the image stays small.
ARG PYTHON=3.12

FROM quay.io/pypa/manylinux_2_28_x86_64 AS build
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG TORCH=torch==2.13.0
ARG TORCH_CUDA_ARCH_LIST
ENV PATH=/opt/python/cp312-cp312/bin:$PATH \
    KERNELOPT_CUDA=1 \
    CUDA_HOME=/opt/cuda/nvidia/cu13
# The toolkit: crt and nvvm must be of nvcc's version.
RUN pip install --no-cache-dir --target /opt/cuda "cuda-toolkit[nvcc,crt,nvvm,cudart,cccl]==13.0.2"
RUN pip install --no-cache-dir "$TORCH" numpy "setuptools>=77" wheel ninja auditwheel
WORKDIR /src
COPY . .
RUN pip wheel --no-deps --no-build-isolation --wheel-dir /tmp/dist . \
 && auditwheel repair --plat manylinux_2_28_x86_64 --only-plat --exclude "libtorch*" \
      --wheel-dir /dist /tmp/dist/*.whl \
 && python tools/check_wheel.py /dist/*.whl

FROM python:${PYTHON}-slim AS test
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG TORCH=torch==2.13.0
# The compiler is torch's: Inductor, which some tests go through, needs one.
RUN apt-get update && apt-get install --yes --no-install-recommends g++ && rm -rf /var/lib/apt/lists/*
COPY --from=build /dist /dist
RUN pip install --no-cache-dir "$TORCH" && pip install --no-cache-dir "$(echo /dist/*.whl)[test]"
WORKDIR /src
COPY . .
RUN python -m kernelopt selftest && OMP_NUM_THREADS=1 python -m pytest -n 2

FROM scratch
COPY --from=test /dist /
