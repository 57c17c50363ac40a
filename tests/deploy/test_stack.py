"""The stack that compose describes, running: a study goes through it, and each door refuses who has no key.

The study lasts long enough for Ray to export its metrics, and Prometheus to scrape them, more than once.

SECURITY.md lists the doors with these tests.
"""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.lab import Host, until
from tests.deploy.stack import S3, Stack
from tests.tools import need

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

STUDY = """
name: stack
seed: 0
data: {name: synthetic}
teacher: {model: resnet8, epochs: 2, allow_weak: true}
student: {model: resnet8}
train: {epochs: 15, batch_size: 32, base_lr: {log: [0.01, 0.1]}}
arms: {transfers: [attention], policies: [constant]}
search: {sampler: random, trials_per_arm: 2}
confirm: {seeds: 1}
"""
FETCH = """
import sys, urllib.error, urllib.request
request = urllib.request.Request(sys.argv[1], headers=dict(pair.split(": ", 1) for pair in sys.argv[2:]))
try:
    with urllib.request.urlopen(request, timeout=30) as answer: print(answer.status, answer.read().decode(), sep="\\n")
except urllib.error.HTTPError as error: print(error.code, "", sep="\\n")
"""


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    for tool in ("netns", "postgres", "prometheus"):
        need(tool)
    with Stack() as stack:
        yield stack


@pytest.fixture(scope="module")
def client(stack: Stack) -> Host:
    """A machine beside the stack that has no secret."""
    return stack.hosts["client"]


@pytest.fixture(scope="module")
def study(stack: Stack, client: Host) -> str:
    """Submit a study from the client, with Ray's token alone; return its ID."""
    (stack.folder / "study.yaml").write_text(STUDY)
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": stack.secret("ray-token")}
    store = stack.service("ray-head")["KDSTUDY_STORE"]
    command = ["submit", "study.yaml", "--address", "http://ray-head:8265", "--store", store, "--wait"]
    process = client.start(sys.executable, "-m", "kdstudy", *command, log="submit.log", env=token)
    assert process.wait(600) == 0, (stack.folder / "submit.log").read_text()[-3000:]
    ended = (stack.folder / "submit.log").read_text()
    return next(line.split()[1].rstrip(":") for line in ended.splitlines() if line.endswith(": finished"))


def fetch(host: Host, url: str, *headers: str) -> tuple[int, str]:
    """Return status and body of a page, asked for on another machine."""
    status, _, body = host.call(sys.executable, "-c", FETCH, url, *headers).partition("\n")
    return int(status), body


def login(stack: Stack) -> str:
    pair = f"admin:{stack.secret('mlflow-password')}"
    return f"Authorization: Basic {base64.b64encode(pair.encode()).decode()}"


def fails(host: Host, code: str, **environment: str) -> str:
    """Run Python that must fail; return its last line."""
    with pytest.raises(RuntimeError) as caught:
        host.call(sys.executable, "-c", code, env=environment)
    return str(caught.value).strip().splitlines()[-1]


def on_a_node(stack: Stack, *arguments: str) -> str:
    """Run kdstudy in the driver's container, so to say: on a node, with compose's settings."""
    entry = (sys.executable, str(Path(__file__).parents[2] / "docker" / "entrypoint.py"))
    command = (*entry, sys.executable, "-m", "kdstudy", *arguments)
    return stack.hosts["ray-head"].call(*command, env=stack.service("driver"))


def test_the_doctor_finds_the_whole_stack_well(stack: Stack) -> None:
    said = on_a_node(stack, "doctor", "--address", "10.77.0.10:6379", "--json")
    findings = {found["question"]: found for found in json.loads(said)}
    assert {name for name, found in findings.items() if not found["good"]} == set()
    assert findings["tracking"]["said"] == "http://mlflow:5000: it asks for a login, and takes ours"
    assert "s3://kdstudy/store" in findings["storage"]["said"]
    assert {"node 10.77.0.10", "node 10.77.0.11"} <= set(findings)


def test_a_study_goes_through_and_its_record_is_read_back_over_http(stack: Stack, client: Host, study: str) -> None:
    found = "http://mlflow:5000/api/2.0/mlflow/experiments/get-by-name?experiment_name=stack"
    status, body = fetch(client, found, login(stack))
    assert status == 200
    experiment = json.loads(body)["experiment"]["experiment_id"]
    code = (
        "import mlflow, json, sys; client = mlflow.MlflowClient()\n"
        "runs = client.search_runs([sys.argv[1]])\n"
        "print(json.dumps([[run.info.status, run.data.tags, run.data.metrics, run.data.params] for run in runs]))"
    )
    password = {"MLFLOW_TRACKING_URI": "http://mlflow:5000", "MLFLOW_TRACKING_USERNAME": "admin"}
    password["MLFLOW_TRACKING_PASSWORD"] = stack.secret("mlflow-password")
    runs: list[tuple[str, dict[str, str], dict[str, float], dict[str, str]]] = json.loads(
        client.call(sys.executable, "-c", code, experiment, env=password)
    )
    trials = [run for run in runs if run[1]["kdstudy.kind"] == "trial"]
    assert {run[1]["kdstudy.study_id"] for run in runs} == {study}
    assert [run[0] for run in runs] == ["FINISHED"] * 4, "two searched, one confirmed, the study's own"
    shown = json.loads(on_a_node(stack, "show", study, "--json"))
    assert shown["status"] == "finished"
    by_number = {trial["trial"]: trial for trial in shown["trials"]}
    assert len(by_number) == len(trials) == 3
    for _, tags, metrics, _ in trials:
        assert metrics["val"] == by_number[int(tags["kdstudy.trial"])]["val"]


def test_metrics_are_scraped_and_hold_no_secret(stack: Stack, client: Host, study: str) -> None:
    query = "http://ray-head:9090/api/v1/query?query="

    def nodes() -> bool:
        result = json.loads(fetch(client, f"{query}up")[1])["data"]["result"]
        up = {row["metric"]["instance"] for row in result if row["value"][1] == "1"}
        return {"10.77.0.10:8080", "10.77.0.11:8080"} <= up

    until(nodes, "Prometheus finds both nodes", 90)
    past = json.loads(fetch(client, f"{query}last_over_time(ray_kdstudy_trials[30m])")[1])["data"]["result"]
    assert past, "the driver's own metrics were scraped while it ran"
    status, page = fetch(client, "http://10.77.0.11:8080/metrics")
    assert status == 200
    assert not [name for name in secrets_of(stack) if stack.secret(name) in page]


def secrets_of(stack: Stack) -> list[str]:
    return sorted(path.name for path in (stack.folder / "secrets").iterdir() if path.name != "s3-identities")


def test_postgres_refuses_a_stranger(stack: Stack, client: Host) -> None:
    connect = "import psycopg; psycopg.connect('postgresql://kdstudy@postgres/{}', connect_timeout=10)"
    for database in ("kdstudy", "mlflow", "mlflow_auth"):
        assert "no password supplied" in fails(client, connect.format(database))
        assert "password authentication failed" in fails(client, connect.format(database), PGPASSWORD="guess")
        client.call(
            sys.executable, "-c", connect.format(database), env={"PGPASSWORD": stack.secret("postgres-password")}
        )


def test_s3_refuses_a_stranger(stack: Stack, client: Host) -> None:
    code = (
        f"import boto3; boto3.client('s3', endpoint_url='{S3}', region_name='us-east-1').list_objects(Bucket='kdstudy')"
    )
    keys = {"AWS_ACCESS_KEY_ID": stack.secret("s3-access-key"), "AWS_SECRET_ACCESS_KEY": stack.secret("s3-secret-key")}
    client.call(sys.executable, "-c", code, env=keys)
    assert "AccessKeyId" in fails(client, code, AWS_ACCESS_KEY_ID="guess", AWS_SECRET_ACCESS_KEY="guess")
    assert "SignatureDoesNotMatch" in fails(client, code, **(keys | {"AWS_SECRET_ACCESS_KEY": "guess"}))
    assert fetch(client, f"{S3}/kdstudy")[0] != 200, "without any key"


def test_mlflow_refuses_a_stranger_and_a_strange_host(stack: Stack, client: Host) -> None:
    place = "http://mlflow:5000/api/2.0/mlflow/experiments/search?max_results=1"
    assert fetch(client, place)[0] == 401
    guess = base64.b64encode(b"admin:password1234").decode()
    assert fetch(client, place, f"Authorization: Basic {guess}")[0] == 401
    assert fetch(client, place, login(stack))[0] == 200
    assert fetch(client, place, login(stack), "Host: evil.example")[0] == 403, "a page of a stranger's, by DNS"
    artifacts = "http://mlflow:5000/api/2.0/mlflow-artifacts/artifacts"
    assert fetch(client, artifacts)[0] == 401


GCS = (
    "from ray._raylet import GcsClient; print(len(GcsClient(address='10.77.0.10:6379').get_all_node_info(timeout=10)))"
)


def test_rays_control_store_refuses_a_stranger(stack: Stack, client: Host) -> None:
    assert "InvalidAuthToken" in fails(client, GCS, RAY_AUTH_MODE="disabled")
    assert "InvalidAuthToken" in fails(client, GCS, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN="0" * 64)
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": stack.secret("ray-token")}
    assert int(client.call(sys.executable, "-c", GCS, env=token)) == 2


def test_rays_dashboard_refuses_a_stranger(stack: Stack, client: Host, study: str) -> None:
    for page in ("api/jobs/", "nodes?view=summary", "api/v0/tasks", "logs"):
        assert fetch(client, f"http://ray-head:8265/{page}")[0] == 401, page
        assert fetch(client, f"http://ray-head:8265/{page}", f"Authorization: Bearer {'0' * 64}")[0] in (401, 403), page
    token = f"Authorization: Bearer {stack.secret('ray-token')}"
    status, jobs = fetch(client, "http://ray-head:8265/api/jobs/", token)
    assert status == 200
    assert json.loads(jobs)[0]["status"] == "SUCCEEDED"
    assert not [name for name in secrets_of(stack) if stack.secret(name) in jobs], "the job's runtime environment"


def test_no_secret_is_in_logs_records_or_arguments(stack: Stack, study: str) -> None:
    planted = {name: stack.secret(name) for name in secrets_of(stack)}
    lines = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if readable(path)]
    assert not [name for name, value in planted.items() if any(value.encode() in line for line in lines)]
    for log in stack.folder.glob("*.log"):
        text = log.read_text(errors="replace")
        assert not [name for name, value in planted.items() if value in text], log.name
    rays = stack.hosts["ray-head"].call("sh", "-c", "cat /tmp/ray/session_*/logs/* 2>/dev/null || true")
    rays += stack.hosts["ray-worker"].call("sh", "-c", "cat /tmp/ray/session_*/logs/* 2>/dev/null || true")
    assert "describe_node" in rays
    assert not [name for name, value in planted.items() if value in rays]
    record = on_a_node(stack, "show", study, "--json")
    assert not [name for name, value in planted.items() if value in record]


def readable(path: Path) -> bool:
    try:
        return bool(path.read_bytes())
    except OSError:
        return False
