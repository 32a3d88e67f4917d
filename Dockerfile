# Builds `permyx` and puts it, unprivileged, on a small base.
#   docker build -t permyx .
#   docker run --rm -p 8480:8480 -v "$PWD/conf:/etc/permyx:ro" -v permyx:/var/lib/permyx \
#       permyx gateway --config /etc/permyx/permyx.toml --data /var/lib/permyx --gateway-listen 0.0.0.0:8480

# Any base with glibc does; one without a shell is better: --build-arg BASE=…
ARG BASE=debian:bookworm-slim

FROM rust:1.95-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends bolt-16 cmake redis-server && rm -rf /var/lib/apt/lists/*
# The commit that is built, as permyx_build_info tells it: --build-arg PERMYX_REVISION=$(git rev-parse HEAD)
ARG PERMYX_REVISION
WORKDIR /src
COPY . .
RUN .ci/release && mkdir /data

FROM ${BASE}
COPY --from=build /src/target/shipped/permyx /usr/local/bin/permyx
COPY --from=build /src/conf /usr/share/permyx/conf
COPY --from=build --chown=65532:65532 /data /var/lib/permyx
USER 65532:65532
WORKDIR /var/lib/permyx
EXPOSE 8480 8481 9464
ENTRYPOINT ["/usr/local/bin/permyx"]
CMD ["--help"]
