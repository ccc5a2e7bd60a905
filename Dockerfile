# The command neuromfa in a CUDA 13 image:
#
#     docker build --tag neuromfa .
#     docker run --rm --gpus all --volume "$PWD:/data:ro" neuromfa analyse /data/checkpoint
#
# Without `--gpus all` everything runs on the processor. Kernels for GPUs are compiled at their first
# use; `--volume neuromfa-cache:/var/cache/neuromfa` keeps them from one run to the next.
# torch is not included: checkpoints are read without it, except pickles.

# The wheel is built in one stage and installed, with nothing else of the sources, in the next.
FROM nvidia/cuda:13.0.2-runtime-ubuntu24.04 AS build
# Ubuntu keeps only the newest build of a package, so a pinned version would soon be gone.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*
COPY pyproject.toml README.md LICENSE /source/
COPY engine /source/engine
COPY kernels /source/kernels
RUN python3 -m venv /build \
    && /build/bin/python -m pip --no-cache-dir wheel --no-deps --wheel-dir /wheels /source

FROM nvidia/cuda:13.0.2-runtime-ubuntu24.04
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3 python3-venv \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --create-home neuromfa \
    && install --directory --owner=10001 /var/cache/neuromfa
COPY --from=build /wheels /wheels
RUN python3 -m venv /opt/neuromfa \
    && /opt/neuromfa/bin/python -m pip --no-cache-dir install "$(echo /wheels/neuromfa-*.whl)[gpu]"
ENV PATH=/opt/neuromfa/bin:$PATH \
    CUPY_CACHE_DIR=/var/cache/neuromfa \
    NUMBA_CACHE_DIR=/var/cache/neuromfa
USER 10001
WORKDIR /data
# The first check compiles the kernels.
HEALTHCHECK --interval=5m --timeout=60s --start-period=60s CMD ["neuromfa", "doctor"]
ENTRYPOINT ["neuromfa"]
