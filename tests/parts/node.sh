#!/bin/sh
# Installs the Node packages of tests/client, exactly as its lock file names them. Does nothing if they are there already.
set -eu
client=$(cd "$(dirname "$0")/../client" && pwd)
if ! command -v npm >/dev/null 2>&1; then
    echo "tests/parts/node.sh: npm is missing; install Node.js 20 or newer with npm" >&2
    exit 1
fi
stamp="$client/node_modules/.installed"
if [ -f "$stamp" ] && cmp -s "$client/package-lock.json" "$stamp"; then
    exit 0
fi
cd "$client"
npm ci --ignore-scripts --no-audit --no-fund
cp package-lock.json "$stamp"
