# The page in a container: docs/install.md has how to build and run it.
FROM python:3.12-slim

# Where torch comes from: pytorch.org's for CPUs is a tenth of the size of PyPI's, which has a
# GPU's libraries.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu

WORKDIR /app
COPY constraints.txt requirements.txt ./
RUN pip install --no-cache-dir --index-url "$TORCH_INDEX" -c constraints.txt torch \
    && pip install --no-cache-dir -r requirements.txt
COPY LICENSE app.py ./
COPY musicgen_space ./musicgen_space
# The page's user may not write here, so that else every start would compile it all.
RUN python -m compileall -q app.py musicgen_space

RUN useradd --create-home --uid 1000 musicgen \
    && install --directory --owner=musicgen /data
USER musicgen
VOLUME /data

# Takes, converted weights and downloaded models are kept in the volume.
ENV GRADIO_SERVER_NAME=0.0.0.0 \
    GRADIO_SERVER_PORT=7860 \
    MUSICGEN_LIBRARY=/data/takes \
    MUSICGEN_CACHE=/data/cache \
    HF_HOME=/data/hub

EXPOSE 7860
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen('http://127.0.0.1:' + os.environ['GRADIO_SERVER_PORT'] + '/healthz', timeout=4)"]
CMD ["python", "app.py"]
