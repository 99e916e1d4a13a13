# syntax=docker/dockerfile:1
# One static program and the public root certificates on an empty image: no shell, no package, nothing to patch but us.
#
#   docker build --tag lastseen:0.1.0 --build-arg REVISION="$(git rev-parse HEAD)" .
#   docker run --rm lastseen:0.1.0 demo
#   docker run --read-only --volume "$PWD/etc:/etc/lastseen:ro" --volume lastseen:/var/lib/lastseen lastseen:0.1.0
#
# The last one reads etc/lastseen.yaml; it should say `store: { path: /var/lib/lastseen }`, which is the user's own folder, and
# `http: { listen: "0.0.0.0:8080" }` if somebody outside is to scrape.
#
# The base is pinned by version. Pin it by digest too where you build (`docker buildx imagetools inspect` shows it): a tag
# can be moved, and its digest can't be known from the sources.
ARG RUST=1.95.0
FROM rust:${RUST}-bookworm AS build
WORKDIR /src

# Dependencies first: this layer changes only with the manifests. A stub stands for every target that they name. The load
# test is in the workspace, so cargo wants to see its manifest; it is not built.
COPY Cargo.toml Cargo.lock ./
COPY loadtest/Cargo.toml loadtest/
RUN mkdir src benches loadtest/src \
    && echo '//! Stub.' > src/lib.rs \
    && for target in src/main benches/decode benches/memory benches/restore benches/ratios loadtest/src/main; do printf '//! Stub.\nfn main() {}\n' > "$target.rs"; done \
    && cargo rustc --locked --release --bin lastseen -- -C target-feature=+crt-static \
    && rm -r src

# Copies keep their dates, which are older than the stub's: cargo has to be told that the sources are new.
COPY src src
RUN touch src/main.rs src/lib.rs \
    && cargo rustc --locked --release --bin lastseen -- -C target-feature=+crt-static -C strip=debuginfo

# What the last stage takes over, in its place. 65532 is the user "nonroot" of many images without a shell.
COPY LICENSE-APACHE LICENSE-MIT ./
RUN mkdir -p root/etc/ssl/certs root/etc/lastseen root/var/lib/lastseen root/usr/share/doc/lastseen root/tmp \
    && cp target/release/lastseen root/lastseen \
    && cp /etc/ssl/certs/ca-certificates.crt root/etc/ssl/certs/ca-certificates.crt \
    && cp LICENSE-APACHE LICENSE-MIT root/usr/share/doc/lastseen/ \
    && echo 'nonroot:x:65532:65532:nonroot:/var/lib/lastseen:/sbin/nologin' > root/etc/passwd \
    && echo 'nonroot:x:65532:' > root/etc/group \
    && chmod 0700 root/var/lib/lastseen \
    && chmod 1777 root/tmp

FROM scratch
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="lastseen" \
    org.opencontainers.image.description="Tells which devices of an Azure IoT Hub fleet have gone silent, with evidence." \
    org.opencontainers.image.licenses="Apache-2.0 OR MIT" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}"
COPY --from=build /src/root /
# Only its own folder belongs to the user; the program and the certificates stay root's.
COPY --from=build --chown=65532:65532 /src/root/var/lib/lastseen /var/lib/lastseen
USER 65532:65532
WORKDIR /var/lib/lastseen
EXPOSE 8080
STOPSIGNAL SIGTERM
# A cluster has probes of its own and ignores this one.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=6 \
    CMD ["/lastseen", "health", "--config", "/etc/lastseen/lastseen.yaml"]
ENTRYPOINT ["/lastseen"]
CMD ["run", "--config", "/etc/lastseen/lastseen.yaml"]
