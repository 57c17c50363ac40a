"""Several machines on one: Ray hosts with network, processes and /tmp/ray of their own, and the servers they use.

Needs root, iproute2 and PostgreSQL. Everything lives in namespaces of this process's own and ends with `Lab.close`; no
port of the machine itself is used.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

BIN = Path(sys.executable).parent
ROOT = Path(__file__).parents[1]
HEAD = "10.77.0.10"
SERVERS = "10.77.0.2"
GCS = f"{HEAD}:6379"
MLFLOW = f"http://{SERVERS}:5000"
PASSWORD = "secret"
PATIENCE = 300.0

# A namespace that looks like a machine: its own processes, shared memory, host name and /tmp/ray.
_BOOT = """
hostname "$1"; mount --make-rprivate /; mkdir -p /tmp/ray; mount -t tmpfs -o size=2g tmpfs /tmp/ray
mount -t tmpfs -o size=1g tmpfs /dev/shm; exec sleep infinity
"""


def run(*command: str, **options: Any) -> str:
    """Run a command to its end and return what it prints; fail with its complaint."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def until(condition: Any, what: str, seconds: float = PATIENCE) -> Any:
    """Wait until ``condition()`` is true and return it."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.2)
    raise RuntimeError(f"{what}: not within {seconds:.0f} s")


class Host:
    """A machine of the lab: a network interface on the switch, and everything that runs behind it."""

    def __init__(self, lab: Lab, name: str, address: str) -> None:
        self.lab, self.name, self.address = lab, name, address
        self._shell: subprocess.Popen[bytes] | None = None
        self._init = 0
        port = f"p{name[-6:]}"
        self._port = port
        run("ip", "netns", "add", name)
        run("ip", "-n", lab.switch, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", name)
        run("ip", "-n", lab.switch, "link", "set", port, "master", "br0", "up")
        run("ip", "-n", name, "addr", "add", f"{address}/24", "dev", "eth0")
        for device in ("eth0", "lo"):
            run("ip", "-n", name, "link", "set", device, "up")
        self.boot()

    def boot(self) -> None:
        """Start the machine: nothing runs on it yet."""
        apart = ("--mount", "--pid", "--ipc", "--uts", "--fork", "--mount-proc", "--kill-child=SIGKILL")
        inside = ("nsenter", f"--net=/run/netns/{self.name}", "unshare", *apart, "bash", "-c", _BOOT, "boot", self.name)
        self._shell = subprocess.Popen(inside)
        shell = self._shell.pid

        def init() -> int:
            children = Path(f"/proc/{shell}/task/{shell}/children").read_text().split()
            return int(children[0]) if children and _command(int(children[0])).startswith("sleep") else 0

        self._init = until(init, f"{self.name} boots", 20)

    def start(self, *command: str, log: str, env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        """Start a program on this machine; its output goes to a file of the lab."""
        with (self.lab.folder / log).open("a") as file:
            options: dict[str, Any] = {"stdout": file, "stderr": file}
            return self.popen(*command, env=env, **options)

    def popen(self, *command: str, env: Mapping[str, str] | None = None, **options: Any) -> subprocess.Popen[str]:
        """Start a program on this machine, with the options of ``subprocess.Popen``."""
        process = subprocess.Popen(self._inside(command), text=True, env=self.lab.env(env), **options)
        self.lab.programs.append(process)
        return process

    def call(self, *command: str, env: Mapping[str, str] | None = None) -> str:
        """Run a program on this machine to its end and return what it prints."""
        return run(*self._inside(command), env=self.lab.env(env))

    def _inside(self, command: Sequence[str]) -> list[str]:
        return ["nsenter", "-t", str(self._init), "-m", "-n", "-p", "-i", "-u", f"--wd={self.lab.folder}", *command]

    def pids(self, text: str) -> list[int]:
        """Return the processes on this machine whose command line has ``text``, by the PIDs of the outside."""
        found = map(int, run("ip", "netns", "pids", self.name).split())
        # Not the `nsenter` outside that a program on this machine was started through.
        return [pid for pid in found if text in _command(pid) and not (text and _command(pid).startswith("nsenter"))]

    def kill(self) -> None:
        """Pull the plug: every process dies at once."""
        if self._shell is not None:
            self._shell.kill()
            self._shell.wait()
            self._shell = None
            until(lambda: not self.pids(""), f"{self.name} is dead", 20)

    def cut(self) -> None:
        """Pull the network cable."""
        run("ip", "-n", self.lab.switch, "link", "set", self._port, "down")

    def mend(self) -> None:
        """Plug it in again."""
        run("ip", "-n", self.lab.switch, "link", "set", self._port, "up")


class Lab:
    """A switch, a machine for the servers, and Ray hosts.

    Args:
        workers: Ray hosts of one CPU each, beside the head, which holds no trial.
        dashboard: Whether the head serves the dashboard and with it the Jobs API.
        drain: Seconds for which a host that gets SIGTERM lets its trials come to a safe point.
    """

    def __init__(self, workers: int = 2, *, dashboard: bool = False, drain: int = 30) -> None:
        self.tag = f"kd{os.getpid() % 100000}"
        self.switch = f"{self.tag}sw"
        self.folder = Path(tempfile.mkdtemp(prefix="kdstudy-lab-"))
        self.folder.chmod(0o711)
        (self.folder / "token").write_text(secrets.token_hex(32))
        (self.folder / "token").chmod(0o600)
        self._dashboard, self._drain, self._count = dashboard, drain, workers
        self.programs: list[subprocess.Popen[str]] = []
        self.hosts: dict[str, Host] = {}
        try:
            self._build()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def ledger(self) -> str:
        """URL of the ledger."""
        return f"postgresql+psycopg://kd:{PASSWORD}@{SERVERS}:5432/ledger"

    @property
    def store(self) -> str:
        """Location of the store."""
        return f"s3://store/studies?endpoint_override=http://{SERVERS}:9000&region=us-east-1"

    @property
    def workers(self) -> list[Host]:
        """The Ray hosts that hold trials."""
        return [self.hosts[f"w{index}"] for index in range(self._count)]

    def env(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return the environment of everything in the lab."""
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        return {
            **kept,
            "PATH": f"{BIN}:{kept.get('PATH', '')}",
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            "PYTHONUNBUFFERED": "1",
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": PASSWORD,
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(self.folder / "token"),
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_worker_niceness": "0",  # else whatever else the machine does comes first
            "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": str(self._drain),
            # A host is given up after some 6 s instead of 63.
            "RAY_health_check_period_ms": "1000",
            "RAY_health_check_timeout_ms": "2000",
            "RAY_health_check_failure_threshold": "3",
            "KDSTUDY_CACHE": "/tmp/ray/kdstudy-cache",
            "KDSTUDY_STORE": self.store,
            "KDSTUDY_LEDGER": self.ledger,
            "MLFLOW_TRACKING_URI": MLFLOW,
            **(more or {}),
        }

    def _build(self) -> None:
        run("ip", "netns", "add", self.switch)
        run("ip", "-n", self.switch, "link", "add", "br0", "type", "bridge")
        for device in ("br0", "lo"):
            run("ip", "-n", self.switch, "link", "set", device, "up")
        self.hosts["servers"] = Host(self, f"{self.tag}sv", SERVERS)
        self.start_s3()
        self._init_postgres()
        self.start_postgres()
        self.start_mlflow()
        self.hosts["head"] = Host(self, f"{self.tag}hd", HEAD)
        self.start_head()
        for index in range(self._count):
            self.hosts[f"w{index}"] = Host(self, f"{self.tag}w{index}", f"10.77.0.{11 + index}")
            self.start_worker(index)
        self.await_mlflow()

    # Servers

    def start_s3(self) -> None:
        """Start an S3 server and make its buckets; it keeps them in memory."""
        servers = self.hosts["servers"]
        servers.start(str(BIN / "moto_server"), "-H", "0.0.0.0", "-p", "9000", log="s3.log")
        code = (
            "import boto3\n"
            f"client = boto3.client('s3', endpoint_url='http://{SERVERS}:9000', region_name='us-east-1')\n"
            "for name in ('store', 'mlflow'): client.create_bucket(Bucket=name)"
        )
        until(lambda: _works(lambda: servers.call(sys.executable, "-c", code)), "the S3 server starts")

    def _init_postgres(self) -> None:
        data = self.folder / "postgres"
        run("install", "-d", "-o", "postgres", "-m", "700", str(data))
        password = self.folder / "pw"
        password.write_text(PASSWORD)
        password.chmod(0o644)
        self._postgres("initdb", "-D", str(data), "-U", "kd", "--auth=scram-sha-256", f"--pwfile={password}", "-N")
        with (data / "pg_hba.conf").open("a") as file:
            file.write("host all all 10.77.0.0/24 scram-sha-256\n")

    def _postgres(self, program: str, *arguments: str) -> None:
        folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parts[-2]))
        program = str(folders[-1] / program) if folders else program
        self.hosts["servers"].call("runuser", "-u", "postgres", "--", program, *arguments)

    def start_postgres(self) -> None:
        """Start PostgreSQL and make its databases, where they are not there yet."""
        data = self.folder / "postgres"
        options = f"-p 5432 -c listen_addresses=* -c unix_socket_directories={data} -c shared_buffers=64MB"
        self._postgres("pg_ctl", "-D", str(data), "-w", "-t", "60", "-l", str(data / "log"), "-o", options, "start")
        for name in ("ledger", "mlflow"):
            code = (
                "import sys, psycopg; c = psycopg.connect(sys.argv[1], autocommit=True)\n"
                f"if not c.execute(\"select 1 from pg_database where datname = '{name}'\").fetchone():\n"
                f"    c.execute('create database {name}')"
            )
            url = f"postgresql://kd:{PASSWORD}@{SERVERS}:5432/postgres"
            self.hosts["servers"].call(sys.executable, "-c", code, url)

    def stop_postgres(self) -> None:
        """Stop PostgreSQL without waiting for anybody, as in a crash."""
        self._postgres("pg_ctl", "-D", str(self.folder / "postgres"), "-m", "immediate", "stop")

    def start_mlflow(self) -> None:
        """Start an MLflow server; `await_mlflow` waits for it."""
        self.hosts["servers"].start(
            *(str(BIN / "mlflow"), "server", "--host", "0.0.0.0", "--port", "5000", "--workers", "1"),
            *("--backend-store-uri", f"postgresql+psycopg://kd:{PASSWORD}@{SERVERS}:5432/mlflow"),
            *("--artifacts-destination", "s3://mlflow/artifacts", "--allowed-hosts", "*"),
            log="mlflow.log",
            env={
                "MLFLOW_S3_ENDPOINT_URL": f"http://{SERVERS}:9000",
                "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
                "AWS_DEFAULT_REGION": "us-east-1",
            },
        )

    def await_mlflow(self) -> None:
        """Wait until the MLflow server answers."""
        code = f"import urllib.request; urllib.request.urlopen('{MLFLOW}/health', timeout=5)"
        servers = self.hosts["servers"]
        until(lambda: _works(lambda: servers.call(sys.executable, "-c", code)), "the MLflow server starts", 180)

    def stop_mlflow(self) -> None:
        """Kill the MLflow server with its workers."""
        for pid in self.hosts["servers"].pids("mlflow"):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    # Ray

    def start_head(self) -> None:
        """Start Ray's head, which holds no trial."""
        head = self.hosts["head"]
        extra = ["--dashboard-host", "0.0.0.0", "--dashboard-port", "8265"] if self._dashboard else []
        head.start(
            *(str(BIN / "ray"), "start", "--head", "--node-ip-address", HEAD, "--port", "6379", "--num-cpus", "0"),
            *("--include-dashboard", str(self._dashboard).lower(), "--object-store-memory", "80000000", "--block"),
            *extra,
            log="head.log",
        )
        until(lambda: self._nodes() == 1, "Ray's head starts")

    def start_worker(self, index: int, env: Mapping[str, str] | None = None) -> None:
        """Let a host join with one CPU, trying again where it is too slow for Ray."""
        before = self._nodes()
        host = self.hosts[f"w{index}"]
        for _ in range(3):
            process = host.start(
                *(str(BIN / "ray"), "start", "--address", GCS, "--node-ip-address", host.address, "--num-cpus", "1"),
                *("--object-store-memory", "80000000", "--block"),
                log=f"w{index}.log",
                env=env,
            )
            while process.poll() is None:
                if self._nodes() > before:
                    return
        raise RuntimeError(f"{host.name} could not join; see {self.folder}/w{index}.log")

    def _nodes(self) -> int:
        """Return how many nodes the cluster has that are alive."""
        code = (
            "import sys; from ray._raylet import GcsClient; from ray.core.generated.gcs_pb2 import GcsNodeInfo\n"
            f"found = GcsClient(address='{GCS}').get_all_node_info(timeout=5)\n"
            "print(sum(node.state == GcsNodeInfo.ALIVE for node in found.values()))"
        )
        try:
            return int(self.hosts["head"].call(sys.executable, "-c", code).split()[-1])
        except (RuntimeError, IndexError, ValueError):
            return 0

    def kill_worker(self, index: int) -> None:
        """Pull a host's plug, and wait until the cluster has noticed."""
        self.workers[index].kill()
        self.await_loss()

    def preempt_worker(self, index: int) -> None:
        """Send SIGTERM to what a cloud would: the host's first program, which drains it."""
        for pid in self.workers[index].pids("ray start"):
            os.kill(pid, signal.SIGTERM)
        until(lambda: not self.workers[index].pids("raylet"), "the host has drained")
        self.workers[index].kill()
        self.await_loss()

    def await_loss(self) -> None:
        """Wait until the cluster has given a host up."""
        until(lambda: self._nodes() < 1 + self._count, "the cluster notices the loss")

    def restart(self, index: int, env: Mapping[str, str] | None = None) -> None:
        """Bring a dead host back."""
        self.hosts[f"w{index}"].boot()
        self.start_worker(index, env)

    def close(self) -> None:
        """End everything and leave nothing behind."""
        names = [self.switch, *(host.name for host in self.hosts.values())]
        for host in self.hosts.values():
            with contextlib.suppress(Exception):
                host.kill()
        for name in names:
            with contextlib.suppress(RuntimeError):
                for pid in run("ip", "netns", "pids", name).split():
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(int(pid), signal.SIGKILL)
                run("ip", "netns", "del", name)
        for process in self.programs:
            process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


def _works(attempt: Any) -> bool:
    try:
        attempt()
    except (RuntimeError, OSError):
        return False
    return True
