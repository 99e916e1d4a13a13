#!/bin/sh
# Installs Redis (Debian package) if it is missing. The load test starts a server of its own: no service has to run.
set -eu

if command -v redis-server >/dev/null; then
    exit 0
fi

as_root=
if [ "$(id -u)" -ne 0 ]; then
    as_root=sudo
fi
install() {
    $as_root env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get -o DPkg::Lock::Timeout=300 \
        install -y --no-install-recommends redis-server
}
# The package lists of a fresh machine may be missing or old.
install || { $as_root apt-get -o DPkg::Lock::Timeout=300 update && install; }
command -v redis-server >/dev/null || { echo "redis-server was installed, but is not there" >&2; exit 1; }
