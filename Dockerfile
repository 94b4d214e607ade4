# rostergate alone: a static program, without a shell, as nobody in particular.
#
#   docker build -t rostergate .
#   docker run --read-only --cap-drop=ALL -p 127.0.0.1:5290:5290 \
#       -v ./rostergate.toml:/etc/rostergate/rostergate.toml:ro rostergate
#
# In the configuration, set server.listen = ["0.0.0.0:5290"]: 127.0.0.1 is the container's own.

FROM rust:1.95-bookworm AS build
# musl-gcc compiles ring's C.
RUN apt-get update && apt-get install -y --no-install-recommends musl-tools
WORKDIR /rostergate
COPY . .
RUN target="$(uname -m)-unknown-linux-musl" && rustup target add "$target" \
    && cargo build --release --locked --target "$target" \
    && install -D -s "target/$target/release/rostergate" /image/rostergate \
    && install -D -m 644 /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/ca-certificates.crt

FROM scratch
COPY --from=build /image/ /
USER 65532:65532
EXPOSE 5290
STOPSIGNAL SIGTERM
ENTRYPOINT ["/rostergate"]
CMD ["serve", "--config", "/etc/rostergate/rostergate.toml"]
