# The image of cluster.kuberay.yaml:
#   docker build -t likert:2.60.0-py311-cpu --build-arg flavour=cpu .
#   docker build -t likert:2.60.0-py311-gpu --build-arg flavour=gpu .
ARG flavour=cpu
FROM rayproject/ray:2.60.0-py311-${flavour}
ARG flavour
RUN sudo apt-get update -qq \
    && sudo apt-get install -y -qq --no-install-recommends libegl1 libgl1 libgl1-mesa-dri libosmesa6 \
    && sudo rm -rf /var/lib/apt/lists/*
WORKDIR /home/ray/likert
COPY --chown=ray:users requirements requirements
RUN pip install --no-cache-dir --no-deps --extra-index-url https://download.pytorch.org/whl/cpu \
    -r requirements/${flavour}.txt
COPY --chown=ray:users . .
RUN pip install --no-cache-dir --no-deps --no-build-isolation -e .
