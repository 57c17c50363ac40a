"""docker/kubernetes/: valid by Kubernetes' and KubeRay's schemas, and by the rules that no schema knows."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import ray
import yaml

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docker" / "kubernetes"
KUBERNETES = "1.31"
DOCUMENTS = [
    (path.name, document) for path in sorted(FOLDER.glob("*.yaml")) for document in yaml.safe_load_all(path.read_text())
]
IDS = [f"{name}:{document['kind']}/{document['metadata']['name']}" for name, document in DOCUMENTS]
ALL = pytest.mark.parametrize("document", [document for _, document in DOCUMENTS], ids=IDS)


def strict(schema: Any) -> Any:
    """Return a CRD's schema as JSON Schema in which an unknown key is an error."""
    if isinstance(schema, list):
        return [strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: strict(value) for key, value in schema.items()}
    if made.pop("x-kubernetes-int-or-string", False):
        made.pop("anyOf", None)
        made["type"] = ["integer", "string"]
    open_ended = "x-pod-template" in made or "x-kubernetes-preserve-unknown-fields" in made
    if made.get("type") == "object" and "properties" in made and not open_ended:
        made.setdefault("additionalProperties", False)
    return made


def definition(kind: str) -> Any:
    return strict(json.loads((Path(__file__).parent / "crds" / f"{kind.lower()}.json").read_text())["openAPIV3Schema"])


def ours(document: dict[str, Any]) -> bool:
    return bool(document["apiVersion"] == "ray.io/v1")


def pods(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield every pod template."""
    if isinstance(document, dict):
        template = document.get("template")
        if isinstance(template, dict) and "containers" in template.get("spec", {}):
            yield template
        for value in document.values():
            yield from pods(value)
    elif isinstance(document, list):
        for value in document:
            yield from pods(value)


@ALL
def test_schemas(document: dict[str, Any]) -> None:
    if not ours(document):
        kubernetes_validate.validate(document, KUBERNETES, strict=True)
        return
    jsonschema.validate(document, definition(document["kind"]))
    for template in pods(document):
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, "spec": template["spec"]}
        kubernetes_validate.validate(pod, KUBERNETES, strict=True)


def test_a_misspelt_key_would_be_found() -> None:
    cluster = next(document for _, document in DOCUMENTS if document["kind"] == "RayCluster")
    for place in (("spec", "authOption"), ("spec", "autoscalerOptions", "idle")):
        wrong = json.loads(json.dumps(cluster))
        inner = wrong
        for key in place[:-1]:
            inner = inner[key]
        inner[place[-1]] = {}
        with pytest.raises(jsonschema.ValidationError, match=place[-1]):
            jsonschema.validate(wrong, definition("RayCluster"))


@ALL
def test_names_and_namespace(document: dict[str, Any]) -> None:
    assert re.fullmatch(r"[a-z]([-a-z0-9]{0,40}[a-z0-9])?", document["metadata"]["name"])
    assert document["kind"] == "Namespace" or document["metadata"]["namespace"] == "kdstudy"


@ALL
def test_no_secret_is_written_out_and_images_are_pinned(document: dict[str, Any]) -> None:
    assert document["kind"] != "Secret", "README.md makes it from files"
    text = json.dumps(document)
    assert not re.search(r"://[^/@\s\"]+:[^/@\s\"]+@", text), "a password in a URL"
    for template in pods(document):
        for container in template["spec"]["containers"]:
            assert re.search(r":\d+\.\d+\.\d+[\w-]*$", container["image"]), container["image"]
            for entry in container.get("env", []):
                if re.search(r"PASSWORD|SECRET|TOKEN|ACCESS_KEY", entry["name"]):
                    assert set(entry) == {"name", "valueFrom"}, entry["name"]
                    assert set(entry["valueFrom"]) == {"secretKeyRef"}


@ALL
def test_pods_run_without_rights_and_within_limits(document: dict[str, Any]) -> None:
    for template in pods(document):
        spec = template["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] > 0
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        # The head's autoscaler asks the Kubernetes API for nodes; nobody else has business there.
        head = [container["name"] for container in spec["containers"]] == ["ray-head"]
        assert spec["automountServiceAccountToken"] is head
        for container in spec["containers"]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert "memory" in container["resources"]["limits"]


CLUSTERS = [
    pytest.param(document["spec"].get("rayClusterSpec", document["spec"]), id=name)
    for (name, document) in DOCUMENTS
    if ours(document)
]


@pytest.mark.parametrize("cluster", CLUSTERS)
def test_what_kuberay_demands_and_no_schema_says(cluster: dict[str, Any]) -> None:
    assert cluster["rayVersion"] == ray.__version__, "mandatory with authOptions; equal to the image's"
    assert cluster["authOptions"] == {"mode": "token"}
    head, workers = cluster["headGroupSpec"], cluster["workerGroupSpecs"]
    for group in (head, *workers):
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())
        assert "redis-password" not in group["rayStartParams"]
        assert "resources" not in group, "resources stand in one place"
        spec = group["template"]["spec"]
        assert spec["restartPolicy"] == "Never", "autoscaler v2"
        (memory,) = [volume for volume in spec["volumes"] if volume.get("emptyDir", {}).get("medium") == "Memory"]
        assert {"name": memory["name"], "mountPath": "/dev/shm"} in spec["containers"][0]["volumeMounts"]
    assert head["rayStartParams"]["num-cpus"] == "0"
    assert int(head["template"]["spec"]["containers"][0]["resources"]["limits"]["memory"].removesuffix("Gi")) >= 5
    for group in workers:
        assert 0 <= group["minReplicas"] <= group["maxReplicas"] > 0
    (gpu,) = [group for group in workers if group["groupName"] == "gpu"]
    spec = gpu["template"]["spec"]
    assert spec["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert spec["containers"][0]["image"].endswith("-cuda")
    assert spec["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]


def test_the_lasting_clusters_head_may_be_lost() -> None:
    (cluster,) = [document["spec"] for _, document in DOCUMENTS if document["kind"] == "RayCluster"]
    options = cluster["gcsFaultToleranceOptions"]
    assert options["redisAddress"] == "redis:6379"
    assert options["redisPassword"]["valueFrom"]["secretKeyRef"] == {"name": "kdstudy", "key": "redis-password"}


def test_what_is_referred_to_exists() -> None:
    there = {(document["kind"], document["metadata"]["name"]) for _, document in DOCUMENTS}
    text = json.dumps([document for _, document in DOCUMENTS])
    for kind, pattern in (
        ("ConfigMap", r'"configMap(?:Ref)?": {"name": "([\w-]+)"'),
        ("PersistentVolumeClaim", r'"claimName": "([\w-]+)"'),
    ):
        names = set(re.findall(pattern, text))
        assert names
        assert {(kind, name) for name in names} <= there
    keys = set(re.findall(r'"secretKeyRef": {"name": "kdstudy", "key": "([\w-]+)"', text))
    script = (ROOT / "docker" / "make-secrets.sh").read_text()
    assert all(key in script for key in keys), keys


def test_the_study_of_the_example_is_valid(tmp_path: Path) -> None:
    from kdstudy.study import load_study

    studies = [document["data"] for _, document in DOCUMENTS if "study.yaml" in document.get("data", {})]
    (study,) = [data["study.yaml"] for data in studies]
    (tmp_path / "study.yaml").write_text(study)
    assert load_study(tmp_path / "study.yaml").search.trials_per_arm == 2
