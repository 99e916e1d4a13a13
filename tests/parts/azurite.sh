#!/bin/sh
# Installs Azurite, Microsoft's emulator of Azure Blob Storage, below target/. Does nothing if it is there already.
# Newer versions need Node.js 22.
set -eu
version=3.35.0
folder=$(cd "$(dirname "$0")/../.." && pwd)/target/azurite
if ! command -v npm >/dev/null 2>&1; then
    echo "tests/parts/azurite.sh: npm is missing; install Node.js 20 or newer with npm" >&2
    exit 1
fi
stamp="$folder/.installed"
if [ "$(cat "$stamp" 2>/dev/null)" = "$version" ]; then
    exit 0
fi
mkdir -p "$folder"
npm install --prefix "$folder" --ignore-scripts --no-audit --no-fund --no-save "azurite@$version"
echo "$version" >"$stamp"
