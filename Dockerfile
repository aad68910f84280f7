# syntax=docker/dockerfile:1
# One image that serves, tunes and runs MLflow's server: docker build -t rayfleet:0.1.0-ray2.60.0 .
# EXTRAS chooses what it carries, such as EXTRAS=sklearn,haproxy,postgresql,s3 for a tenth of the size.
# A tag of Python's own image; one build of it for good by PYTHON=3.11.14-slim-bookworm@sha256:DIGEST.
ARG PYTHON=3.11.14-slim-bookworm

FROM python:${PYTHON} AS build
ARG EXTRAS=all
# Where PyTorch comes from: https://download.pytorch.org/whl/cpu leaves out CUDA's two gigabytes. What it depends on comes from PyPI;
# PyTorch itself does not, since pip holds a build with `+cpu` for newer than the same version without.
ARG TORCH_INDEX=https://pypi.org/simple
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/rayfleet
ENV PATH=/opt/rayfleet/bin:$PATH
WORKDIR /src
COPY requirements.lock pyproject.toml README.md LICENSE ./
COPY deployments deployments
COPY tuning tuning
RUN case ",$EXTRAS," in \
      *,torch,*|*,all,*) pip install --index-url "$TORCH_INDEX" --extra-index-url https://pypi.org/simple -c requirements.lock torch ;; \
    esac \
    && pip install -c requirements.lock ".[$EXTRAS]" \
    && python -m compileall -q /opt/rayfleet

FROM python:${PYTHON}
# KubeRay starts Ray in a login shell, where Debian's profile sets PATH anew.
RUN useradd --uid 1000 --user-group --home-dir /home/rayfleet --create-home rayfleet \
    && install -d -o rayfleet -g rayfleet /var/lib/rayfleet \
    && echo 'PATH=/opt/rayfleet/bin:/usr/local/bin:/usr/bin:/bin' > /etc/profile.d/rayfleet.sh
COPY --from=build /opt/rayfleet /opt/rayfleet
COPY configs /app/configs
ENV PATH=/opt/rayfleet/bin:$PATH \
    RAYFLEET_HOME=/var/lib/rayfleet \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
WORKDIR /app
USER 1000:1000
CMD ["rayfleet", "serve", "configs/kubernetes.yaml"]
