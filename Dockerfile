# mriimpute on a GPU node, or on the CPU where there is no GPU. Needs no network at run time:
#
#   docker build -t mriimpute .
#   docker run --rm --gpus all --network none -u "$(id -u):$(id -g)" \
#     -v /scans:/data:ro -v /results:/out mriimpute impute /data/scan.nii.gz -o /out
#
# Apptainer: apptainer build mriimpute.sif docker-daemon://mriimpute:latest; run it with --nv.
FROM python:3.11-slim-bookworm

ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore

# The libraries (several GB: the wheel of torch for Linux brings CUDA) are a layer of their own,
# which a change of the sources leaves alone.
WORKDIR /src
COPY pyproject.toml README.md ./
RUN mkdir mriimpute \
    && touch mriimpute/__init__.py \
    && pip install --no-cache-dir . \
    && pip uninstall --yes mriimpute \
    && rm -r mriimpute

COPY mriimpute ./mriimpute
RUN pip install --no-cache-dir --no-deps . \
    && mriimpute --version \
    && useradd --uid 1000 --no-create-home --home-dir /tmp mriimpute

# Any user may run it (-u), on a read-only root (--read-only --tmpfs /tmp): caches go to /tmp, and
# nothing looks up a home or a user name.
ENV HOME=/tmp \
    USER=mriimpute \
    MPLBACKEND=Agg \
    MPLCONFIGDIR=/tmp/matplotlib \
    XDG_CACHE_HOME=/tmp/cache \
    TORCHINDUCTOR_CACHE_DIR=/tmp/inductor \
    TRITON_CACHE_DIR=/tmp/triton \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility

USER mriimpute
WORKDIR /data
ENTRYPOINT ["mriimpute"]
CMD ["--help"]
