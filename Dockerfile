# docker build -t chain429 .        Then see compose.yaml.
ARG PYTHON=3.13

FROM python:${PYTHON}-slim AS build
WORKDIR /src
# Apart from the code, so that these layers are kept until a package changes.
COPY scripts/lib.sh scripts/image-build scripts/
COPY constraints.txt constraints-build.txt ./
RUN ["scripts/image-build", "packages", "/opt/chain429"]
COPY pyproject.toml README.md LICENSE ./
COPY addons addons
COPY templates templates
COPY chain429 chain429
RUN ["scripts/image-build", "chain429", "/opt/chain429"]

FROM python:${PYTHON}-slim
RUN ["useradd", "--uid", "4290", "--create-home", "chain429"]
RUN ["install", "--directory", "--owner", "chain429", "--group", "chain429", "--mode", "0700", "/config", "/data"]
COPY --from=build /opt/chain429 /opt/chain429
COPY scripts/image-start scripts/healthcheck.py /usr/local/bin/
ENV PATH=/opt/chain429/bin:$PATH PYTHONUNBUFFERED=1
USER chain429
WORKDIR /data
VOLUME ["/config", "/data"]
# The API, the pages, the proxy.
EXPOSE 4290 4291 8080
HEALTHCHECK --interval=30s --timeout=5s --start-period=15s CMD ["healthcheck.py"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["image-start"]
