"""A whole cluster for tests: three nodes and everything around them, with somebody who may push.

`deploy/cluster.py` starts it as users do. The bucket is reached through a proxy that can be made to
fail; the third node, where we are root, is a host of its own (a network namespace).
"""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from argosy.stores.s3.options import S3Options
from bench.enrol import PASSWORD, ask, basic, robot
from bench.traffic import Plan as Load
from bench.traffic import Traffic
from deploy import cluster as deploy
from tests.peers import need
from tests.postgres import postgres_program
from tests.seaweed import FaultProxy, weed

TTL = 20  # seconds after which an upload nobody writes to is swept


class Namespace:
    """A host with one link to this machine, whose traffic can be stopped."""

    def __init__(self, number: int) -> None:
        self.name = f"argosy{os.getpid()}"
        self.outside, self.inside = f"10.213.{number}.1", f"10.213.{number}.2"
        self._link = f"av{os.getpid()}"

    def make(self) -> None:
        peer = f"{self._link}n"
        for words in (
            f"ip netns add {self.name}",
            f"ip link add {self._link} type veth peer name {peer}",
            f"ip link set {peer} netns {self.name}",
            f"ip addr add {self.outside}/30 dev {self._link}",
            f"ip link set {self._link} up",
            f"ip -n {self.name} addr add {self.inside}/30 dev {peer}",
            f"ip -n {self.name} link set {peer} up",
            f"ip -n {self.name} link set lo up",
        ):
            subprocess.run(words.split(), check=True, capture_output=True)

    def remove(self) -> None:
        subprocess.run(["ip", "link", "del", self._link], capture_output=True)
        subprocess.run(["ip", "netns", "del", self.name], capture_output=True)

    @property
    def prefix(self) -> list[str]:
        """What a command of this host begins with."""
        return ["ip", "netns", "exec", self.name]

    @contextmanager
    def cut(self, port: int) -> Iterator[None]:
        """Packets from this host to that port are dropped without a word."""
        rule = ["OUTPUT", "-p", "tcp", "--dport", str(port), "-j", "DROP"]
        subprocess.run([*self.prefix, need("iptables"), "-I", *rule], check=True)
        try:
            yield
        finally:
            subprocess.run([*self.prefix, need("iptables"), "-D", *rule], check=True)


@dataclass
class Running:
    """The cluster, the proxy before its bucket, the host of its third node, and a robot."""

    cluster: deploy.Cluster
    storage: FaultProxy
    host: Namespace | None
    robot: str = ""
    secret: str = ""

    def api(self, method: str, path: str, body: Any = None) -> Any:
        """A request to the management API, as admin; the answer's JSON."""
        return ask(f"{self.cluster.url}/api/v1{path}", method, body, basic("admin", PASSWORD))

    def traffic(self, **more: Any) -> Traffic:
        """A load of pushes and pulls through the balancer."""
        plan: dict[str, Any] = {
            "address": ("127.0.0.1", self.cluster.port),
            "user": self.robot,
            "password": self.secret,
            "sizes": (700, 40_000, 300_000),
            "large": 9_000_000,
        }
        return Traffic(Load(**{**plan, **more}))

    def sql(self, statement: str) -> str:
        """What the database says."""
        found = self.cluster.postgres.sql(statement)
        assert found is not None, statement
        return found

    def bucket_options(self) -> S3Options:
        """The way to the bucket past the proxy."""
        return S3Options(**self.cluster.bucket)  # type: ignore[arg-type]


@contextmanager
def running_cluster(nodes: int = 3) -> Iterator[Running]:
    """A cluster with access control, a project `load` and a robot that may push there."""
    for name in ("haproxy", "redis-server"):
        need(name)
    postgres_program("postgres")
    weed()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="argosy-cluster-")))
        folder.chmod(0o755)  # PostgreSQL runs as another user
        plan = deploy.Plan(nodes=nodes, settings=f"[uploads]\nttl = {TTL}")
        host = None
        if os.geteuid() == 0 and nodes > 2:
            host = Namespace(os.getpid() % 250)
            stack.callback(host.remove)
            host.make()
            plan.hosts, plan.prefixes = {2: host.inside}, {2: host.prefix}
            plan.gateway = host.outside
        cluster = deploy.Cluster(folder, plan)
        storage = FaultProxy(cluster.objects.port, "0.0.0.0" if host else "127.0.0.1")
        stack.callback(storage.close)
        plan.s3_endpoint = f"http://{plan.gateway}:{storage.port}"
        stack.callback(cluster.down)
        cluster.up()
        running = Running(cluster, storage, host)
        once = cluster.admin_password()
        running.robot, running.secret = robot(cluster.url, once, "load")
        yield running
