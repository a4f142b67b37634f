# The service: a bundle behind HTTP. No torch, no compiler, no model inside; docker/README.md says how to run it.
#
# Needs BuildKit (`DOCKER_BUILDKIT=1` before Docker 23). No `# syntax=` line: nothing but BASE is pulled.

# Any Debian-like image with Python 3.11 as python3, and pip. For a build that can be repeated, name it by digest.
ARG BASE=python:3.11-slim-bookworm
# An image whose root holds wheels, for machines that reach no registry; `scratch` is an empty one.
ARG WHEELS=scratch

FROM ${WHEELS} AS wheels

FROM ${BASE} AS build
# Any value adds the CUDA library that CTranslate2 loads for `float16` on a GPU (about 600 MB).
ARG CUDA=
RUN apt-get update \
    && apt-get install -y --no-install-recommends binutils \
    && rm -rf /var/lib/apt/lists/*
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY mtkd mtkd
COPY service service
# The secret `pip`, if given, is a pip.conf that names a private registry: it is in no layer.
RUN --mount=type=bind,from=wheels,target=/wheels \
    --mount=type=secret,id=pip,target=/etc/pip.conf \
    python3 -m venv --without-pip /opt/mtkd \
    && python3 -m pip --python /opt/mtkd/bin/python install --find-links /wheels -c constraints.txt \
        '.[serve]' ${CUDA:+nvidia-cublas-cu12}
# CTranslate2's wheel comes with 60 MB of debugging information.
RUN strip --strip-debug /opt/mtkd/lib/python3.11/site-packages/ctranslate2/_ext*.so

FROM ${BASE}
LABEL org.opencontainers.image.title="mtkd-serve" \
      org.opencontainers.image.description="Serves a distilled translation model over HTTP" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/mtkd /opt/mtkd
# A named volume takes over this folder's owner.
RUN install -d -o 10001 -g 10001 /data
ENV PATH=/opt/mtkd/bin:$PATH \
    LD_LIBRARY_PATH=/opt/mtkd/lib/python3.11/site-packages/nvidia/cublas/lib \
    PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 \
    HOME=/tmp \
    MTKD_HOST=0.0.0.0 MTKD_DATA=/data
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s \
    CMD ["mtkd", "healthcheck"]
ENTRYPOINT ["mtkd"]
CMD ["serve", "/models"]
