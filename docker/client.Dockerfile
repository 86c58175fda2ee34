# The thin client, here as the user who starts it, so that it may write into the folder:
#   docker run --rm --network host --user "$(id -u):$(id -g)" -e MICRODOSE_KEY -v "$PWD:/work" IMAGE pull SEQUENCE -o decoded
FROM python:3.11-slim-bookworm AS build
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY shared shared
COPY client client
COPY server/microdose_server/__init__.py server/microdose_server/__init__.py
RUN python -m venv /app && /app/bin/pip install --no-cache-dir --constraint constraints.txt .

FROM python:3.11-slim-bookworm
COPY --from=build /app /app
ENV PATH=/app/bin:$PATH HOME=/tmp
USER 10001:10001
WORKDIR /work
ENTRYPOINT ["microdose"]
CMD ["--help"]
