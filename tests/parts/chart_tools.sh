#!/bin/sh
# Installs what checks the chart and the Dockerfile into target/chart-tools: kubernetes-validate, checkov and hadolint (pip),
# promtool (from the Debian package of Prometheus, unpacked: no service is installed). Does nothing if they are there.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
tools="$root/target/chart-tools"
wanted="$root/tests/chart/requirements.txt"
mkdir -p "$tools"

if ! { [ -f "$tools/venv/.installed" ] && cmp -s "$wanted" "$tools/venv/.installed"; }; then
    python3 -m venv --clear "$tools/venv"
    "$tools/venv/bin/pip" install --quiet --disable-pip-version-check -r "$wanted"
    cp "$wanted" "$tools/venv/.installed"
fi

if [ ! -x "$tools/promtool" ]; then
    folder=$(mktemp -d "$tools/prometheus.XXXXXX")
    trap 'rm -rf "$folder"' EXIT
    # apt's helper user has to be able to write there.
    chmod 0777 "$folder"
    download() { (cd "$folder" && apt-get download prometheus); }
    as_root=
    if [ "$(id -u)" -ne 0 ]; then as_root=sudo; fi
    # The package lists of a fresh machine may be missing or old.
    download || { $as_root apt-get -o DPkg::Lock::Timeout=300 update && download; }
    dpkg-deb --extract "$folder"/prometheus_*.deb "$folder/unpacked"
    cp "$folder/unpacked/usr/bin/promtool" "$tools/promtool"
fi
