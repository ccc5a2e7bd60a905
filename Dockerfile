# The wheel is built in one stage and installed, with nothing else of the sources, in the next.
# CUDA's runtime is there for the kernels to come; this version counts on the processor.
FROM nvidia/cuda:13.0.1-runtime-ubuntu24.04 AS build
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*
COPY . /source
RUN python3 -m venv /build \
    && /build/bin/python -m pip --no-cache-dir wheel --no-deps --wheel-dir /wheels /source

FROM nvidia/cuda:13.0.1-runtime-ubuntu24.04
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3 python3-venv \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home neuromfa
COPY --from=build /wheels /wheels
RUN python3 -m venv /opt/neuromfa \
    && /opt/neuromfa/bin/python -m pip --no-cache-dir install /wheels/*.whl
USER neuromfa
WORKDIR /home/neuromfa
HEALTHCHECK CMD ["/opt/neuromfa/bin/neuromfa", "doctor"]
ENTRYPOINT ["/opt/neuromfa/bin/neuromfa"]
