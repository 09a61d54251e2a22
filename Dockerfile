#	docker build -t stepgate .
#	docker run -p 80:80 -p 443:443 -v stepgate-data:/data -v ./Caddyfile:/etc/caddy/Caddyfile:ro stepgate
#
# /data holds the passkeys, the grant key and the certificates: a volume, never a cache. Keep it and back it up.

# The version of Go that the releases are built with, by its full tag. Nothing of this image but the CA certificates is in
# the result, which has no base image of its own.
FROM golang:1.26.8-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY assets assets
COPY caddymodule caddymodule
COPY cmd cmd
COPY internal internal
# What `stepgate version` says: docker build --build-arg VERSION=v1.2.3
ARG VERSION=dev
RUN CGO_ENABLED=0 go build -mod=readonly -trimpath -buildvcs=false -ldflags "-s -w -X github.com/caddyserver/caddy/v2.CustomVersion=$VERSION" -o /stepgate ./cmd/stepgate
# The folders that the program writes to, owned by the user that it runs as.
RUN mkdir -p /root-fs/data /root-fs/config /root-fs/tmp /root-fs/etc/caddy && chmod 700 /root-fs/data /root-fs/config /root-fs/tmp

FROM scratch
# For what the gateway asks over TLS: AWS, certificate authorities, the FIDO Alliance's metadata.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build --chown=65532:65532 /root-fs/data /data
COPY --from=build --chown=65532:65532 /root-fs/config /config
COPY --from=build --chown=65532:65532 /root-fs/tmp /tmp
COPY --from=build /root-fs/etc/caddy /etc/caddy
COPY --from=build /stepgate /usr/bin/stepgate
ENV XDG_DATA_HOME=/data XDG_CONFIG_HOME=/config
VOLUME ["/data", "/config"]
# Docker lets an unprivileged user bind ports below 1024 in a container (net.ipv4.ip_unprivileged_port_start=0).
EXPOSE 80 443 443/udp
USER 65532:65532
ENTRYPOINT ["/usr/bin/stepgate"]
CMD ["run", "--config", "/etc/caddy/Caddyfile", "--adapter", "caddyfile"]
