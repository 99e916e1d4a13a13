#!/bin/sh
# Installs libfaketime (Debian package) if it is missing: the campaign `time` moves the program's wall clock with it.
set -eu

installed() {
    for library in /usr/lib/*/faketime/libfaketimeMT.so.1; do
        if [ -e "$library" ]; then return 0; fi
    done
    return 1
}
if installed; then exit 0; fi

as_root=
if [ "$(id -u)" -ne 0 ]; then
    as_root=sudo
fi
install() {
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 \
        install -y --no-install-recommends libfaketime
}
# The package lists of a fresh machine may be missing or old.
install || { $as_root apt-get -o DPkg::Lock::Timeout=300 update && install; }
installed || { echo "libfaketime was installed, but its library is not there" >&2; exit 1; }
