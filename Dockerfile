# Two images, of one recipe: `--target cpu`, and for NVIDIA GPUs `--target cuda`. How to build and run them: docs/how-to/containers.md
ARG PYTHON_IMAGE=docker.io/library/python:3.12-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python3 -m venv /opt/biobert
WORKDIR /source
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY biobert_scale biobert_scale
COPY ds_configs ds_configs
COPY launch/slurm launch/slurm
# There is no history here to tell the version from.
ARG VERSION
ENV SETUPTOOLS_SCM_PRETEND_VERSION_FOR_BIOBERT_SCALE=${VERSION}
RUN /opt/biobert/bin/pip wheel --no-deps --wheel-dir /wheels .

FROM build AS build-cpu
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN /opt/biobert/bin/pip install --extra-index-url ${TORCH_INDEX} -c constraints.txt torch \
    && /opt/biobert/bin/pip install -c constraints.txt "$(echo /wheels/*.whl)[serve]"

FROM build AS build-cuda
RUN /opt/biobert/bin/pip install -c constraints.txt "$(echo /wheels/*.whl)[serve]"

FROM ${PYTHON_IMAGE} AS runtime
# g++: DeepSpeed's offload and torch.compile build with it. Its version is the base image's.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 1000 biobert \
    && useradd --uid 1000 --gid biobert --no-create-home --home-dir /tmp biobert \
    && install --directory --owner=biobert --group=biobert /work
# The file system may be read-only: caches are in /tmp, everything else is written below the working directory.
ENV PATH=/opt/biobert/bin:${PATH} HOME=/tmp PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 1000:1000
WORKDIR /work
ENTRYPOINT ["biobert-scale"]
CMD ["--help"]

FROM runtime AS cpu
COPY --from=build-cpu /opt/biobert /opt/biobert

FROM runtime AS cuda
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
COPY --from=build-cuda /opt/biobert /opt/biobert
