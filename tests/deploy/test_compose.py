"""docker/compose.yaml and the Dockerfile: valid, pinned, shut, and in kdstudy's own words."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from compose_spec import PyCompose

from tests.tools import need

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
VARIABLE = re.compile(r"\$\{(\w+)(?::([-?])([^}]*))?\}")
EXAMPLE = dict(re.findall(r"^(\w+)=(.*)$", (DOCKER / "env.example").read_text(), flags=re.MULTILINE))
PAGES = {"mlflow", "ray-head", "prometheus", "grafana"}


def substituted(text: str) -> str:
    """Return ``text`` as compose reads it beside an .env file made from env.example."""

    def value(match: re.Match[str]) -> str:
        name, kind, default = match.groups()
        assert name in EXAMPLE or kind == "-", f"{name} is in neither env.example nor has it a default"
        return EXAMPLE.get(name, default or "")

    return VARIABLE.sub(value, text)


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(substituted((DOCKER / "compose.yaml").read_text()))
    return found


def without_anchors(compose: dict[str, Any]) -> str:
    return json.dumps({key: value for key, value in compose.items() if not key.startswith("x-")})


def test_the_file_is_a_compose_file_and_a_misspelt_key_would_be_found(compose: dict[str, Any]) -> None:
    assert set(PyCompose.from_json(without_anchors(compose)).service_names()) == set(compose["services"])
    for spoilt in ("healthchek", "port"):
        wrong = json.loads(without_anchors(compose))
        wrong["services"]["mlflow"][spoilt] = {}
        with pytest.raises(ValueError, match=spoilt):
            PyCompose.from_json(json.dumps(wrong))


@pytest.mark.slow
def test_the_compose_linter_finds_no_error(tmp_path: Path) -> None:
    programs = need("node")
    subprocess.run([f"{programs}/npm", "install", "--silent", "dclint@3.1.0"], cwd=tmp_path, check=True, timeout=240)
    linter = tmp_path / "node_modules" / ".bin" / "dclint"
    done = subprocess.run(
        [str(linter), "--quiet", str(DOCKER / "compose.yaml")], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_images_are_pinned_and_the_dockerfile_is_clean() -> None:
    text = (DOCKER / "compose.yaml").read_text() + (DOCKER / "Dockerfile").read_text()
    images = re.findall(r"^\s*image: ([^$\s]+)$|^FROM (\S+:\S+)", text, flags=re.MULTILINE)
    names = [one or other for one, other in images]
    assert len(names) >= 5
    assert all(re.search(r":v?\d+\.\d+(\.\d+)?[\w.-]*$", name) for name in names), names
    linter = Path(sys.executable).parent / "hadolint"
    done = subprocess.run([str(linter), str(DOCKER / "Dockerfile")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_image_runs_as_nobody_special_and_says_whether_it_is_well() -> None:
    text = (DOCKER / "Dockerfile").read_text()
    stages = re.split(r"^FROM ", text, flags=re.MULTILINE)[1:]
    final = {stage.split()[3 if stage.split()[1] != "AS" else 2]: stage for stage in stages}
    for target in ("cpu", "cuda"):
        assert "\nUSER 10001:10001\n" in final[target]
        assert "\nHEALTHCHECK " in final[target]
        assert final[target].index("USER ") > final[target].rindex("COPY "), "nothing it runs may be written by it"
    assert not re.search(r"(password|secret|token)\s*=", text, flags=re.IGNORECASE)


def test_the_build_context_holds_only_what_the_dockerfile_copies() -> None:
    allowed = {
        line[1:].rstrip("/") for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")
    }
    copied = set()
    for line in re.findall(r"^COPY (?!--from)(.*)$", (DOCKER / "Dockerfile").read_text(), flags=re.MULTILINE):
        copied |= set(line.split()[:-1])
    assert {name.partition("/*")[0] for name in allowed} == {name for name in copied if name != "kdstudy/__init__.py"}


def test_only_pages_are_published_and_only_on_loopback(compose: dict[str, Any]) -> None:
    published = {name: service["ports"] for name, service in compose["services"].items() if "ports" in service}
    assert set(published) == PAGES
    for ports in published.values():
        assert all(re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port) for port in ports), ports
    assert compose["networks"]["inside"] == {"internal": True}
    assert compose["services"]["postgres"]["networks"] == ["inside"]
    assert compose["services"]["objects"]["networks"] == ["inside"]


def test_every_service_has_a_health_check_limits_and_may_gain_no_rights(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert "memory" in service["deploy"]["resources"]["limits"], name
        assert "cpus" in service["deploy"]["resources"]["limits"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert not service.get("privileged"), name
        ours = str(service["image"]).startswith("kdstudy:")  # the image brings its own health check
        serves = "KDSTUDY_HEALTH" in service.get("environment", {})
        assert "healthcheck" in service or serves or (ours and name in {"buckets", "driver"}), name
        for other, condition in service.get("depends_on", {}).items():
            assert condition["condition"] in {"service_healthy", "service_completed_successfully"}, (name, other)


def test_no_secret_is_written_out(compose: dict[str, Any]) -> None:
    files = {name: secret["file"] for name, secret in compose["secrets"].items()}
    assert all(place == f"./secrets/{name}" for name, place in files.items())
    secret = re.compile(r"PASSWORD|SECRET|TOKEN|ACCESS_KEY")
    for name, service in compose["services"].items():
        for key, value in service.get("environment", {}).items():
            if secret.search(key):
                assert key.endswith(("_FILE", "_PATH")), (name, key)
                assert value.removeprefix("/run/secrets/") in service["secrets"], (name, key)
        command = " ".join(service.get("command", [])).replace("/run/secrets/", "")
        assert not re.search(r"(?i)password|secret", command), name
        assert not re.search(r"://[^/@\s]+:[^/@\s]+@", json.dumps(service)), f"{name}: a password in a URL"
        assert set(service.get("secrets", [])) <= set(files)


def test_ray_and_mlflow_are_shut(compose: dict[str, Any]) -> None:
    services = compose["services"]
    for name in ("ray-head", "ray-worker", "ray-worker-gpu", "driver"):
        assert services[name]["environment"]["RAY_AUTH_MODE"] == "token"
        assert services[name]["environment"]["RAY_AUTH_TOKEN_PATH"] == "/run/secrets/ray-token"
    server = services["mlflow"]["command"]
    assert "--app-name=basic-auth" in server
    (hosts,) = [option for option in server if option.startswith("--allowed-hosts=")]
    assert "*" not in hosts
    assert "mlflow:5000" in hosts, "as the nodes name it"
    assert "default_permission = NO_PERMISSIONS" in (DOCKER / "mlflow" / "basic_auth.ini").read_text()
    assert services["grafana"]["environment"]["GF_AUTH_ANONYMOUS_ENABLED"] == "false"


def settings_of_kdstudy() -> set[str]:
    code = [path.read_text() for folder in (ROOT / "kdstudy", DOCKER) for path in folder.rglob("*.py")]
    return set(re.findall(r"KDSTUDY_[A-Z_]+", "".join(code)))


MANIFESTS = sorted(f"kubernetes/{path.name}" for path in DOCKER.glob("kubernetes/*.yaml"))
FILES = ["compose.yaml", "Dockerfile", "env.example", *MANIFESTS]


@pytest.mark.parametrize("file", FILES)
def test_settings_are_called_as_kdstudy_calls_them(file: str) -> None:
    text = (DOCKER / file).read_text()
    substitutes = {"KDSTUDY_IMAGE", "KDSTUDY_CUDA_IMAGE", "KDSTUDY_DATASETS"}
    assert set(re.findall(r"KDSTUDY_[A-Z_]+", text)) - substitutes <= settings_of_kdstudy()


def test_mounted_files_are_there(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        for mount in service.get("volumes", []):
            source = mount.partition(":")[0]
            if source.startswith("."):
                assert (DOCKER / source).exists(), source
                assert mount.endswith(":ro"), mount
            elif not source.startswith("/"):
                assert source in compose["volumes"]


def test_secrets_are_made_once_private_and_all_of_them(compose: dict[str, Any], tmp_path: Path) -> None:
    script = tmp_path / "make-secrets.sh"
    shutil.copy(DOCKER / "make-secrets.sh", script)
    subprocess.run(["bash", str(script)], check=True)
    made = {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()}
    assert set(made) >= set(compose["secrets"])
    assert (tmp_path / "secrets").stat().st_mode & 0o777 == 0o700
    assert min(len(text) for text in made.values()) >= 64
    assert len(set(made.values())) == len(made)
    (key,) = json.loads(made["s3-identities"])["identities"][0]["credentials"]
    assert key == {"accessKey": made["s3-access-key"], "secretKey": made["s3-secret-key"]}
    subprocess.run(["bash", str(script)], check=True)
    assert {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()} == made


def entrypoint(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(DOCKER / "entrypoint.py"), *command], capture_output=True, text=True, check=False,
        env={"PATH": os.environ["PATH"], **environment},
    )  # fmt: skip


def test_the_entry_point_hands_over_secrets_and_becomes_the_command(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s3cret\n")
    (tmp_path / "empty").touch()
    done = entrypoint(
        "sh", "-c", "echo $$ $PGPASSWORD $PGPASSWORD_FILE; exit 7", PGPASSWORD_FILE=str(tmp_path / "secret")
    )
    assert (done.returncode, done.stdout.split()[1:]) == (7, ["s3cret"])
    for place, reason in (("nowhere", "cannot be read"), ("empty", "is empty")):
        done = entrypoint("true", PGPASSWORD_FILE=str(tmp_path / place))
        assert (done.returncode, reason in done.stderr) == (1, True)
    assert "cannot be run" in entrypoint("no-such-program").stderr


def test_the_health_check_asks_everything_that_is_served() -> None:
    import http.server
    import threading

    def health(places: str) -> int:
        return subprocess.run(
            [sys.executable, str(DOCKER / "healthcheck.py")], env={**os.environ, "KDSTUDY_HEALTH": places}, check=False,
            capture_output=True,
        ).returncode  # fmt: skip

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/health" else 500)
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            """Nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        port = server.server_address[1]
        good = f"http://127.0.0.1:{port}/health tcp://127.0.0.1:{port}"
        assert health(good) == health("") == 0
        assert health(f"{good} tcp://127.0.0.1:1") == health(f"http://127.0.0.1:{port}/other") == 1
        server.shutdown()
        thread.join()
