#!/usr/bin/env bash
# The chart in helm/lastseen, without a cluster: rendered by Helm 3 and Helm 4, compared with the golden renders, checked
# against the schemas of Kubernetes and against what it promises; its alerts are tested by promtool.
#
#   tests/chart.sh            everything
#   tests/chart.sh --renew    writes the golden renders anew, for the next look at `git diff`
set -euo pipefail
cd "$(dirname "$0")/.."

chart=helm/lastseen
tools=target/chart-tools
work=target/chart
sh tests/parts/helm.sh
sh tests/parts/chart_tools.sh
rm -rf "$work"
mkdir -p "$work"
failed=0
complain() {
    echo "FAILED  $*" >&2
    failed=1
}
# quiet NAME COMMAND...: shows what the command said only if it fails.
quiet() {
    local name=$1
    shift
    "$@" >"$work/said" 2>&1 || {
        cat "$work/said" >&2
        complain "$name"
    }
}

render() {
    "$tools/$1" template watch "$chart" --namespace fleet --kube-version 1.34.0 --values "$2"
}

echo "- lint, render and compare, with Helm 3 and Helm 4"
for values in tests/chart/values/*.yaml; do
    name=$(basename "$values")
    if [ "${1:-}" = --renew ]; then render helm4 "$values" >"tests/chart/golden/$name"; fi
    for helm in helm3 helm4; do
        quiet "$helm lint $name" "$tools/$helm" lint --strict "$chart" --values "$values"
        render "$helm" "$values" >"$work/$helm.$name"
        quiet "$helm renders $name as before (if it is meant to differ: tests/chart.sh --renew)" \
            diff --unified "tests/chart/golden/$name" "$work/$helm.$name"
    done
done
# The values that the two READMEs show.
sed -n "/^cat > values.yaml <<'END'/,/^END/p" README.md | sed '1d;$d' >"$work/readme.yaml"
sed -n '/^```yaml/,/^```/p' "$chart/README.md" | sed '1d;$d' >"$work/chart_readme.yaml"
for values in "$work/readme.yaml" "$work/chart_readme.yaml"; do
    grep --quiet '^config:' "$values" || complain "$values: the READMEs show no values"
    quiet "lint $values" "$tools/helm4" lint --strict "$chart" --values "$values"
    render helm4 "$values" >"$work/render.yaml"
    quiet "$values is valid" "$tools/venv/bin/kubernetes-validate" --kubernetes-version 1.34 --strict --no-warn "$work/render.yaml"
done
if grep --line-number --extended-regexp ' +$' -r helm/lastseen/templates helm/lastseen/files; then complain "blanks at the ends of lines"; fi
# What the person at the terminal reads. Helm 3 renders it only with a cluster.
for name in smallest bare; do
    "$tools/helm4" install watch "$chart" --namespace fleet --dry-run=client --values "tests/chart/values/$name.yaml" |
        sed -n '/^NOTES:/,$p' >"$work/notes.$name"
    grep --quiet 'helm -n fleet test watch' "$work/notes.$name" || complain "NOTES.txt of $name names no next step"
done
grep --quiet 'nobody is told about an outage' "$work/notes.bare" || complain "NOTES.txt does not miss sinks"
if grep --quiet 'nobody is told about an outage' "$work/notes.smallest"; then complain "NOTES.txt misses sinks that there are"; fi
quiet "package" "$tools/helm4" package "$chart" --destination "$work"

echo "- refused values"
count=0
while IFS= read -r line; do
    case $line in '' | '#'*) continue ;; esac
    arguments=${line%% | *} expected=${line##* | }
    count=$((count + 1))
    for helm in helm3 helm4; do
        # shellcheck disable=SC2086 # the arguments are words without blanks
        if "$tools/$helm" template watch "$chart" --values tests/chart/values/smallest.yaml $arguments >"$work/said" 2>&1; then
            complain "$helm takes $arguments"
        elif ! tr '\n/' ' .' <"$work/said" | grep --quiet --extended-regexp -- "$(tr / . <<<"$expected")"; then
            complain "$helm refuses $arguments, but does not say '$expected': $(cat "$work/said")"
        fi
    done
done <tests/chart/refused.txt
[ "$count" -ge 40 ] || complain "only $count refused sets of values were read"

echo "- schemas of Kubernetes"
for version in 1.28 1.31 1.34; do
    for render in tests/chart/golden/*.yaml; do
        quiet "$render is valid for Kubernetes $version" \
            "$tools/venv/bin/kubernetes-validate" --kubernetes-version "$version" --strict --no-warn "$render"
    done
done
sed 's/replicas: 1/replicas: one/' tests/chart/golden/smallest.yaml >"$work/wrong.yaml"
if "$tools/venv/bin/kubernetes-validate" --kubernetes-version 1.34 --strict "$work/wrong.yaml" >/dev/null 2>&1; then
    complain "kubernetes-validate takes replicas: one"
fi

echo "- promises"
quiet "promises" "$tools/venv/bin/python" tests/chart/check.py "$tools/helm4" "$work"

echo "- alerts"
quiet "rules" "$tools/promtool" check rules "$work/rules.yaml"
quiet "unit tests of the rules" "$tools/promtool" test rules "$work/rules.test.yaml"

echo "- checkov"
# What it is told to leave out, each with its reason.
skipped=(
    # CPU limits: a process that is held back by one is blind while it waits, which is what it is there to prevent.
    CKV_K8S_11
    # Probes of the pod of `helm test`, which asks once and ends; check.py checks those of the StatefulSet.
    CKV_K8S_8 CKV_K8S_9
    # Image by digest, always pulled: only whoever pushes the image knows its digest (image.digest; the set "full" has one),
    # and with IfNotPresent a pod starts although the registry is down.
    CKV_K8S_43 CKV_K8S_15
)
checkov() {
    "$tools/venv/bin/checkov" --skip-download --compact --quiet --skip-check "$(IFS=, && echo "${skipped[*]}")" "$@"
}
# The set "bare" switches the network policy off.
quiet "checkov, renders" checkov --framework kubernetes --directory tests/chart/golden --skip-path bare.yaml
# checkov renders a chart by itself, without a namespace; those of the golden renders were checked above.
skipped+=(CKV_K8S_21)
mkdir -p "$work/bin"
ln -sf "$PWD/$tools/helm3" "$work/bin/helm"
PATH="$PWD/$work/bin:$PATH"
quiet "checkov, chart" checkov --framework helm --directory "$chart" --var-file tests/chart/values/full.yaml

exit "$failed"
