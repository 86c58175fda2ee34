# The thin client: `docker run --rm -v "$PWD:/work" IMAGE pull SEQUENCE -o decoded`
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
