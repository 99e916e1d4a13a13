"""Does what the Dockerfile says, without a container engine: stages.py CONTEXT WORK TARGET_FOLDER

Every stage becomes the folder WORK/<stage>. COPY takes from the context only what .dockerignore lets through. RUN is run
by this machine's shell and tools, in the stage's working directory: what a base image holds is not tested. Cargo's target
folder is shared, so that dependencies which are built already are not built again.

Understands what the Dockerfile uses, and fails on anything else.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

context, work, cargo_target = (Path(argument).resolve() for argument in sys.argv[1:4])

# Instructions that say how the image is run, not what is in it.
SETTINGS = {"LABEL", "USER", "EXPOSE", "STOPSIGNAL", "HEALTHCHECK", "ENTRYPOINT", "CMD"}


def instructions():
    lines = [line for line in (context / "Dockerfile").read_text().splitlines() if not line.lstrip().startswith("#")]
    text = re.sub(r"\\\n", " ", "\n".join(lines))
    for line in text.splitlines():
        if line.strip():
            word, _, rest = line.strip().partition(" ")
            yield word.upper(), rest.strip()


def allowed():
    """What .dockerignore lets through of the context: it forbids all and names that."""
    lines = (context / ".dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*" and all(rule.startswith("!") for rule in rules[1:]), "only `*` and then `!NAME` is understood"
    return {rule[1:] for rule in rules[1:]}


class Stage:
    def __init__(self, name):
        self.root = work / name
        self.workdir = self.root
        self.root.mkdir(parents=True)

    def inside(self, path):
        return self.root / path.lstrip("/") if path.startswith("/") else self.workdir / path

    def run(self, command):
        if not re.search(r"\bcargo\b", command):
            print(f"  RUN {command[:70]}...", flush=True)
        else:
            print("  RUN " + " ".join(re.findall(r"cargo [^&]+", command)), flush=True)
        environment = {key: value for key, value in os.environ.items() if key != "CARGO_TARGET_DIR"}
        subprocess.run(["sh", "-ec", command], cwd=self.workdir, env=environment, check=True)

    def copy(self, arguments, stages):
        flags = [word for word in arguments if word.startswith("--")]
        *sources, target = [word for word in arguments if not word.startswith("--")]
        options = dict(flag[2:].split("=", 1) for flag in flags)
        origin, owner = options.pop("from", None), options.pop("chown", None)
        assert not options, f"COPY with {options} is not understood"
        for source in sources:
            if origin:
                source = stages[origin].inside(source)
            else:
                passes = {source, source.split("/")[0]} & allowed()
                assert passes, f".dockerignore keeps {source} from the builder"
                source = context / source
            # A folder's content is copied, a file goes into a folder.
            place = self.inside(target)
            if source.is_dir():
                shutil.copytree(source, place, dirs_exist_ok=True)
            elif target.endswith("/"):
                place.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, place / source.name)
            else:
                shutil.copy2(source, place)
            if owner and os.geteuid() == 0:
                user, group = map(int, owner.split(":"))
                for path in [place, *place.rglob("*")]:
                    os.chown(path, user, group)


def main():
    shutil.rmtree(work, ignore_errors=True)
    stages, settings, values = {}, {}, {}
    for word, rest in instructions():
        if word == "ARG":
            name, _, value = rest.partition("=")
            values[name] = value
        elif word == "FROM":
            base, _, name = rest.partition(" AS ")
            base = re.sub(r"\$\{(\w+)\}", lambda match: values[match[1]], base)
            name = name or "image"
            print(f"stage {name}, from {base}", flush=True)
            stages[name] = stage = Stage(name)
            settings = {"FROM": [*settings.get("FROM", []), base]}
        elif word == "WORKDIR":
            stage.workdir = stage.inside(rest)
            stage.workdir.mkdir(parents=True, exist_ok=True)
            if name == "build" and not (stage.workdir / "target").exists():
                (stage.workdir / "target").symlink_to(cargo_target)
        elif word == "COPY":
            stage.copy(rest.split(), stages)
        elif word == "RUN":
            stage.run(rest)
        elif word in SETTINGS:
            settings[word] = json.loads(rest) if rest.startswith("[") else rest
        else:
            sys.exit(f"{word} is not understood")
    (work / "settings.json").write_text(json.dumps(settings, indent=2))


main()
