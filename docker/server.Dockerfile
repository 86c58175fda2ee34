# API and worker. The default index has CPU builds of torch; build with
# --build-arg TORCH_INDEX=https://pypi.org/simple for NVIDIA GPUs.
FROM python:3.11-slim-bookworm
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
# In one stage, since a copy of two gigabytes from another takes longer than to install them. The sources stay outside.
RUN --mount=type=bind,target=/src \
    python -m venv /app \
    && /app/bin/pip install --no-cache-dir --extra-index-url "$TORCH_INDEX" \
        --constraint /src/constraints.txt '/src[server]' \
    && MICRODOSE_CACHE=/app/weights /app/bin/python -m microdose_server.training.lpips_weights \
    && chmod -R a+rX /app \
    && mkdir /data && chown 10001:10001 /data
ENV PATH=/app/bin:$PATH \
    HOME=/tmp \
    MICRODOSE_DATA_DIR=/data \
    MICRODOSE_LPIPS=/app/weights/lpips_alexnet_v0.1.safetensors
USER 10001:10001
EXPOSE 8710
ENTRYPOINT ["microdose-server"]
CMD ["serve", "--host", "0.0.0.0"]
