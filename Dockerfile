# Kinestream's image: every command of `kinestream`, on a CPU (the default) or a GPU (--target gpu).
#
#   docker build -t kinestream .
#   docker build -t kinestream:gpu --target gpu .
#
# Whatever is needed to build and to install stays in the first stages. Debian's release is named beside Python's
# version, so that a new Debian comes when somebody decides so. Not here: the extra `embedded` (its redis-server lacks
# security fixes; Redis is a service of its own) and a HEALTHCHECK (each command has one of its own: compose.yaml).
ARG BASE=python:3.12-slim-bookworm


# What Kinestream needs, without Kinestream: this stage is the large one, and stays as it is while only code changes.
FROM ${BASE} AS dependencies
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /source
RUN python -m venv --without-pip /opt/kinestream
COPY pyproject.toml ./
RUN python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['dependencies'], sep='\n')" \
        >dependencies.txt \
    && python -m pip --python /opt/kinestream/bin/python install -r dependencies.txt
# rtmlib asks for opencv-python and opencv-contrib-python, which bring the same cv2 twice, with windows. A container has
# none: the build without them, of the same version, is 150 MB smaller and needs no libgl1, which would bring Mesa and
# LLVM. What is removed here is in no image, since the last stages copy the result.
RUN opencv=$(/opt/kinestream/bin/python -c "import importlib.metadata as m; print(m.version('opencv-contrib-python'))") \
    && python -m pip --python /opt/kinestream/bin/python uninstall --yes opencv-python opencv-contrib-python \
    && python -m pip --python /opt/kinestream/bin/python install --no-deps "opencv-contrib-python-headless==${opencv}"


# The same with onnxruntime-gpu in place of onnxruntime: both write onnxruntime/, so one has to go first. CUDA and cuDNN
# come from pip too, in the versions that onnxruntime-gpu's extras ask for: then they fit for certain, which nobody has
# to check whenever one of them moves, as with an image of CUDA. Only the driver is the host's.
FROM dependencies AS dependencies-gpu
RUN python -m pip --python /opt/kinestream/bin/python uninstall --yes onnxruntime \
    && python -m pip --python /opt/kinestream/bin/python install "onnxruntime-gpu[cuda,cudnn]>=1.22"


# Kinestream alone, at the place where it will be.
FROM ${BASE} AS kinestream
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv --without-pip /opt/kinestream
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY common common
COPY ingest ingest
COPY workers workers
COPY consumers consumers
RUN python -m pip wheel --no-deps --wheel-dir /wheels . \
    && python -m pip --python /opt/kinestream/bin/python install --no-deps /wheels/*.whl


# What both images have in common. /models is the cache of downloaded models, /outputs has the results of jobs; a volume
# that is mounted there for the first time takes over its owner.
FROM ${BASE} AS runtime
LABEL org.opencontainers.image.title="Kinestream" \
      org.opencontainers.image.description="Camera feeds to human poses over Redis streams" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN groupadd --gid 10001 kinestream \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin kinestream \
    && install --directory --owner=kinestream --group=kinestream /models /outputs
# Output is not held back, and nothing is written beside the code: pip has compiled it.
ENV PATH=/opt/kinestream/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    KINESTREAM_MODELS=/models
WORKDIR /tmp
ENTRYPOINT ["kinestream"]
CMD ["--help"]


FROM runtime AS gpu
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
COPY --from=dependencies-gpu /opt/kinestream /opt/kinestream
COPY --from=kinestream /opt/kinestream /opt/kinestream
USER 10001:10001


FROM runtime AS cpu
COPY --from=dependencies /opt/kinestream /opt/kinestream
COPY --from=kinestream /opt/kinestream /opt/kinestream
USER 10001:10001
