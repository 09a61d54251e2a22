# syntax=docker/dockerfile:1
#
#	docker build -t stepgate .
#	docker run -p 80:80 -p 443:443 -v stepgate-data:/data -v ./Caddyfile:/etc/caddy/Caddyfile:ro stepgate
#
# /data holds the passkeys, the grant key and the certificates: a volume, never a cache. Keep it and back it up.

FROM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY assets assets
COPY caddymodule caddymodule
COPY cmd cmd
COPY internal internal
RUN CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o /stepgate ./cmd/stepgate
# The folders that the program writes to, owned by the user that it runs as.
RUN mkdir -p /root-fs/data /root-fs/config /root-fs/etc/caddy && chmod 700 /root-fs/data /root-fs/config

FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=build --chown=65532:65532 /root-fs/data /data
COPY --from=build --chown=65532:65532 /root-fs/config /config
COPY --from=build /root-fs/etc/caddy /etc/caddy
COPY --from=build /stepgate /usr/bin/stepgate
ENV XDG_DATA_HOME=/data XDG_CONFIG_HOME=/config
VOLUME ["/data", "/config"]
# Docker lets an unprivileged user bind ports below 1024 in a container (net.ipv4.ip_unprivileged_port_start=0).
EXPOSE 80 443 443/udp
USER nonroot
ENTRYPOINT ["/usr/bin/stepgate"]
CMD ["run", "--config", "/etc/caddy/Caddyfile", "--adapter", "caddyfile"]
