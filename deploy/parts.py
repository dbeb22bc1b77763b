"""The parts of a cluster as processes of this machine: what each runs, and when it is ready."""

import json
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

PATH = os.pathsep.join(
    [
        str(Path(sys.executable).parent),
        *(str(p) for p in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)),
        "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    ]
)


class Missing(Exception):
    """A program is not installed."""


def program(name: str) -> str:
    """The path of a program; Missing says how to get it."""
    if found := shutil.which(name, path=PATH):
        return found
    raise Missing(f"{name} is not installed: run `make system` as root, and `make demo` once")


def free_port() -> int:
    """A TCP port of the loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Part:
    """A process with a folder of its own, which can be killed and started again."""

    def __init__(self, name: str, folder: Path, argv: Sequence[str]) -> None:
        self.name, self.folder, self.argv = name, folder, list(argv)
        self.env: dict[str, str] = {}
        self.user = ""
        self.ready: Callable[[], bool] = lambda: True
        self.process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def log(self) -> Path:
        """What it says."""
        return self.folder / "log"

    def start(self, *, wait: bool = True) -> None:
        """Start it, or start it again; returns when it is ready."""
        with self.log.open("ab") as out:
            self.process = self._spawn(out)
        if wait:
            self.wait()

    def _spawn(self, out: IO[bytes]) -> "subprocess.Popen[bytes]":
        env = {**os.environ, "PATH": PATH, **self.env}
        user: Mapping[str, object] = {}
        if self.user and os.geteuid() == 0:
            user = {"user": self.user, "group": self.user, "extra_groups": []}
        # A session of its own: a ^C at the terminal is the cluster's affair.
        return subprocess.Popen(  # type: ignore[call-overload,no-any-return]
            self.argv, stdout=out, stderr=out, env=env, cwd="/", start_new_session=True, **user
        )

    def wait(self, seconds: float = 60) -> None:
        """Return when it is ready; RuntimeError with the end of its log if it does not get there."""
        end = time.monotonic() + seconds
        while not self.ready():
            if not self.alive or time.monotonic() > end:
                said = self.log.read_text(errors="replace")[-3000:]
                raise RuntimeError(f"{self.name} did not start:\n{said}")
            time.sleep(0.05)

    @property
    def alive(self) -> bool:
        """Whether its process runs."""
        return self.process is not None and self.process.poll() is None

    def tell(self, how: signal.Signals) -> None:
        """Tell it something, if it lives."""
        if self.process is not None and self.alive:
            self.process.send_signal(how)

    def kill(self, how: signal.Signals = signal.SIGKILL) -> None:
        """End it, at once or in order, and wait for the end."""
        if self.process is None:
            return
        self.tell(how)
        try:
            self.process.wait(40)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None


def answers(url: str, status: int = 200) -> Callable[[], bool]:
    """Whether a URL answers with that status."""

    def ask() -> bool:
        try:
            with urllib.request.urlopen(url, timeout=3) as answer:
                return bool(answer.status == status)
        except urllib.error.HTTPError as e:
            with e:
                return e.code == status
        except OSError:
            return False

    return ask


def listens(port: int, host: str = "127.0.0.1") -> Callable[[], bool]:
    """Whether somebody listens there."""

    def ask() -> bool:
        try:
            socket.create_connection((host, port), 1).close()
        except OSError:
            return False
        return True

    return ask


class Postgres(Part):
    """PostgreSQL, as user postgres where we are root."""

    def __init__(self, folder: Path, password: str, host: str = "127.0.0.1") -> None:
        self.port = free_port()
        data = folder / "data"
        argv = [program("postgres"), "-D", str(data)]
        for setting in (
            f"port={self.port}",
            f"listen_addresses={host}",
            "unix_socket_directories=",
            "max_connections=150",
        ):
            argv += ["-c", setting]
        super().__init__("postgres", folder, argv)
        self.user = "postgres"
        self._password = password
        self._data = data
        self.ready = self._answers

    def url(self, host: str = "127.0.0.1") -> str:
        """The address of the database, without the password."""
        return f"postgresql://postgres@{host}:{self.port}/postgres"

    def make(self, networks: Sequence[str] = ()) -> None:
        """Make its files; `networks` may connect besides this machine."""
        secret = self.folder / "password"
        secret.write_text(self._password)
        if os.geteuid() == 0:
            owner = pwd.getpwnam(self.user)
            for path in (self.folder, secret):
                os.chown(path, owner.pw_uid, owner.pw_gid)
        argv = [program("initdb"), "-D", str(self._data), "-U", "postgres", "-A", "scram-sha-256"]
        argv += ["--pwfile", str(secret), "-E", "UTF8", "--locale=C.UTF-8"]
        argv = self._as_user(argv)
        done = subprocess.run(argv, capture_output=True, text=True, cwd="/")
        if done.returncode:
            raise RuntimeError(f"initdb: {done.stdout}{done.stderr}")
        with (self._data / "pg_hba.conf").open("a") as rules:
            rules.writelines(f"host all all {network} scram-sha-256\n" for network in networks)

    def _as_user(self, argv: list[str]) -> list[str]:
        return ["runuser", "-u", self.user, "--", *argv] if os.geteuid() == 0 else argv

    def _answers(self) -> bool:
        return self.sql("SELECT 1") == "1"

    def sql(self, statement: str) -> str | None:
        """What psql prints for a statement; None if there is no answer."""
        argv = [program("psql"), "-XAtq", self.url(), "-c", statement]
        env = {"PATH": PATH, "PGPASSWORD": self._password, "PGCONNECT_TIMEOUT": "5"}
        done = subprocess.run(argv, capture_output=True, text=True, env=env)
        return done.stdout.strip() if done.returncode == 0 else None


class Objects(Part):
    """SeaweedFS with its S3 interface and one bucket."""

    def __init__(self, folder: Path, key: str, secret: str, host: str = "127.0.0.1") -> None:
        ports = [free_port() for _ in range(8)]
        self.port, self._master = ports[0], (ports[1], ports[2])
        config = folder / "s3.json"
        argv = [program("weed"), "server", "-s3", "-filer", "-ip=127.0.0.1", f"-ip.bind={host}"]
        argv += [f"-dir={folder}", f"-s3.config={config}", "-volume.max=64", "-s3.iam=false"]
        argv += ["-s3.port.iceberg=0", "-s3.port.lance=0", "-volume.preStopSeconds=0"]
        argv += ["-master.volumeSizeLimitMB=256", "-volume.minFreeSpace=0"]
        names = ("s3", "master", "volume", "filer")
        grpc = (ports[3], ports[2], ports[4], ports[5])
        plain = (ports[0], ports[1], ports[6], ports[7])
        for name, one, other in zip(names, plain, grpc, strict=True):
            argv += [f"-{name}.port={one}", f"-{name}.port.grpc={other}"]
        super().__init__("objects", folder, argv)
        credentials = [{"accessKey": key, "secretKey": secret}]
        actions = ["Admin", "Read", "Write", "List", "Tagging"]
        identity = {"name": "argosy", "credentials": credentials, "actions": actions}
        config.write_text(json.dumps({"identities": [identity]}))
        self.ready = listens(self.port)

    def make(self, bucket: str) -> None:
        """Make a bucket; tried until the service is whole."""
        master = f"127.0.0.1:{self._master[0]}.{self._master[1]}"
        argv = [program("weed"), "shell", f"-master={master}"]
        words = f"s3.bucket.create -name {bucket}\ns3.bucket.list\n"
        for _ in range(60):
            done = subprocess.run(
                argv, input=words, capture_output=True, text=True, cwd=self.folder
            )
            if re.search(rf"^\s+{bucket}\s", done.stdout, re.MULTILINE):
                return
            time.sleep(0.5)
        raise RuntimeError(f"no bucket could be made: {done.stdout}{done.stderr}")


def redis(folder: Path, host: str = "127.0.0.1") -> tuple[Part, int]:
    """Redis without persistence, and its port."""
    port = free_port()
    argv = [program("redis-server"), "--port", str(port), "--bind", *host.split(), "--save", ""]
    part = Part("redis", folder, [*argv, "--protected-mode", "no"])
    part.ready = listens(port)
    return part, port


_HAPROXY = """\
global
    maxconn 4096
defaults
    mode http
    timeout connect 2s
    timeout client 60s
    timeout server 60s
    timeout http-request 20s
    timeout check 2s
    # A request that reached no node is sent to another one; one that did is the client's to repeat.
    option redispatch
    retries 3
    retry-on conn-failure
    balance leastconn
    # A node whose host is gone says no goodbye: it is missed in the midst of a transfer, too.
    option srvtcpka
    srvtcpka-idle 5s
    srvtcpka-intvl 2s
    srvtcpka-cnt 3
    default-server check inter 1s fall 2 rise 1{lookup}
    # What the balancer refuses itself reads as what the registry refuses.
    http-error status 502 content-type application/json string '{{"errors":[{{"code":"UNAVAILABLE",\
"message":"the node that had the request is gone: try again"}}]}}'
    http-error status 503 content-type application/json string '{{"errors":[{{"code":"UNAVAILABLE",\
"message":"no node can be reached: try again in a moment"}}]}}' hdr Retry-After 1
    http-error status 504 content-type application/json string '{{"errors":[{{"code":"UNAVAILABLE",\
"message":"the node that has the request takes too long: try again"}}]}}'
{resolvers}frontend registry
    bind {bind}
    # Set and not added to: what a client has written there itself is nothing to believe, and it would
    # be where clients seem to come from a trusted address (a gateway of docker, this machine).
    http-request set-header X-Forwarded-For %[src]
    http-request set-header X-Forwarded-Proto http unless {{ ssl_fc }}
    http-request set-header X-Forwarded-Proto https if {{ ssl_fc }}
    # If no node is ready (the database is away), whoever lives answers: what is in memory is still
    # pulled, and a refusal says why.
    use_backend living if {{ nbsrv(nodes) eq 0 }}
    default_backend nodes
backend nodes
    option httpchk GET /readyz
{servers}
backend living
    option httpchk GET /healthz
{servers}
"""

_DOCKER = """\
resolvers docker
    nameserver dns 127.0.0.11:53
"""


def balancing(nodes: Sequence[str], bind: str, *, docker: bool = False) -> str:
    """The settings of haproxy before nodes (`host:port`); `docker`: names are docker's to look up."""
    servers = "\n".join(f"    server node{number} {at}" for number, at in enumerate(nodes, 1))
    return _HAPROXY.format(
        bind=bind,
        servers=servers,
        lookup=" init-addr last,libc,none resolvers docker" if docker else "",
        resolvers=_DOCKER if docker else "",
    )


def haproxy(folder: Path, nodes: Sequence[tuple[str, int]]) -> tuple[Part, int]:
    """A load balancer before the nodes, and its port."""
    port = free_port()
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "haproxy.cfg"
    where = [f"{host}:{at}" for host, at in nodes]
    config.write_text(balancing(where, f"127.0.0.1:{port}"))
    part = Part("haproxy", folder, [program("haproxy"), "-db", "-f", str(config)])
    part.ready = answers(f"http://127.0.0.1:{port}/healthz")
    return part, port
