"""What the chart promises, checked on its renders: check.py HELM OUT

OUT is a folder for what promtool and checkov read. Prints every broken promise, and exits with 1 if there is one.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

import yaml

root = Path(__file__).resolve().parents[2]
chart = root / "helm/lastseen"
golden = root / "tests/chart/golden"
values = root / "tests/chart/values"
helm, out = sys.argv[1], Path(sys.argv[2])
broken = []


def promise(kept, what):
    if not kept:
        broken.append(what)


def render(name, *more):
    command = [helm, "template", "watch", str(chart), "--namespace", "fleet", "--values", str(values / name), *more]
    return [d for d in yaml.safe_load_all(subprocess.run(command, check=True, capture_output=True, text=True).stdout) if d]


def of_kind(documents, kind):
    return [document for document in documents if document["kind"] == kind]


def seconds(duration):
    count, unit = re.fullmatch(r"(\d+) ?(ms|s|m)", duration).groups()
    return int(count) * {"ms": 0.001, "s": 1, "m": 60}[unit]


def check_restricted(where, pod):
    """The profile "restricted" of Kubernetes' Pod Security Standards, and what we ask beyond it."""
    security = pod["securityContext"]
    promise(security["runAsNonRoot"] is True and security["runAsUser"] == security["runAsGroup"] == 65532, f"{where}: user")
    promise(security["seccompProfile"] == {"type": "RuntimeDefault"}, f"{where}: seccomp")
    promise(pod["automountServiceAccountToken"] is False, f"{where}: token of the service account")
    promise(not {"hostNetwork", "hostPID", "hostIPC", "initContainers"} & pod.keys(), f"{where}: the host's namespaces")
    for container in pod["containers"]:
        name, own = f"{where}/{container['name']}", container["securityContext"]
        promise(own["allowPrivilegeEscalation"] is False and own["runAsNonRoot"] is True, f"{name}: escalation")
        promise(own["readOnlyRootFilesystem"] is True, f"{name}: a root that can be written")
        promise(own["capabilities"] == {"drop": ["ALL"]}, f"{name}: capabilities")
        promise(not {"privileged", "procMount"} & own.keys(), f"{name}: privileges")
        resources = container["resources"]
        promise(resources["requests"]["memory"] == resources["limits"]["memory"], f"{name}: memory")
        promise(all("valueFrom" not in variable for variable in container.get("env", [])), f"{name}: a secret in a variable")
    for volume in pod.get("volumes", []):
        (kind,) = volume.keys() - {"name"}
        promise(kind in {"projected", "emptyDir"}, f"{where}: volume of the kind {kind}")
        promise(kind != "emptyDir" or volume[kind].get("sizeLimit"), f"{where}: an emptyDir without a limit")


def check_set(where, stateful_set, config):
    spec, pod = stateful_set["spec"], stateful_set["spec"]["template"]["spec"]
    promise(spec["replicas"] == 1, f"{where}: replicas")
    promise(pod["securityContext"]["fsGroupChangePolicy"] == "OnRootMismatch", f"{where}: fsGroupChangePolicy")
    container = pod["containers"][0]
    paths = {name: container[name]["httpGet"]["path"] for name in ("startupProbe", "livenessProbe", "readinessProbe")}
    expected = {"startupProbe": "/livez", "livenessProbe": "/livez", "readinessProbe": "/readyz"}
    promise(paths == expected, f"{where}: probes ask {paths}")
    startup = container["startupProbe"]
    promise(startup["periodSeconds"] * startup["failureThreshold"] >= 300, f"{where}: time to start")
    deadline = seconds(config.get("shutdown", {}).get("deadline", "20s"))
    promise(pod["terminationGracePeriodSeconds"] >= deadline + 5, f"{where}: killed before shutdown.deadline")
    mounts = {mount["name"]: mount for mount in container["volumeMounts"]}
    promise(mounts["config"]["mountPath"] == "/etc/lastseen" and mounts["config"]["readOnly"], f"{where}: configuration")
    promise(mounts["data"]["mountPath"] == config["store"]["path"], f"{where}: store.path is not on the volume")
    claims = {claim["metadata"]["name"] for claim in spec.get("volumeClaimTemplates", [])}
    promise(set(mounts) <= claims | {volume["name"] for volume in pod["volumes"]}, f"{where}: mounts")
    # What the configuration names below secrets/ is there.
    projected = next(volume["projected"] for volume in pod["volumes"] if volume["name"] == "config")
    there = {item["path"] for source in projected["sources"] for item in source.get("secret", {}).get("items", [])}
    named = set(re.findall(r"secrets/[-\w./]+", json.dumps(config)))
    promise(named == there, f"{where}: named {named}, mounted {there}")
    promise(projected["defaultMode"] == 0o440, f"{where}: mode of the secrets")


def check_networks(where, policy, pod_labels):
    spec = policy["spec"]
    promise(sorted(spec["policyTypes"]) == ["Egress", "Ingress"], f"{where}: default deny both ways")
    promise(spec["podSelector"]["matchLabels"].items() <= pod_labels.items(), f"{where}: whom the policy is for")
    promise(all(rule.get("from") and rule.get("ports") for rule in spec.get("ingress", [])), f"{where}: ingress from anywhere")
    promise(all(rule.get("to") for rule in spec["egress"]), f"{where}: egress to anywhere")
    for rule in spec["egress"]:
        for block in (peer["ipBlock"] for peer in rule["to"] if "ipBlock" in peer):
            ports = {port["port"] for port in rule.get("ports", [])}
            if block["cidr"] == "0.0.0.0/0":
                promise({"169.254.0.0/16", "168.63.129.16/32"} <= set(block["except"]), f"{where}: metadata can be reached")
            if block["cidr"] == "::/0":
                promise("fe80::/10" in block["except"], f"{where}: link-local can be reached")
            promise(ports == {53} or not block["cidr"].startswith("169.254."), f"{where}: {block['cidr']}")


def check_documents(name, documents):
    for document in documents:
        where, meta = f"{name}: {document['kind']} {document['metadata']['name']}", document["metadata"]
        promise(meta.get("namespace") == "fleet", f"{where}: no namespace")
        promise(meta["labels"]["app.kubernetes.io/instance"] == "watch", f"{where}: labels")
        promise(document["kind"] not in {"Secret", "Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding"}, where)
    (stateful_set,), (config_map,) = of_kind(documents, "StatefulSet"), of_kind(documents, "ConfigMap")
    config = yaml.safe_load(config_map["data"]["lastseen.yaml"])
    pod_labels = stateful_set["spec"]["template"]["metadata"]["labels"]
    promise(stateful_set["spec"]["selector"]["matchLabels"].items() <= pod_labels.items(), f"{name}: selector")
    promise(config["http"]["listen"] == "0.0.0.0:8080", f"{name}: http.listen")
    check_restricted(name, stateful_set["spec"]["template"]["spec"])
    check_set(name, stateful_set, config)
    (test,) = of_kind(documents, "Pod")
    check_restricted(f"{name}/test", test["spec"])
    promise(not stateful_set["spec"]["selector"]["matchLabels"].items() <= test["metadata"]["labels"].items(), f"{name}: test")
    services = of_kind(documents, "Service")
    promise({s["spec"].get("clusterIP") for s in services} == {None, "None"}, f"{name}: services")
    for service in services:
        promise(service["spec"]["selector"].items() <= pod_labels.items(), f"{name}: selector of a service")
        promise(service["spec"]["publishNotReadyAddresses"] is True, f"{name}: metrics of a pod that is not ready")
    headless = {s["metadata"]["name"] for s in services if s["spec"].get("clusterIP") == "None"}
    promise(stateful_set["spec"]["serviceName"] in headless, f"{name}: serviceName")
    for budget in of_kind(documents, "PodDisruptionBudget"):
        promise(budget["spec"]["selector"]["matchLabels"].items() <= pod_labels.items(), f"{name}: budget")
    for policy in of_kind(documents, "NetworkPolicy"):
        is_test = policy["metadata"]["name"].endswith("-test")
        check_networks(f"{name}/{policy['metadata']['name']}", policy, test["metadata"]["labels"] if is_test else pod_labels)
    for account in of_kind(documents, "ServiceAccount"):
        promise(account["automountServiceAccountToken"] is False, f"{name}: token of the service account")
    check_monitoring(name, documents, services)


def check_monitoring(name, documents, services):
    """Kinds that no schema of Kubernetes knows: the fields without which the Prometheus operator does nothing."""
    for monitor in of_kind(documents, "ServiceMonitor"):
        promise(monitor["apiVersion"] == "monitoring.coreos.com/v1", f"{name}: ServiceMonitor")
        wanted = monitor["spec"]["selector"]["matchLabels"].items()
        found = [s for s in services if wanted <= s["metadata"]["labels"].items()]
        promise(len(found) == 1, f"{name}: the ServiceMonitor selects {len(found)} services")
        (endpoint,) = monitor["spec"]["endpoints"]
        promise(endpoint["port"] in {port["name"] for port in found[0]["spec"]["ports"]}, f"{name}: port of the ServiceMonitor")
        promise(endpoint["path"] == "/metrics", f"{name}: path of the ServiceMonitor")
        promise(seconds(endpoint["scrapeTimeout"]) <= seconds(endpoint["interval"]), f"{name}: time-out above the interval")
    for rule in of_kind(documents, "PrometheusRule"):
        promise(rule["apiVersion"] == "monitoring.coreos.com/v1", f"{name}: PrometheusRule")
        for alert in (alert for group in rule["spec"]["groups"] for alert in group["rules"]):
            where = f"{name}: alert {alert['alert']}"
            promise(re.fullmatch(r"Lastseen[A-Z]\w+", alert["alert"]), f"{where}: name")
            promise(alert["labels"]["severity"] in {"critical", "warning", "none"}, f"{where}: severity")
            texts = alert["annotations"]
            promise(len(texts["summary"]) > 20 and len(texts["description"]) > 40, f"{where}: says too little")
            promise("SELECTOR" not in json.dumps(alert) and "MAX_" not in json.dumps(alert), f"{where}: a word is left")


def check_changes():
    """What moves the pod, and what follows the shutdown deadline."""
    def checksum(*more):
        pod = of_kind(render("smallest.yaml", *more), "StatefulSet")[0]["spec"]["template"]
        return pod["metadata"]["annotations"]["checksum/config"]

    promise(checksum() == checksum("--set", "podLabels.a=b"), "the checksum changes without the configuration")
    promise(checksum() != checksum("--set", "config.rules.default.window=61s"), "the checksum does not follow the configuration")
    for deadline, expected in [("1500ms", 12), ("20s", 30), ("2m", 130)]:
        pod = of_kind(render("smallest.yaml", "--set", f"config.shutdown.deadline={deadline}"), "StatefulSet")[0]["spec"]["template"]
        grace = pod["spec"]["terminationGracePeriodSeconds"]
        promise(grace == expected, f"shutdown.deadline {deadline}: terminationGracePeriodSeconds {grace}, not {expected}")
    longest = of_kind(render("smallest.yaml", "--set", "fullnameOverride=" + "x" * 40), "StatefulSet")[0]["metadata"]["name"]
    promise(len(longest) == 40, "a long name")


def leaves(tree, path=""):
    for key, value in tree.items():
        place = f"{path}.{key}" if path else key
        if isinstance(value, dict) and value and path + key not in {"config"} and place != "config":
            yield from leaves(value, place)
        else:
            yield place, value


def check_documentation():
    """README.md names every value with its default, and the schema describes it."""
    defaults = dict(leaves(yaml.safe_load((chart / "values.yaml").read_text())))
    # A mapping of labels is one value.
    for parent in ("networkPolicy.dns.namespaceLabels", "networkPolicy.dns.podLabels"):
        inside = {key: defaults.pop(key) for key in list(defaults) if key.startswith(parent + ".")}
        defaults[parent] = {key[len(parent) + 1:]: value for key, value in inside.items()}
    rows = re.findall(r"^\| `([^`]+)` \| (.+?) \| (.+) \|$", (chart / "README.md").read_text(), re.M)
    listed = {key: default for key, default, _ in rows}
    promise(listed.keys() == defaults.keys(), f"README.md of the chart: differs in {sorted(listed.keys() ^ defaults.keys())}")
    for key, value in defaults.items():
        expected = "none" if value in ("", [], {}) else f"`{value if isinstance(value, str) else json.dumps(value)}`"
        promise(listed.get(key) == expected, f"README.md of the chart: default of {key}: {listed.get(key)}, not {expected}")
    schema = json.loads((chart / "values.schema.json").read_text())
    promise(schema["$schema"] == "http://json-schema.org/draft-07/schema#", "schema: draft")
    for key in defaults:
        part = schema
        for name in key.split("."):
            promise(part.get("additionalProperties") is False, f"schema: takes anything beside {key}")
            part = part.get("properties", {}).get(name, {})
        promise(len(part.get("description", "")) > 3, f"schema: {key} is not described")


def write_rules():
    """The rules of the full set, and their unit tests with the descriptions that are expected."""
    rule = of_kind(list(yaml.safe_load_all((golden / "full.yaml").read_text())), "PrometheusRule")[0]
    (out / "rules.yaml").write_text(yaml.safe_dump(rule["spec"], width=1000))
    descriptions = {a["alert"]: a["annotations"]["description"] for g in rule["spec"]["groups"] for a in g["rules"]}
    tests = yaml.safe_load((root / "tests/chart/alerts.test.yaml").read_text())
    fired, quiet = set(), set()
    for case in (case for test in tests["tests"] for case in test["alert_rule_test"]):
        expected = case.setdefault("exp_alerts", [])
        (fired if expected else quiet).add(case["alertname"])
        for alert in expected:
            alert["exp_annotations"]["description"] = descriptions[case["alertname"]]
    promise(fired == descriptions.keys(), f"alerts without a test that they fire: {descriptions.keys() - fired}")
    promise(quiet == descriptions.keys(), f"alerts without a test that they are quiet: {descriptions.keys() - quiet}")
    tests["rule_files"] = ["rules.yaml"]
    (out / "rules.test.yaml").write_text(yaml.safe_dump(tests, width=1000))


names = sorted(path.name for path in values.glob("*.yaml"))
promise(names == sorted(path.name for path in golden.glob("*.yaml")) and len(names) >= 4, "values and golden renders differ")
kinds = set()
for name in names:
    documents = [document for document in yaml.safe_load_all((golden / name).read_text()) if document]
    kinds |= {document["kind"] for document in documents}
    check_documents(name, documents)
expected_kinds = {"StatefulSet", "ConfigMap", "Service", "ServiceAccount", "PodDisruptionBudget", "NetworkPolicy", "Pod",
                  "ServiceMonitor", "PrometheusRule"}
promise(kinds == expected_kinds, f"kinds: {kinds ^ expected_kinds}")
check_changes()
check_documentation()
write_rules()
for line in broken:
    print(f"BROKEN  {line}")
sys.exit(1 if broken else 0)
