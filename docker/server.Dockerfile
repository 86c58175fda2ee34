# API and worker. The default index has CPU builds of torch; build with
# --build-arg TORCH_INDEX=https://pypi.org/simple for NVIDIA GPUs.
FROM python:3.11-slim-bookworm AS build
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY shared shared
COPY client client
COPY server server
RUN python -m venv /app \
    && /app/bin/pip install --no-cache-dir --extra-index-url "$TORCH_INDEX" --constraint constraints.txt '.[server]' \
    && MICRODOSE_CACHE=/app/weights /app/bin/python -m microdose_server.training.lpips_weights \
    && chmod -R a+rX /app

FROM python:3.11-slim-bookworm
RUN mkdir /data && chown 10001:10001 /data
COPY --from=build /app /app
ENV PATH=/app/bin:$PATH \
    HOME=/tmp \
    MICRODOSE_DATA_DIR=/data \
    MICRODOSE_LPIPS=/app/weights/lpips_alexnet_v0.1.safetensors
USER 10001:10001
EXPOSE 8710
ENTRYPOINT ["microdose-server"]
CMD ["serve", "--host", "0.0.0.0"]
