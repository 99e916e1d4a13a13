"""Runs the program of the image in its root, as its user, in a network of its own: alone.py ROOT

Beside it are only a name server and a web server, on the loopback: so it is shown that the static program resolves names
by itself (a static glibc may want shared libraries for that), finds the root certificates, and plays the whole demo with
nothing but the image and what every container is given. Needs root; run by `unshare --net`.
"""

import fcntl
import json
import os
import socket
import stat
import struct
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

root = Path(sys.argv[1]).resolve()
USER = 65532
NAME = b"\x08receiver\x07example\x00"


def loopback_up():
    get_flags, set_flags, up = 0x8913, 0x8914, 1
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sh14x", b"lo", 0)
        flags = struct.unpack("16sh14x", fcntl.ioctl(any_socket, get_flags, request))[1]
        fcntl.ioctl(any_socket, set_flags, struct.pack("16sh14x", b"lo", flags | up))


def serve_names():
    """Answers receiver.example with 127.0.0.9 (A), and with nothing else."""
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 53))
    while True:
        query, sender = server.recvfrom(512)
        question = query[12:]
        end = question.index(b"\x00") + 5
        is_ours, kind = question.startswith(NAME), question[end - 4:end - 2]
        answers = b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\x7f\x00\x00\x09" if is_ours and kind == b"\x00\x01" else b""
        head = query[:2] + (b"\x81\x80" if is_ours else b"\x81\x83") + struct.pack(">HHHH", 1, bool(answers), 0, 0)
        server.sendto(head + question[:end] + answers, sender)


class Well(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass


def enter():
    os.chroot(root)
    os.chdir("/var/lib/lastseen")
    os.setgroups([])
    os.setgid(USER)
    os.setuid(USER)


def lastseen(*arguments, expect=0, timeout=120):
    done = subprocess.run(["/lastseen", *arguments], preexec_fn=enter, env={}, capture_output=True, text=True, timeout=timeout)
    assert done.returncode == expect, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout, done.stderr


# The devices that every container has ("Default Devices" of the OCI runtime specification). A static program asks urandom.
(root / "dev").mkdir(exist_ok=True)
for name, minor in [("null", 3), ("zero", 5), ("full", 7), ("random", 8), ("urandom", 9)]:
    device = root / "dev" / name
    if not device.exists():
        os.mknod(device, 0o666 | stat.S_IFCHR, os.makedev(1, minor))
        device.chmod(0o666)

loopback_up()
threading.Thread(target=serve_names, daemon=True).start()
server = HTTPServer(("127.0.0.9", 8099), Well)
threading.Thread(target=server.serve_forever, daemon=True).start()
# Kubernetes and container engines put this file there.
(root / "etc/resolv.conf").write_text("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")

print("  " + lastseen("--version")[0].strip())
assert "lastseen demo" in lastseen("--help")[0]
out, _ = lastseen("health", "--url", "http://receiver.example:8099/livez")
assert out == "alive: http://receiver.example:8099/livez answered 200\n", out
print("  name resolved: " + out.strip())
out, _ = lastseen("health", "--url", "http://unknown.example:8099/livez", expect=1)
assert out.startswith("no answer from http://unknown.example:8099/livez"), out
print("  unknown name:  " + out.strip())

config = root / "etc/lastseen/lastseen.yaml"
recording = root / "var/lib/lastseen/recording.jsonl"
recording.write_text("")
secret = root / "etc/lastseen/ops.whsec"
secret.write_text("whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=\n")
os.chown(secret, 0, USER)
secret.chmod(0o440)
config.write_text(
    "sources: [{ name: a, type: file, hub: h, path: /var/lib/lastseen/recording.jsonl }]\n"
    "rules: { default: { window: 60s } }\n"
    "sinks: [{ name: ops, type: webhook, url: 'https://receiver.example/hook', secret_file: ops.whsec }]\n"
    "store: { path: /var/lib/lastseen }\nlog: { format: json }\n"
)


settings = json.loads((root.parent / "settings.json").read_text())
command = settings["ENTRYPOINT"] + settings["CMD"]
health = json.loads(settings["HEALTHCHECK"].partition("CMD ")[2])
service = subprocess.Popen(command, preexec_fn=enter, env={}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
try:
    # Every question waits for its answer; so this is a deadline, not a pause.
    for _ in range(500):
        asked = subprocess.run(health, preexec_fn=enter, env={}, capture_output=True, text=True, timeout=20)
        if asked.returncode == 0 or service.poll() is not None:
            break
        threading.Event().wait(0.02)
    if asked.returncode != 0:
        service.kill()
        sys.exit(f"HEALTHCHECK: {asked.stdout} {asked.stderr}\n{service.communicate()[0]}")
    print("  HEALTHCHECK:   " + asked.stdout.strip())
    service.terminate()
    log, _ = service.communicate(timeout=60)
    assert service.returncode == 0, log
finally:
    service.kill()
assert "root certificates" not in log and '"WARN"' not in log, f"it starts with a warning:\n{log}"
print("  STOPSIGNAL:    ended with 0, and the log had no warning")
out, _ = lastseen("demo", "--devices", "20", "--interval", "500ms", "--window", "2s", "--duration", "8s", "--json")
verdict = json.loads(out)
assert verdict["missed"] == 0 and verdict["false_offline"] == 0 and verdict["silenced"] > 0, verdict
print(f"  demo:          {verdict['heartbeats']} heartbeats, {verdict['silenced']} silenced, 0 missed, 0 false")
