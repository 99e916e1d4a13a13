#!/bin/sh
# Outlives the test process that started it: when that ends, however it ends, standard input closes; then the node
# and its port mapper are stopped and the node's folder is removed.
# Arguments: folder of the node, port of its epmd.
trap '' INT TERM HUP
cat >/dev/null
pid=$(cat "$1/pid" 2>/dev/null)
if [ -n "$pid" ] && [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = beam.smp ]; then
    kill -KILL "$pid"
fi
tries=50
while [ "$tries" -gt 0 ] && epmd -port "$2" -names 2>/dev/null | grep -q '^name '; do
    tries=$((tries - 1))
    sleep 0.1
done
epmd -port "$2" -kill >/dev/null 2>&1
rm -rf "$1"
