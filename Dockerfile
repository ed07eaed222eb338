# mriimpute on a GPU node, or on the CPU where there is no GPU. Needs no network at run time:
#
#   docker build -t mriimpute .
#   docker run --rm --gpus all --network none --read-only --tmpfs /tmp \
#     --user "$(id -u):$(id -g)" -v /scans:/data:ro -v /results:/out \
#     mriimpute impute /data/scan.nii.gz -o /out
#
# Behind a mirror of PyPI, pip's own settings come from outside and stay in no layer:
#
#   docker build --secret id=pip.conf,src=pip.conf -t mriimpute .
#
# Apptainer: apptainer build mriimpute.sif docker-daemon://mriimpute:latest; run it with --nv.
FROM python:3.11.14-slim-bookworm AS base

ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore

# The package, built aside: neither sources nor build tools get into the image.
FROM base AS package
WORKDIR /src
COPY pyproject.toml README.md LICENSE CITATION.cff CHANGELOG.md ./
RUN python -c "import pathlib, tomllib; \
    project = tomllib.loads(pathlib.Path('pyproject.toml').read_text())['project']; \
    print(*project['dependencies'], sep='\n')" > /requirements.txt
COPY mriimpute ./mriimpute
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    pip install --no-cache-dir --no-deps --prefix /package .

# From the rarest change to the most frequent: torch with CUDA (several GB), other libraries, ours.
FROM base
ARG TORCH=2.13.0
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    pip install --no-cache-dir "torch==${TORCH}"
COPY --from=package /requirements.txt /usr/local/share/mriimpute/requirements.txt
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    pip install --no-cache-dir -r /usr/local/share/mriimpute/requirements.txt
COPY --from=package /package /usr/local

# Any user may run it, known to the image or not, on a read-only root: what libraries cache goes
# to /tmp, and nothing looks up a home or a user name.
ENV HOME=/tmp \
    USER=mriimpute \
    LOGNAME=mriimpute \
    CUDA_CACHE_PATH=/tmp/mriimpute/cuda \
    MPLBACKEND=Agg \
    MPLCONFIGDIR=/tmp/mriimpute/matplotlib \
    XDG_CACHE_HOME=/tmp/mriimpute/cache \
    TORCHINDUCTOR_CACHE_DIR=/tmp/mriimpute/inductor \
    TRITON_CACHE_DIR=/tmp/mriimpute/triton \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONNOUSERSITE=1 \
    PYTHONUNBUFFERED=1 \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility

LABEL org.opencontainers.image.title="mriimpute" \
    org.opencontainers.image.description="Fills in the slices that a brain MRI skipped" \
    org.opencontainers.image.licenses="Apache-2.0 AND CC-BY-SA-4.0 AND LicenseRef-MNI-ICBM152 AND BSD-2-Clause AND MIT AND ISC"

# A number: Kubernetes tells by it that this is not root.
USER 1000:1000
WORKDIR /data
ENTRYPOINT ["mriimpute"]
CMD ["--help"]
