"""The stack of docker/compose.yaml without containers: its commands and settings, verbatim, on machines of namespaces.

Each service runs on a machine of its own (`benchmarks.lab`) that knows the others by compose's names and finds its
secrets where compose mounts them. What cannot be had without an image stands in: PostgreSQL from Debian, moto for S3
(asking for keys, as the real one does), Prometheus from Debian; Grafana is left out.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from benchmarks.lab import BIN, ROOT, Host, Lab, until
from tests.deploy.test_compose import DOCKER, substituted

ADDRESSES = {
    "postgres": "10.77.0.2", "objects": "10.77.0.3", "mlflow": "10.77.0.4", "ray-head": "10.77.0.10",
    "ray-worker": "10.77.0.11", "client": "10.77.0.20",
}  # fmt: skip
S3 = "http://objects:8333"
# Grants what compose's identities file grants in the real server; the first requests are free, to make the user.
_IDENTITY = f"""
import boto3, json
def client(kind): return boto3.client(kind, endpoint_url="{S3}", region_name="us-east-1", aws_access_key_id="first",
                                      aws_secret_access_key="first")
iam = client("iam")
iam.create_user(UserName="kdstudy")
policy = {{"Version": "2012-10-17", "Statement": [{{"Effect": "Allow", "Action": "*", "Resource": "*"}}]}}
iam.put_user_policy(UserName="kdstudy", PolicyName="all", PolicyDocument=json.dumps(policy))
key = iam.create_access_key(UserName="kdstudy")["AccessKey"]
print(json.dumps([key["AccessKeyId"], key["SecretAccessKey"]]))
"""
FREE_REQUESTS = 3


class Stack(Lab):
    """The running stack; `client` is a machine beside it that has no secrets."""

    def __init__(self) -> None:
        self.compose: dict[str, Any] = yaml.safe_load(substituted((DOCKER / "compose.yaml").read_text()))
        super().__init__(workers=1, dashboard=True)

    def env(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return the environment of a process: nothing of the tests' own but where programs are."""
        return {"PATH": f"{BIN}:{os.environ['PATH']}", "HOME": "/root", "LANG": "C.UTF-8", **(more or {})}

    def secret(self, name: str) -> str:
        """Return one of the secrets."""
        return (self.folder / "secrets" / name).read_text()

    def service(self, name: str) -> dict[str, str]:
        """Return a service's environment, as compose gives it; the cache alone is elsewhere."""
        found = dict(self.compose["services"][name].get("environment", {}))
        return {
            **found,
            "KDSTUDY_CACHE": f"{self.folder}/cache-{name}",
            "OMP_NUM_THREADS": "1",
            "RAY_USAGE_STATS_ENABLED": "0",
        }

    def _build(self) -> None:
        shutil.copy(DOCKER / "make-secrets.sh", self.folder)
        subprocess.run(["bash", str(self.folder / "make-secrets.sh")], check=True)
        (self.folder / "secrets").chmod(0o755)  # PostgreSQL's user reads one of them; the lab's folder is not listed
        names = "".join(f"{address} {name}\n" for name, address in ADDRESSES.items())
        (self.folder / "hosts").write_text(f"127.0.0.1 localhost\n{names}")
        self._make_switch()
        for index, (name, address) in enumerate(ADDRESSES.items()):
            self.hosts[name] = Host(self, f"{self.tag}{index}", address)
            self._furnish(self.hosts[name], with_secrets=name != "client")
        self._start_postgres()
        self._start_objects()
        self._start_mlflow()
        self._start_ray()
        self._start_prometheus()

    def _make_switch(self) -> None:
        for command in (
            ["ip", "netns", "add", self.switch],
            ["ip", "-n", self.switch, "link", "add", "br0", "type", "bridge"],
            ["ip", "-n", self.switch, "link", "set", "br0", "up"],
            ["ip", "-n", self.switch, "link", "set", "lo", "up"],
        ):
            subprocess.run(command, check=True, capture_output=True)

    def _furnish(self, host: Host, *, with_secrets: bool) -> None:
        """Give a machine the names of the others, and the secrets where compose mounts them."""
        host.call("mount", "--bind", str(self.folder / "hosts"), "/etc/hosts")
        host.call("mount", "-t", "tmpfs", "tmpfs", "/run")
        if with_secrets:
            host.call("mkdir", "/run/secrets")
            host.call("mount", "--bind", str(self.folder / "secrets"), "/run/secrets")

    def start_service(self, name: str, *more: str, on: str | None = None) -> None:
        """Start a service's own command through the image's entry point."""
        command = [
            part.replace("/opt/kdstudy/bin/", f"{DOCKER}/") for part in self.compose["services"][name]["command"]
        ]
        environment = self.service(name)
        if "MLFLOW_AUTH_CONFIG_PATH" in environment:
            environment["MLFLOW_AUTH_CONFIG_PATH"] = str(DOCKER / "mlflow" / "basic_auth.ini")
        entry = (sys.executable, str(DOCKER / "entrypoint.py"))
        self.hosts[on or name].start(*entry, *command, *more, log=f"{name}.log", env=environment)

    def healthy(self, name: str) -> bool:
        """Return what the image's health check says of a service."""
        places = {"KDSTUDY_HEALTH": self.compose["services"][name]["environment"]["KDSTUDY_HEALTH"]}
        command = self.hosts[name].popen(
            sys.executable, str(DOCKER / "healthcheck.py"), env=places, stderr=subprocess.DEVNULL
        )
        return command.wait(30) == 0

    def _start_postgres(self) -> None:
        data, service = self.folder / "postgres", self.compose["services"]["postgres"]
        user, database = (service["environment"][f"POSTGRES_{name}"] for name in ("USER", "DB"))
        authentication = service["environment"]["POSTGRES_INITDB_ARGS"].split()
        subprocess.run(["install", "-d", "-o", "postgres", "-m", "700", str(data)], check=True)
        password = service["environment"]["POSTGRES_PASSWORD_FILE"]
        self._postgres_on("initdb", "-D", str(data), "-U", user, f"--pwfile={password}", "-N", *authentication)
        with (data / "pg_hba.conf").open("a") as file:
            file.write("host all all all scram-sha-256\n")  # as the image does
        options = f"-c listen_addresses=* -c unix_socket_directories={data} -c shared_buffers=64MB"
        self._postgres_on("pg_ctl", "-D", str(data), "-w", "-l", str(data / "log"), "-o", options, "start")
        statements = re.findall(
            r"^CREATE .*?;", (DOCKER / "postgres" / "databases.sql").read_text(), flags=re.MULTILINE
        )
        code = (
            "import sys, psycopg as p\nc = p.connect(sys.argv[1], autocommit=True)\nfor s in sys.argv[2:]: c.execute(s)"
        )
        words = [f"CREATE DATABASE {database}", *statements]
        self.hosts["postgres"].call(
            sys.executable, "-c", code, f"postgresql://{user}@postgres/postgres", *words,
            env={"PGPASSWORD": self.secret("postgres-password")},
        )  # fmt: skip

    def _postgres_on(self, program: str, *arguments: str) -> None:
        folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parts[-2]))
        path = str(folders[-1] / program) if folders else program
        self.hosts["postgres"].call("runuser", "-u", "postgres", "--", path, *arguments)

    def _start_objects(self) -> None:
        command = self.compose["services"]["objects"]["command"]
        (port,) = [part.removeprefix("-s3.port=") for part in command if part.startswith("-s3.port=")]
        self.hosts["objects"].start(
            str(BIN / "moto_server"), "-H", "0.0.0.0", "-p", port, log="objects.log",
            env={"INITIAL_NO_AUTH_ACTION_COUNT": str(FREE_REQUESTS)},
        )  # fmt: skip
        client = self.hosts["client"]
        ready = f"import urllib.request; urllib.request.urlopen('{S3}/moto-api/', timeout=5)"
        until(lambda: client.popen(sys.executable, "-c", ready, stderr=subprocess.DEVNULL).wait(20) == 0, "S3 starts")
        key, secret = json.loads(client.call(sys.executable, "-c", _IDENTITY))
        (self.folder / "secrets" / "s3-access-key").write_text(key)
        (self.folder / "secrets" / "s3-secret-key").write_text(secret)
        made = self.service("buckets")
        command = [str(DOCKER / "buckets.py")]
        self.hosts["mlflow"].call(sys.executable, str(DOCKER / "entrypoint.py"), sys.executable, *command, env=made)

    def _start_mlflow(self) -> None:
        self.start_service("mlflow")

    def _start_ray(self) -> None:
        small = ("--object-store-memory", "80000000")
        self.start_service("ray-head", "--node-ip-address", ADDRESSES["ray-head"], *small)
        until(lambda: self.healthy("ray-head"), "Ray's head is healthy", 180)
        self.start_service("ray-worker", "--node-ip-address", ADDRESSES["ray-worker"], "--num-cpus", "1", *small)
        until(lambda: self.healthy("ray-worker"), "Ray's worker is healthy", 180)
        until(lambda: self.healthy("mlflow"), "MLflow is healthy", 240)

    def _start_prometheus(self) -> None:
        """Prometheus on the head's machine: compose shares the head's folder of addresses with it by a volume."""
        head = self.hosts["ray-head"]
        head.call("mount", "-t", "tmpfs", "tmpfs", "/etc/prometheus")
        for name in ("prometheus.yml", "rules.yml"):
            head.call("cp", str(ROOT / "dashboards" / "prometheus" / name), f"/etc/prometheus/{name}")
        head.call("mkdir", "/etc/prometheus/ray", "/tmp/ray/prometheus")
        head.call("mount", "--bind", "/tmp/ray", "/etc/prometheus/ray")
        command = [part for part in self.compose["services"]["prometheus"]["command"] if ".path=" not in part]
        head.start("prometheus", *command, "--storage.tsdb.path=/tmp/ray/prometheus", log="prometheus.log")


def main() -> None:
    """Start the stack and keep it until Ctrl-C."""
    with Stack() as stack:
        print(f"the stack runs; its logs are in {stack.folder}; Ctrl-C ends it", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            signal.pause()


if __name__ == "__main__":
    main()
