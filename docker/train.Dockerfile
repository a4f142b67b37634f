# The command line: training on CPUs or an NVIDIA GPU, from text to bundle; docker/README.md says how to run it.
#
# Needs BuildKit (`DOCKER_BUILDKIT=1` before Docker 23). No `# syntax=` line: nothing but BASE is pulled.

# Any Debian-like image with Python 3.11 as python3, and pip. For a build that can be repeated, name it by digest.
ARG BASE=python:3.11-slim-bookworm
# An image whose root holds wheels, for machines that reach no registry or want another torch; `scratch` is empty.
ARG WHEELS=scratch

FROM ${WHEELS} AS wheels

FROM ${BASE} AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends g++ python3-dev \
    && rm -rf /var/lib/apt/lists/*
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
RUN python3 -m venv --without-pip /opt/mtkd
WORKDIR /src
COPY constraints.txt ./
# As in the Makefile: exactly one torch, in first; then fairseq, built against it without its own dependency list.
# The secret `pip`, if given, is a pip.conf that names a private registry: it is in no layer.
RUN --mount=type=bind,from=wheels,target=/wheels \
    --mount=type=secret,id=pip,target=/etc/pip.conf \
    python3 -m pip --python /opt/mtkd/bin/python install --find-links /wheels -c constraints.txt \
        torch numpy setuptools wheel cython
RUN --mount=type=bind,from=wheels,target=/wheels \
    --mount=type=secret,id=pip,target=/etc/pip.conf \
    python3 -m pip --python /opt/mtkd/bin/python install --find-links /wheels \
        --no-build-isolation --no-deps fairseq-fixed==0.12.3.1
COPY pyproject.toml README.md LICENSE ./
COPY mtkd mtkd
COPY service service
RUN --mount=type=bind,from=wheels,target=/wheels \
    --mount=type=secret,id=pip,target=/etc/pip.conf \
    python3 -m pip --python /opt/mtkd/bin/python install --find-links /wheels --no-warn-conflicts \
        -c constraints.txt '.[train,serve]'

FROM ${BASE}
LABEL org.opencontainers.image.title="mtkd-train" \
      org.opencontainers.image.description="Distils several translation models into one" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/mtkd /opt/mtkd
# USER is set because torch asks for a user's name, and the one a container runs as need not have any.
ENV PATH=/opt/mtkd/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 \
    HOME=/project USER=mtkd \
    MPLCONFIGDIR=/tmp/matplotlib
USER 10001:10001
WORKDIR /project
ENTRYPOINT ["mtkd"]
CMD ["--help"]
