# The serving image: HTTP server, ledger and monitoring. It has no torch, and needs neither root nor a shell.
#
#   docker build -t candor .
#   docker run -p 8080:8080 -v ./model_store/models:/models:ro -v candor-data:/data candor
FROM python:3.13-slim AS build
WORKDIR /src
RUN python -m venv /opt/candor
COPY requirements/serving.txt ./
RUN /opt/candor/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes -r serving.txt
COPY pyproject.toml README.md LICENSE ./
COPY calibration calibration
COPY model_store model_store
COPY monitoring monitoring
COPY serving serving
COPY training training
COPY candor candor
RUN /opt/candor/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps .

FROM python:3.13-slim
RUN useradd --system --uid 10001 --no-create-home candor \
 && mkdir /data /models && chown candor /data /models
COPY --from=build /opt/candor /opt/candor
ENV PATH=/opt/candor/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    CANDOR_HOST=0.0.0.0 CANDOR_PORT=8080 CANDOR_STORE=/models CANDOR_LEDGER=sqlite:////data/candor.db \
    CANDOR_SPOOL=/data/candor.spool CANDOR_STORE_CACHE=/data/store
USER candor
VOLUME /data
EXPOSE 8080
HEALTHCHECK --interval=20s --timeout=5s --start-period=10s \
  CMD ["candor", "health"]
ENTRYPOINT ["candor"]
CMD ["serve"]
