# Every stage image, by the build argument STAGE:
#
#   docker build -f docker/stage.Dockerfile --build-arg STAGE=train -t customer-segmentation/train .
#
# docker-bake.hcl builds all of them in one command. The libraries are in layers that the images share, each a
# dependency group of pyproject.toml on top of the previous one: table (pandas), learning (scikit-learn), the stage's own.
# The frontend that is built into older engines suffices: no syntax line, no heredocs, no COPY --link.
ARG BASE_IMAGE=python:3.13-slim-trixie
# The layer to start from: "table" for a stage without scikit-learn, "bare" for one without pandas, too (list_stages.py).
ARG FOUNDATION=learning

# uv installs the libraries and is not part of the images. Its version is that of pyproject.toml.
FROM ${BASE_IMAGE} AS uv
RUN --mount=type=bind,source=pyproject.toml,target=/tmp/pyproject.toml \
    --mount=type=cache,target=/root/.cache \
    python3 -m venv /uv \
    && /uv/bin/pip install --quiet --disable-pip-version-check \
        "uv$(sed -n 's/^required-version = "\(.*\)"$/\1/p' /tmp/pyproject.toml)"

FROM ${BASE_IMAGE} AS bare
ENV PATH=/opt/venv/bin:$PATH

FROM bare AS table
RUN --mount=type=bind,from=uv,source=/uv/bin/uv,target=/uv \
    --mount=type=bind,source=pyproject.toml,target=/project/pyproject.toml \
    --mount=type=bind,source=uv.lock,target=/project/uv.lock \
    --mount=type=bind,source=docker/install-group.sh,target=/install-group.sh \
    --mount=type=cache,target=/root/.cache \
    sh /install-group.sh table

FROM table AS learning
RUN --mount=type=bind,from=uv,source=/uv/bin/uv,target=/uv \
    --mount=type=bind,source=pyproject.toml,target=/project/pyproject.toml \
    --mount=type=bind,source=uv.lock,target=/project/uv.lock \
    --mount=type=bind,source=docker/install-group.sh,target=/install-group.sh \
    --mount=type=cache,target=/root/.cache \
    sh /install-group.sh learning

# The code in one layer, compiled; readable by every user, whatever the checkout's umask was.
FROM ${BASE_IMAGE} AS code
ARG STAGE
WORKDIR /app
COPY stagekit stagekit
COPY services/__init__.py services/pipelin[e].py services/
# A pipeline need not have a folder with what its stages share.
COPY services/contrac[t] services/contract/
COPY services/${STAGE} services/${STAGE}
# What runs inside Airflow stays out of the images of the stages.
RUN rm -r stagekit/airflow \
    && printf '#!/bin/sh\nexec python3 -m services.%s "$@"\n' "$STAGE" >entrypoint \
    && chmod -R a+rX . && chmod a+x entrypoint \
    && python3 -m compileall -q --invalidation-mode unchecked-hash stagekit services

# The image with Dask (docker-bake.hcl's target "cluster"): for the scheduler, its workers, and the stages that use them.
FROM learning AS cluster
RUN --mount=type=bind,from=uv,source=/uv/bin/uv,target=/uv \
    --mount=type=bind,source=pyproject.toml,target=/project/pyproject.toml \
    --mount=type=bind,source=uv.lock,target=/project/uv.lock \
    --mount=type=bind,source=docker/install-group.sh,target=/install-group.sh \
    --mount=type=cache,target=/root/.cache \
    sh /install-group.sh cluster \
    && install -d -o 50000 -g 0 -m 2775 /shared
WORKDIR /app
COPY stagekit stagekit
COPY services services
RUN chmod -R a+rX . && python3 -m compileall -q --invalidation-mode unchecked-hash stagekit services
ENV PIPELINE_VOLUME=/shared HOME=/tmp PYTHONPATH=/app PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
# A stage whose workers are all gone would wait for others forever.
ENV DASK_DISTRIBUTED__SCHEDULER__NO_WORKERS_TIMEOUT="5 minutes"
# Threads that spin while they wait become very slow if other processes use the same cores.
ENV OMP_WAIT_POLICY=passive
USER 50000:0
ARG PIPELINE
ARG VERSION=unknown
ARG REVISION=unknown
ENV PIPELINE_IMAGE=${PIPELINE}/cluster:${VERSION}+${REVISION}
LABEL org.opencontainers.image.title="${PIPELINE}/cluster" \
      org.opencontainers.image.description="${PIPELINE}: the stages on a Dask cluster" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="Apache-2.0"

FROM ${FOUNDATION}
ARG PIPELINE
ARG STAGE
RUN --mount=type=bind,from=uv,source=/uv/bin/uv,target=/uv \
    --mount=type=bind,source=pyproject.toml,target=/project/pyproject.toml \
    --mount=type=bind,source=uv.lock,target=/project/uv.lock \
    --mount=type=bind,source=docker/install-group.sh,target=/install-group.sh \
    --mount=type=cache,target=/root/.cache \
    sh /install-group.sh "$STAGE" \
    # A named volume takes over the owner and mode of the folder that it is first mounted on.
    && install -d -o 50000 -g 0 -m 2775 /shared
WORKDIR /app
COPY --from=code /app ./
# HOME: some libraries look for a configuration there, and only /tmp is writable in a hardened container.
ENV PIPELINE_VOLUME=/shared HOME=/tmp PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 50000:0
ENTRYPOINT ["/app/entrypoint"]

ARG VERSION=unknown
ARG REVISION=unknown
# For the manifest of what the stage writes; Airflow gives the image's digest instead.
ENV PIPELINE_IMAGE=${PIPELINE}/${STAGE}:${VERSION}+${REVISION}
LABEL org.opencontainers.image.title="${PIPELINE}/${STAGE}" \
      org.opencontainers.image.description="${PIPELINE}: the stage ${STAGE}" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="Apache-2.0"
