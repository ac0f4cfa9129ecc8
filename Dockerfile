# The images of Candor, one target for each use. docs/how-to/container.md says how to build, run and check them.
#
#   docker build -t candor .                                   serving on CPUs: the default
#   docker build -t candor-gpu --target gpu .                  serving on NVIDIA GPUs
#   docker build -t candor-torchserve --target torchserve .    TorchServe with Candor's models
#   docker build -t candor-training --target training .        the commands that train and export
#
# All but torch comes from a lock with hashes (make lock). No image has pip or a compiler, and none needs root.
# `make pin-images` writes the newest digest of each base (docs/releases.md).
ARG PYTHON=python:3.13-slim@sha256:7c61056e61ac89e852de05f3dc6fa51a6dd2181797bceed46aa725dd7cb2cd3b
# TorchServe was never released for a later Python.
ARG TORCH_PYTHON=python:3.11-slim-trixie@sha256:45037981b62b34b44602584fccbc4d884d5f7dc92c7ee86bb38a698a79fe1e51
ARG CUDA=nvidia/cuda:13.0.2-cudnn-runtime-ubuntu24.04@sha256:14d94b039cb94bbd5da559f303b46bc4b0d5d6c24ab1a9d7b186e566ed3400dc

# ---- what all targets share

FROM scratch AS source
COPY pyproject.toml README.md LICENSE /
COPY calibration /calibration
COPY model_store /model_store
COPY monitoring /monitoring
COPY hosting /hosting
COPY console /console
COPY serving /serving
COPY training /training
COPY candor /candor

FROM scratch AS image
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Candor" \
      org.opencontainers.image.description="Serves and monitors medical image classifiers whose confidence you can trust" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
ENV PATH=/opt/app/bin:/opt/candor/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    LANG=C.UTF-8 PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PYTHONPYCACHEPREFIX=/opt/bytecode \
    CANDOR_STORE=/models

# ---- gpu: its base has CUDA and cuDNN, and no Python

FROM ${CUDA} AS gpu-root
COPY container/root.sh /tmp/
RUN apt-get update && apt-get install -y --no-install-recommends python3 && /bin/sh /tmp/root.sh /data /models

FROM gpu-root AS gpu-build
WORKDIR /src
RUN apt-get update && apt-get install -y --no-install-recommends python3-venv
COPY requirements/image.txt requirements/gpu.txt requirements/
COPY container container
RUN container/packages.sh requirements/gpu.txt && container/prune.sh container/gpu.unused
COPY --from=source / ./
COPY --from=gpu-root /var/lib/dpkg/status dpkg-status
RUN container/program.sh calibration model_store monitoring hosting console serving candor

FROM gpu-root AS gpu
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Candor on NVIDIA GPUs" \
      org.opencontainers.image.description="Serves and monitors medical image classifiers whose confidence you can trust" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=gpu-build /opt/candor /opt/candor
COPY --from=gpu-build /opt/app /opt/app
COPY --from=gpu-build /opt/bytecode /opt/bytecode
COPY --from=gpu-build /opt/sbom /opt/sbom
ENV PATH=/opt/app/bin:/opt/candor/bin:$PATH \
    LANG=C.UTF-8 PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PYTHONPYCACHEPREFIX=/opt/bytecode \
    CANDOR_HOST=0.0.0.0 CANDOR_PORT=8080 CANDOR_STORE=/models CANDOR_LEDGER=sqlite:////data/candor.db \
    CANDOR_SPOOL=/data/candor.spool XDG_CACHE_HOME=/data/cache
USER 10001:10001
VOLUME /data
EXPOSE 8080
HEALTHCHECK --interval=20s --timeout=5s --start-period=30s CMD ["candor", "health"]
ENTRYPOINT ["candor"]
CMD ["serve"]

# ---- training: every command, with torch's build for CPUs

FROM ${TORCH_PYTHON} AS training-root
COPY container/root.sh /tmp/
RUN sh /tmp/root.sh /models /work

FROM ${TORCH_PYTHON} AS training-build
ARG LOCK=training
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ARG TORCH_PACKAGES="torch>=2.6 torchvision>=0.21"
WORKDIR /src
COPY requirements/image.txt requirements/${LOCK}.txt requirements/
COPY container container
RUN container/packages.sh requirements/${LOCK}.txt \
 && container/pip.sh --no-deps ${TORCH_INDEX:+--index-url ${TORCH_INDEX}} ${TORCH_PACKAGES} \
 && container/prune.sh container/torch.unused
COPY --from=source / ./
COPY --from=training-root /var/lib/dpkg/status dpkg-status
RUN container/program.sh calibration model_store monitoring hosting console serving training candor

FROM image AS training
LABEL org.opencontainers.image.title="Candor for training"
COPY --from=training-root / /
COPY --from=training-build /opt/candor /opt/candor
COPY --from=training-build /opt/app /opt/app
COPY --from=training-build /opt/bytecode /opt/bytecode
COPY --from=training-build /opt/sbom /opt/sbom
# The root may be read-only and the user has no home, so what libraries keep for themselves goes to /tmp.
ENV HOME=/tmp MPLCONFIGDIR=/tmp/matplotlib CANDOR_LEDGER=off
USER 10001:10001
WORKDIR /work
VOLUME /work
HEALTHCHECK NONE
ENTRYPOINT ["candor"]
CMD ["--help"]

# ---- torchserve: TorchServe, which needs Java and torch, with the models of the store

FROM ${TORCH_PYTHON} AS torchserve-root
COPY container/root.sh /tmp/
# Java registers its manual, in a folder that slim images lack.
RUN mkdir -p /usr/share/man/man1 \
 && apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends openjdk-21-jre-headless \
 && sh /tmp/root.sh /data /models

FROM ${TORCH_PYTHON} AS torchserve-build
ARG LOCK=torchserve
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ARG TORCH_PACKAGES="torch>=2.6"
WORKDIR /src
COPY requirements/image.txt requirements/${LOCK}.txt requirements/
COPY container container
RUN container/packages.sh requirements/${LOCK}.txt \
 && container/pip.sh --no-deps ${TORCH_INDEX:+--index-url ${TORCH_INDEX}} ${TORCH_PACKAGES} \
 && container/prune.sh container/torch.unused
COPY --from=source / ./
COPY --from=torchserve-root /var/lib/dpkg/status dpkg-status
RUN container/program.sh calibration model_store monitoring hosting console serving candor ts

FROM image AS torchserve
LABEL org.opencontainers.image.title="TorchServe with Candor's models"
COPY --from=torchserve-root / /
COPY --from=torchserve-build /opt/candor /opt/candor
COPY --from=torchserve-build /opt/app /opt/app
COPY --from=torchserve-build /opt/bytecode /opt/bytecode
COPY --from=torchserve-build /opt/sbom /opt/sbom
COPY container/torchserve.sh container/torchserve.properties /opt/
ENV HOME=/tmp CANDOR_LEDGER=off XDG_CACHE_HOME=/data/cache CANDOR_MONITOR_OUTBOX=/data/outbox
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 8090 8092
# Its health is only told to whoever has the key.
HEALTHCHECK --interval=20s --timeout=10s --start-period=60s CMD ["python", "-c", "import json, urllib.request as web; key = json.load(open('key_file.json'))['inference']['key']; ping = web.Request('http://127.0.0.1:8090/ping', headers={'Authorization': 'Bearer ' + key}); assert json.load(web.urlopen(ping))['status'] == 'Healthy'"]
ENTRYPOINT ["/opt/torchserve.sh"]
CMD ["--models", "all"]

# ---- serving: the default

FROM ${PYTHON} AS serving-root
COPY container/root.sh /tmp/
RUN sh /tmp/root.sh /data /models

FROM ${PYTHON} AS serving-build
ARG LOCK=serving
WORKDIR /src
RUN apt-get update && apt-get install -y --no-install-recommends binutils
COPY requirements/image.txt requirements/${LOCK}.txt requirements/
COPY container container
RUN container/packages.sh requirements/${LOCK}.txt && container/prune.sh container/serving.unused
COPY --from=source / ./
COPY --from=serving-root /var/lib/dpkg/status dpkg-status
RUN container/program.sh calibration model_store monitoring hosting console serving candor

# A copy of a whole root is one layer: what was removed from the base is not in the image, and not merely hidden.
FROM image AS serving
COPY --from=serving-root / /
COPY --from=serving-build /opt/candor /opt/candor
COPY --from=serving-build /opt/app /opt/app
COPY --from=serving-build /opt/bytecode /opt/bytecode
COPY --from=serving-build /opt/sbom /opt/sbom
ENV CANDOR_HOST=0.0.0.0 CANDOR_PORT=8080 CANDOR_LEDGER=sqlite:////data/candor.db \
    CANDOR_SPOOL=/data/candor.spool XDG_CACHE_HOME=/data/cache
USER 10001:10001
VOLUME /data
EXPOSE 8080
HEALTHCHECK --interval=20s --timeout=5s --start-period=10s CMD ["candor", "health"]
ENTRYPOINT ["candor"]
CMD ["serve"]
