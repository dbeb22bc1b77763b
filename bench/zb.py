"""The workloads of zot's `zb` by name and size, our own driver, against Debian's docker-registry.

What a request is follows zb: a push is a new repository with one blob, a small
config and a manifest; a pull is HEAD and GET of the manifest, of the config and of
the blob; the blob of a size is the same in every push, as zb has it.
"""

import argparse
import functools
import hashlib
import json
import os
import random
import statistics
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

from argosy.values import frozen
from bench import harness, load
from bench.harness import Metric, Samples, ServerProcess
from bench.registry import OURS, THEIRS, start_ours, start_theirs

_MIB = 1 << 20
_SIZES = (1 * _MIB, 10 * _MIB, 100 * _MIB)
_MIXED, _EVEN = (0.2, 0.7, 0.1), (1 / 3, 1 / 3, 1 / 3)
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_OCTETS = "application/octet-stream"


@frozen(kw_only=True)
class Workload:
    """What one line of zb's report measures: how blobs go in, what share of requests are pulls."""

    name: str
    sizes: tuple[float, float, float]  # shares of 1, 10 and 100 MB
    pulls: float = 0.0
    chunked: bool = False
    catalog: bool = False

    @property
    def requests(self) -> int:
        """How many: at most some GB, so that a round takes minutes and not an hour."""
        mean = sum(s * share for s, share in zip(_SIZES, self.sizes, strict=True))
        return max(12, min(200, int(2e9 / mean)))


def _fixed(index: int) -> tuple[float, float, float]:
    shares = [0.0, 0.0, 0.0]
    shares[index] = 1.0
    return shares[0], shares[1], shares[2]


_NAMES = ("1MB", "10MB", "100MB")
WORKLOADS = (
    Workload(name="Get Catalog", sizes=_fixed(0), catalog=True),
    *(Workload(name=f"Push Monolith {n}", sizes=_fixed(i)) for i, n in enumerate(_NAMES)),
    *(
        Workload(name=f"Push Chunk Streamed {n}", sizes=_fixed(i), chunked=True)
        for i, n in enumerate(_NAMES)
    ),
    *(Workload(name=f"Pull {n}", sizes=_fixed(i), pulls=1) for i, n in enumerate(_NAMES)),
    Workload(name="Pull Mixed 20% 1MB, 70% 10MB, 10% 100MB", sizes=_MIXED, pulls=1),
    Workload(name="Push Monolith Mixed 20% 1MB, 70% 10MB, 10% 100MB", sizes=_MIXED),
    Workload(name="Push Chunk Mixed 33% 1MB, 33% 10MB, 33% 100MB", sizes=_EVEN, chunked=True),
    *(
        Workload(name=f"Pull 75% and Push 25% Mixed {n}", sizes=_fixed(i), pulls=0.75)
        for i, n in enumerate(_NAMES)
    ),
)


class Images:
    """What is pushed: one blob of each size, and configs that differ."""

    def __init__(self, place: Path) -> None:
        self.blobs = [load.fresh(place / f"{size}.blob", size) for size in _SIZES]

    def push(self, client: load.Client, size: int, *, chunked: bool) -> tuple[str, str, str]:
        """A new repository with one image; its name and the digests of config and blob."""
        repository, blob = f"zb/{uuid.uuid4()}", self.blobs[size]
        if chunked:
            self._stream(client, repository, blob)
        else:
            load.push_whole(client, repository, blob)
        config = json.dumps({"architecture": "amd64", "os": "linux", "id": repository}).encode()
        digest = "sha256:" + hashlib.sha256(config).hexdigest()
        target = load.with_digest(load.begin_upload(client, repository), digest)
        load.expect(client.request("PUT", target, config, Content_Type=_OCTETS), 201)
        manifest = _manifest(digest, len(config), blob)
        target = f"/v2/{repository}/manifests/tag"
        load.expect(client.request("PUT", target, manifest, Content_Type=_MANIFEST), 201)
        return repository, digest, blob.digest

    def _stream(self, client: load.Client, repository: str, blob: load.Blob) -> None:
        target = load.begin_upload(client, repository)
        answer = client.send_file("PATCH", target, blob.path, 0, blob.size, Content_Type=_OCTETS)
        target = load.relative(load.expect(answer, 202)["location"])
        load.expect(client.request("PUT", load.with_digest(target, blob.digest)), 201)


def _manifest(config: str, size: int, blob: load.Blob) -> bytes:
    kind = "application/vnd.oci.image."
    value = {
        "schemaVersion": 2,
        "mediaType": _MANIFEST,
        "config": {"mediaType": kind + "config.v1+json", "digest": config, "size": size},
        "layers": [{"mediaType": kind + "layer.v1.tar", "digest": blob.digest, "size": blob.size}],
    }
    return json.dumps(value).encode()


def pull(client: load.Client, repository: str, config: str, blob: str) -> None:
    """HEAD and GET of everything an image has."""
    root = f"/v2/{repository}"
    for target in (f"{root}/manifests/tag", f"{root}/blobs/{config}", f"{root}/blobs/{blob}"):
        for method in ("HEAD", "GET"):
            load.expect(client.request(method, target, Accept=_MANIFEST), 200)


class Driver:
    """Runs a workload with several clients; each is told apart by its own random numbers."""

    def __init__(self, port: int, images: Images, clients: int) -> None:
        self._port = port
        self._images = images
        self._clients = clients

    def run(self, work: Workload, scale: float) -> tuple[float, list[float]]:
        """Requests per second, and the seconds each took."""
        each = max(1, int(work.requests * scale) // self._clients)
        with ThreadPoolExecutor(self._clients) as pool:
            ready = list(pool.map(functools.partial(self._prepare, work), range(self._clients)))
            began = time.perf_counter()
            jobs = [pool.submit(self._client, request, each) for request in ready]
            times = [t for job in jobs for t in job.result()]
        return len(times) / (time.perf_counter() - began), times

    def _prepare(self, work: Workload, seed: int) -> Callable[[], None]:
        """What one client does over and over; what it pulls has been pushed before."""
        client, rng = load.Client(self._port), random.Random(seed)
        if work.catalog:
            for _ in range(25):
                self._images.push(client, 0, chunked=False)
            return lambda: load.expect(client.request("GET", "/v2/_catalog"), 200) and None
        sizes = [i for i, share in enumerate(work.sizes) if share]
        ours = {i: self._images.push(client, i, chunked=False) for i in sizes} if work.pulls else {}

        def request() -> None:
            size = rng.choices(range(3), work.sizes)[0]
            if rng.random() < work.pulls:
                pull(client, *ours[size])
            else:
                self._images.push(client, size, chunked=work.chunked)

        return request

    @staticmethod
    def _client(request: Callable[[], None], count: int) -> list[float]:
        times = []
        for _ in range(count):
            began = time.perf_counter()
            request()
            times.append(time.perf_counter() - began)
        return times


def _metrics() -> Iterator[Metric]:
    for work in WORKLOADS:
        yield Metric(name=work.name, unit="req/s", goal=1)
        yield Metric(name=f"{work.name}, p99", unit="ms", more_is_better=False)


@contextmanager
def _fresh(start: Callable[[Path], ServerProcess]) -> Iterator[ServerProcess]:
    with harness.scratch("argosy-zb") as place, start(place) as server:
        yield server


def _round(
    who: str, start: Callable[[Path], ServerProcess], options: argparse.Namespace, samples: Samples
) -> None:
    with harness.scratch("argosy-zb-files") as files:
        images = Images(files)
        for work in WORKLOADS:
            if options.only and options.only not in work.name:
                continue
            with _fresh(start) as server:
                os.sync()
                rate, times = Driver(server.port, images, options.clients).run(work, options.scale)
            samples.add(who, work.name, rate)
            last = statistics.quantiles(times, n=100)[-1] if len(times) > 1 else times[0]
            samples.add(who, f"{work.name}, p99", last * 1000)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print and write the table."""
    parser = argparse.ArgumentParser(prog="bench.zb", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clients", type=int, default=4, help="zb's -c")
    parser.add_argument("--only", default="", help="workloads whose name has this in it")
    parser.add_argument("--quick", action="store_true", help="one round, a tenth of the requests")
    options, _others = parser.parse_known_args(sys.argv[1:] if argv is None else argv)
    options.scale = 0.1 if options.quick else 1.0
    options.rounds = 1 if options.quick else options.rounds
    facts = {
        **harness.machine(),
        "argosy": metadata.version("argosy"),
        "clients": str(options.clients),
        "rounds": f"{options.rounds}, interleaved; medians",
    }
    samples = Samples()
    contenders = {
        who: functools.partial(_round, who, start, options, samples)
        for who, start in ((THEIRS, start_theirs), (OURS, start_ours))
    }
    harness.interleaved(contenders, options.rounds)
    facts["load at end"] = f"{os.getloadavg()[0]:.2f}"
    text = harness.table(samples, list(_metrics()), OURS, THEIRS)
    name = "zb-quick" if options.quick else "zb"
    page = harness.write(name, "The workloads of zot's zb", [text], facts, samples)
    print(page.read_text())
    return 0


if __name__ == "__main__":
    sys.exit(main())
