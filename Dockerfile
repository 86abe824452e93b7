# syntax=docker/dockerfile:1
# Two images from one file: `cpu` (what docker-compose.yml takes) and `gpu`. Neither runs as root.

FROM python:3.12-slim-bookworm AS base
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 PIP_DISABLE_PIP_VERSION_CHECK=1
# the compiler makes the kernels for the processor that it finds itself on
RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc libc6-dev libgomp1 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --create-home everdraft \
    && mkdir -p /data /checkpoints \
    && chown everdraft:everdraft /data /checkpoints
WORKDIR /app

# What it depends on changes rarely: a layer of its own, its wheels kept between builds.
FROM base AS packages
# the index of PyTorch's builds for CPUs; empty: pip's own, whose builds bring several GB for GPUs along
ARG TORCH_INDEX_URL=""
COPY pyproject.toml constraints.txt ./
RUN --mount=type=cache,target=/root/.cache/pip \
    python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['dependencies'], sep='\n')" > packages.txt \
    && pip install ${TORCH_INDEX_URL:+--index-url "$TORCH_INDEX_URL"} -c constraints.txt torch \
    && pip install -c constraints.txt -r packages.txt

FROM packages AS gpu-packages
RUN --mount=type=cache,target=/root/.cache/pip \
    python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['optional-dependencies']['gpu'], sep='\n')" \
        > gpu.txt \
    && pip install -c constraints.txt -r gpu.txt

FROM gpu-packages AS gpu
COPY . .
RUN pip install --no-deps .
USER everdraft
ENTRYPOINT ["everdraft"]
CMD ["serve"]

FROM packages AS cpu
COPY . .
RUN pip install --no-deps .
USER everdraft
ENTRYPOINT ["everdraft"]
CMD ["serve"]
