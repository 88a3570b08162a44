# Airflow with the docker provider, from the same lock as the stages, with the DAGs and the declaration of the pipeline of
# the same commit: all parts have the same version, and none reads the checkout.
ARG BASE_IMAGE=python:3.13-slim-trixie

FROM ${BASE_IMAGE} AS uv
RUN --mount=type=bind,source=pyproject.toml,target=/tmp/pyproject.toml \
    --mount=type=cache,target=/root/.cache \
    python3 -m venv /uv \
    && /uv/bin/pip install --quiet --disable-pip-version-check \
        "uv$(sed -n 's/^required-version = "\(.*\)"$/\1/p' /tmp/pyproject.toml)"

FROM ${BASE_IMAGE} AS code
WORKDIR /opt/airflow
COPY stagekit stagekit
COPY services/__init__.py services/pipelin[e].py services/
COPY services/contrac[t] services/contract/
COPY dags dags
COPY plugin[s] plugins/
RUN chmod -R a+rX . && python3 -m compileall -q --invalidation-mode unchecked-hash .

FROM ${BASE_IMAGE}
ENV PATH=/opt/venv/bin:$PATH
RUN --mount=type=bind,from=uv,source=/uv/bin/uv,target=/uv \
    --mount=type=bind,source=pyproject.toml,target=/project/pyproject.toml \
    --mount=type=bind,source=uv.lock,target=/project/uv.lock \
    --mount=type=bind,source=docker/install-group.sh,target=/install-group.sh \
    --mount=type=cache,target=/root/.cache \
    sh /install-group.sh airflow \
    && useradd --uid 50000 --gid 0 --home-dir /opt/airflow --no-create-home airflow \
    # A named volume takes over the owner and mode of the folder that it is first mounted on.
    && install -d -o airflow -g 0 -m 2775 /opt/airflow /opt/airflow/logs
WORKDIR /opt/airflow
COPY --from=code /opt/airflow ./
# PYTHONPATH: the DAGs import stagekit and services. HOME, LOGNAME: it may run as a user that the image does not know.
ENV AIRFLOW_HOME=/opt/airflow PYTHONPATH=/opt/airflow PYTHONUNBUFFERED=1 HOME=/opt/airflow LOGNAME=airflow
USER airflow
ENTRYPOINT ["airflow"]

ARG PIPELINE
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="${PIPELINE}/airflow" \
      org.opencontainers.image.description="${PIPELINE}: Airflow with the DAGs and the docker provider" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="Apache-2.0"
