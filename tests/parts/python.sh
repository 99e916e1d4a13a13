#!/bin/sh
# Installs the Python packages of tests/client into an environment of its own. Does nothing if they are there already.
set -eu
client=$(cd "$(dirname "$0")/../client" && pwd)
environment="$client/.venv"
stamp="$environment/.installed"
if [ -f "$stamp" ] && cmp -s "$client/requirements.txt" "$stamp"; then
    exit 0
fi
if ! python3 -m venv --clear "$environment"; then
    echo "tests/parts/python.sh: no virtual environment; install python3 and python3-venv" >&2
    exit 1
fi
"$environment/bin/pip" install --quiet --disable-pip-version-check --no-deps -r "$client/requirements.txt"
cp "$client/requirements.txt" "$stamp"
