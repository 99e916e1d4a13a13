#!/usr/bin/env bash
# The image without a container engine: the Dockerfile is linted, its steps are done by this machine's tools, and the
# program that comes out is run alone in the image's root, as its user. Says what could not be run.
set -euo pipefail
cd "$(dirname "$0")/.."

as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi
}
fail() {
    echo "tests/image.sh: $*" >&2
    exit 1
}

sh tests/parts/chart_tools.sh
tools=target/chart-tools/venv/bin
"$tools/hadolint" Dockerfile
"$tools/checkov" --framework dockerfile --file Dockerfile --skip-download --compact --quiet
echo "Dockerfile: nothing to complain about"

wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
grep -q "^ARG RUST=$wanted\(\.[0-9]*\)\?$" Dockerfile || fail "ARG RUST in the Dockerfile is not Rust $wanted, as in Cargo.toml"
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml)
grep -q "^ARG VERSION=$version$" Dockerfile || fail "ARG VERSION in the Dockerfile is not $version, as in Cargo.toml"
grep -q "^appVersion: $version$" helm/lastseen/Chart.yaml || fail "appVersion of the chart is not $version, as in Cargo.toml"

work=target/image
python3 tests/image/stages.py . "$work" "${CARGO_TARGET_DIR:-target}"
program=$work/image/lastseen
if readelf --program-headers "$program" | grep -q INTERP || readelf --dynamic "$program" | grep -q NEEDED; then
    fail "the program is not static"
fi
bytes=$(du --summarize --bytes "$work/image" | cut -f1)
echo "static program, $(stat --format %s "$program") bytes; image, $bytes bytes:"
(cd "$work/image" && find . -type f | sort | sed 's/^/  /')
limit=$((50 * 1000 * 1000))
[ "$bytes" -lt "$limit" ] || fail "the image has $bytes bytes, more than $limit"

if [ "$(id -u)" -ne 0 ] && ! command -v sudo >/dev/null; then
    echo "NOT RUN: the program alone in its root, which takes root rights"
elif ! as_root unshare --net true; then
    echo "NOT RUN: the program alone in its root; this machine gives nobody a network of their own"
else
    as_root unshare --net python3 tests/image/alone.py "$work/image"
fi
echo "NOT RUN, for lack of a container engine: pulling $(sed -n 's/.*"\(rust:.*\)".*/\1/p' "$work/settings.json"), its compiler and libraries, layers and their cache, other architectures"
