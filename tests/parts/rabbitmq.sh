#!/bin/sh
# Installs RabbitMQ (Debian package) if it is missing. The tests start nodes of their own: no service has to run.
set -eu

server=/usr/lib/rabbitmq/bin/rabbitmq-server
if [ -x "$server" ]; then
    exit 0
fi

as_root=
if [ "$(id -u)" -ne 0 ]; then
    as_root=sudo
fi
install() {
    $as_root env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get -o DPkg::Lock::Timeout=300 \
        install -y --no-install-recommends rabbitmq-server
}
# The package lists of a fresh machine may be missing or old.
install || { $as_root apt-get -o DPkg::Lock::Timeout=300 update && install; }
[ -x "$server" ] || { echo "rabbitmq-server was installed, but $server is not there" >&2; exit 1; }
