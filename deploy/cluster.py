"""A whole registry on this machine, without containers: N nodes, PostgreSQL, SeaweedFS, Redis, haproxy.

`deploy/cluster up` starts it and stays until ^C; `up --detach` leaves it running, `status`
and `down` are for that. The fault suite uses the same parts (tests/faults/test_cluster_faults.py).
"""

import argparse
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from deploy.parts import Missing, Objects, Part, Postgres, answers, free_port, haproxy, redis

_HERE = Path(__file__).resolve().parent.parent
_BUCKET = "registry"
# PostgreSQL waits for its clients on SIGTERM; SeaweedFS takes 15 s to say goodbye to itself.
_ENDS = {"postgres": signal.SIGINT, "objects": signal.SIGKILL}


@dataclass(kw_only=True)
class Plan:
    """What is to be started, and what nodes are told besides."""

    nodes: int = 3
    workers: int = 1
    auth: bool = True
    objects: bool = True  # else: files, which only one node can have
    drain: str = (
        "3s"  # how long a node that ends is not ready first: the balancer looks each second
    )
    settings: str = ""  # lines of argosy.toml that are put at its end
    s3_endpoint: str = ""  # what nodes take for the object storage, if not itself
    hosts: dict[int, str] = field(default_factory=dict)  # nodes with an address of their own
    prefixes: dict[int, list[str]] = field(default_factory=dict)  # what their commands begin with
    gateway: str = "127.0.0.1"  # where such nodes find the rest


class Cluster:
    """All the parts, in the order in which they start."""

    def __init__(self, folder: Path, plan: Plan) -> None:
        self.folder, self.plan = folder, plan
        self.password = secrets.token_hex(16)
        self._key, self._secret = secrets.token_hex(8), secrets.token_hex(16)
        self._seal = secrets.token_hex(32)
        everywhere = "0.0.0.0" if plan.hosts else "127.0.0.1"
        self.postgres = Postgres(folder / "postgres", self.password, everywhere)
        self.objects = Objects(folder / "objects", self._key, self._secret, everywhere)
        self.redis, self._redis_port = redis(folder / "redis", everywhere)
        self.nodes: list[Part] = []
        self._addresses = [
            (plan.hosts.get(number, "127.0.0.1"), free_port()) for number in range(plan.nodes)
        ]
        self.balancer, self.port = haproxy(folder / "haproxy", self._addresses)

    @property
    def url(self) -> str:
        """Where clients find it."""
        return f"http://127.0.0.1:{self.port}"

    def address(self, node: int) -> tuple[str, int]:
        """Where one node listens."""
        return self._addresses[node]

    @property
    def bucket(self) -> dict[str, str]:
        """The way to the bucket from this machine."""
        return {
            "endpoint": f"http://127.0.0.1:{self.objects.port}",
            "bucket": _BUCKET,
            "access_key": self._key,
            "secret_key": self._secret,
        }

    def parts(self) -> list[Part]:
        """Every part, the first to start first."""
        return [self.postgres, self.objects, self.redis, *self.nodes, self.balancer]

    def up(self) -> None:
        """Start everything; RuntimeError with the log of what does not start."""
        self.postgres.make([f"{host}/32" for host in self.plan.hosts.values()])
        for part in (self.postgres, self.objects, self.redis):
            part.start(wait=False)
        for part in (self.postgres, self.objects, self.redis):
            part.wait()
        self.objects.make(_BUCKET)
        for number in range(self.plan.nodes):
            self.nodes.append(self._node(number))
            self.nodes[-1].start()  # the first one makes the tables
        self.balancer.start()

    def down(self) -> None:
        """End everything: the balancer, all nodes at once, and what they stand on."""
        self.balancer.kill(signal.SIGTERM)
        for node in self.nodes:
            node.tell(signal.SIGTERM)
        for part in reversed(self.parts()):
            part.kill(_ENDS.get(part.name, signal.SIGTERM))

    def admin_password(self) -> str:
        """The one-time password of `admin`, from the log of the node that made it."""
        for node in self.nodes:
            if found := re.search(r"one-time password (\S+)", node.log.read_text()):
                return found[1]
        raise RuntimeError("no node has made an admin")

    def _node(self, number: int) -> Part:
        host, port = self._addresses[number]
        folder = self.folder / f"node{number + 1}"
        folder.mkdir(parents=True, exist_ok=True)
        config = folder / "argosy.toml"
        config.write_text(self._settings(number, folder))
        config.chmod(0o600)
        argv = [sys.executable, "-m", "argosy", "serve", "--config", str(config)]
        node = Part(f"node{number + 1}", folder, [*self.plan.prefixes.get(number, []), *argv])
        node.env = {"ARGOSY_HOME": str(folder / "home")}
        node.ready = answers(f"http://{host}:{port}/readyz")
        return node

    def _settings(self, number: int, folder: Path) -> str:
        """The node's argosy.toml."""
        host, port = self._addresses[number]
        plan = self.plan
        inside = plan.gateway if number in plan.hosts else "127.0.0.1"
        s3 = plan.s3_endpoint or f"http://{inside}:{self.objects.port}"
        data = folder / "data"
        lines: dict[str, dict[str, object]] = {
            "server": {
                "listen": f"{host}:{port}",
                "data": str(data),
                "workers": plan.workers,
                "public_url": self.url,
                "trusted_proxies": ["127.0.0.1", plan.gateway],
                "insecure_http": True,
                "drain": plan.drain,
            },
            "database": {"url": self.postgres.url(inside), "password": self.password},
            "storage": {"backend": "s3" if plan.objects else "files"},
            "storage.s3": {
                "endpoint": s3,
                "bucket": _BUCKET,
                "access_key": self._key,
                "secret_key": self._secret,
                "redirect_endpoint": f"http://127.0.0.1:{self.objects.port}",
            },
            "redis": {"url": f"redis://{inside}:{self._redis_port}"},
            "auth": {"enabled": plan.auth, "secret": self._seal},
            "log": {"level": "info", "access": "failed"},
        }
        return "".join(
            f"[{section}]\n" + "".join(f"{k} = {json.dumps(v)}\n" for k, v in values.items())
            for section, values in lines.items()
        ) + (plan.settings and f"\n{plan.settings}\n")


@contextmanager
def running(folder: Path, plan: Plan) -> Iterator[Cluster]:
    """A cluster within a block."""
    with ExitStack() as stack:
        cluster = Cluster(folder, plan)
        stack.callback(cluster.down)
        cluster.up()
        yield cluster


def main(argv: Sequence[str] | None = None) -> int:
    """`deploy/cluster up|status|down`."""
    parser = argparse.ArgumentParser(prog="deploy/cluster", description=__doc__)
    parser.add_argument("verb", choices=["up", "status", "down"])
    parser.add_argument("--nodes", type=int, default=3, help="how many (default: 3)")
    parser.add_argument("--workers", type=int, default=1, help="processes of each node")
    parser.add_argument("--no-auth", action="store_true", help="let everybody in")
    parser.add_argument("--detach", action="store_true", help="leave it running")
    parser.add_argument(
        "--dir",
        type=Path,
        default=_HERE / "var" / "cluster",
        help="where everything is, logs too; `up` begins with an empty one (default: var/cluster)",
    )
    options = parser.parse_args(argv)
    try:
        return {"up": _up, "status": _status, "down": _down}[options.verb](options)
    except (Missing, RuntimeError) as e:
        print(f"deploy/cluster: {e}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:  # while it was starting; what had started is ended
        return 130


def _up(options: argparse.Namespace) -> int:
    folder: Path = options.dir.resolve()
    if (folder / "pid").exists() and _pid(folder):
        print(f"a cluster is running in {folder}: `deploy/cluster down` ends it", file=sys.stderr)
        return 1
    if options.detach:
        return _detached(folder)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    folder.chmod(0o755)  # PostgreSQL runs as another user
    os.umask(0o077)  # passwords are in files from here on, and in logs
    (folder / "pid").write_text(str(os.getpid()))
    signal.signal(signal.SIGTERM, _as_interrupt)  # its default would leave every part running
    plan = Plan(nodes=options.nodes, workers=options.workers, auth=not options.no_auth)
    with running(folder, plan) as cluster:
        text = _told(cluster)
        (folder / "ready").write_text(text)
        print(text, flush=True)
        with suppress(KeyboardInterrupt):
            signal.pause()
        print("ending", flush=True)
    (folder / "pid").unlink()
    return 0


def _as_interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def _told(cluster: Cluster) -> str:
    lines = [f"registry    {cluster.url}   (haproxy before {len(cluster.nodes)} nodes)"]
    for number, node in enumerate(cluster.nodes):
        host, port = cluster.address(number)
        lines.append(f"{node.name:12}http://{host}:{port}   log {node.log}")
    peers = (cluster.postgres, cluster.objects, cluster.redis)
    lines += [f"{part.name:12}log {part.log}" for part in peers]
    if cluster.plan.auth:
        host = cluster.url.partition("//")[2]
        lines.append(f"password    {cluster.admin_password()}   (once: it has to be changed)")
        lines.append(f"change it   argosy user password admin --registry {host}")
        lines.append(f"login       argosy login -u admin {host}")
    return "\n".join(lines)


def _detached(folder: Path) -> int:
    words = [word for word in sys.argv[1:] if word != "--detach"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "ready").unlink(missing_ok=True)
    with (folder.parent / "cluster.log").open("wb") as out:
        os.fchmod(out.fileno(), 0o600)  # the password of `admin` will be in it
        child = subprocess.Popen(
            [sys.executable, "-m", "deploy.cluster", *words],
            cwd=_HERE,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    while child.poll() is None:
        with suppress(FileNotFoundError):
            print((folder / "ready").read_text())
            return 0
        time.sleep(0.1)
    print((folder.parent / "cluster.log").read_text(), file=sys.stderr)
    return 1


def _pid(folder: Path) -> int:
    """The process of the cluster in a folder; 0 if it does not run."""
    try:
        pid = int((folder / "pid").read_text())
        os.kill(pid, 0)
    except (OSError, ValueError):
        return 0
    return pid


def _status(options: argparse.Namespace) -> int:
    folder = options.dir.resolve()
    if not _pid(folder):
        print(f"no cluster is running in {folder}")
        return 1
    print((folder / "ready").read_text())
    return 0


def _down(options: argparse.Namespace) -> int:
    folder = options.dir.resolve()
    if not (pid := _pid(folder)):
        print(f"no cluster is running in {folder}")
        return 1
    os.kill(pid, signal.SIGTERM)
    while _pid(folder):
        time.sleep(0.1)
    print("ended")
    return 0


if __name__ == "__main__":
    sys.exit(main())
