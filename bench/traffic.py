"""A steady mixed load of pushes and pulls, that remembers what was acknowledged and then asks for it.

It shares no code with Argosy's client, and retries as real clients do: a lost
connection, a 429 and a 5xx are tried again, an upload that is gone is begun anew.
Every byte that comes is hashed. Used by the fault suite and by bench/nodes.py.
"""

import hashlib
import http.client
import json
import random
import re
import threading
import time
from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

_KIND: Final = "application/vnd.oci.image.manifest.v1+json"
_OCTETS: Final = "application/octet-stream"
_DICE: Final = random.Random()
_AGAIN: Final = frozenset({408, 425, 429, 500, 502, 503, 504})


class Failed(Exception):
    """A request failed, and so did its retries."""


class Gone(Exception):
    """An upload is not known (any more): begin again."""


@dataclass(kw_only=True)
class Plan:
    """Who sends what. Sizes are bytes; every client pushes to repositories of its own."""

    address: tuple[str, int]
    user: str = ""
    password: str = ""
    tokens: bool = False  # log in as docker does: a token for each repository, when asked for it
    project: str = "load"
    clients: int = 16
    pushes: float = 0.4  # share of the requests
    sizes: tuple[int, ...] = (700, 40_000, 900_000)
    large: int = 0  # size of one blob in twenty; 0: none
    tries: int = 8
    patience: float = 30.0  # seconds for one answer
    seed: int = 1


@dataclass
class Counts:
    """What happened. `lost` and `corrupt` are what must be nothing."""

    requests: int = 0
    retries: int = 0
    pushed: int = 0
    pulled: int = 0
    failed: int = 0  # operations given up after all retries
    lost: int = 0
    corrupt: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    dropped: int = 0  # connections that ended without an answer
    dishonest: list[str] = field(default_factory=list)
    worst: float = 0.0  # seconds, of one operation with its retries
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def add(self, **numbers: int) -> None:
        """Count, from any thread."""
        with self._lock:
            for name, number in numbers.items():
                setattr(self, name, getattr(self, name) + number)

    def status(self, code: int) -> None:
        """Count an answer."""
        with self._lock:
            self.requests += 1
            self.statuses[code] += 1

    def accuse(self, what: str) -> None:
        """Keep an answer that was not honest."""
        with self._lock:
            self.dishonest.append(what)

    def __str__(self) -> str:
        codes = ", ".join(f"{code}: {n}" for code, n in sorted(self.statuses.items()))
        return (
            f"{self.requests} requests ({codes}; {self.dropped} connections dropped),"
            f" {self.retries} retries, {self.pushed} images pushed, {self.pulled} pulled,"
            f" {self.failed} operations given up, worst {self.worst:.1f} s,"
            f" lost = {self.lost}, corrupt = {self.corrupt}, dishonest = {len(self.dishonest)}"
        )


@dataclass(frozen=True)
class Image:
    """A push that was acknowledged."""

    repository: str
    tag: str
    digest: str
    blobs: tuple[str, ...]


class Wire:
    """One client's connection, with its retries."""

    def __init__(self, plan: Plan, counts: Counts) -> None:
        self._plan, self._counts = plan, counts
        self._connection: http.client.HTTPConnection | None = None
        self._basic = b64encode(f"{plan.user}:{plan.password}".encode()).decode()
        self._tokens: dict[str, str] = {}  # by repository

    def close(self) -> None:
        """Hang up."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def once(
        self, method: str, target: str, body: bytes | None = None, **fields: str
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        """One request, no retry; OSError or HTTPException when no whole answer came."""
        named = {name.replace("_", "-"): value for name, value in fields.items()}
        status, headers, content = self._exchange(method, target, body, named)
        if status == 401 and self._plan.tokens and self._login(target, headers):
            status, headers, content = self._exchange(method, target, body, named)
        if status == 307 and method == "GET":
            return self._follow(headers["Location"])
        return status, headers, content

    def ask(
        self, method: str, target: str, body: bytes | None = None, **fields: str
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        """One request, tried again as clients do; Failed when nothing helps."""
        why = ""
        for attempt in range(self._plan.tries):
            if attempt:
                self._counts.add(retries=1)
                time.sleep(min(3.0, 0.1 * 2**attempt) * _DICE.uniform(0.5, 1.0))
            try:
                status, headers, content = self.once(method, target, body, **fields)
            except (OSError, http.client.HTTPException) as e:
                why = repr(e)
                continue
            if status not in _AGAIN:
                return status, headers, content
            why = f"{status} {content[:200]!r}"
        raise Failed(f"{method} {target}: {why}")

    def _exchange(
        self, method: str, target: str, body: bytes | None, fields: dict[str, str]
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        if self._connection is None:
            host, port = self._plan.address
            self._connection = http.client.HTTPConnection(host, port, timeout=self._plan.patience)
        try:
            self._connection.request(method, target, body, self._known(target) | fields)
            answer = self._connection.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException):
            self.close()
            self._counts.add(dropped=1)
            raise
        if answer.will_close:
            self.close()
        self._counts.status(answer.status)
        self._judge(method, target, answer.status, content)
        return answer.status, answer.headers, content

    def _known(self, target: str) -> dict[str, str]:
        """What every request says of the client."""
        fields = {"Accept": _KIND}
        if self._plan.tokens and not target.startswith("/token"):
            if token := self._tokens.get(_repository(target)):
                fields["Authorization"] = f"Bearer {token}"
        elif self._plan.user:
            fields["Authorization"] = f"Basic {self._basic}"
        return fields

    def _login(self, target: str, headers: http.client.HTTPMessage) -> bool:
        """Get a token from where the challenge says, as docker does; whether there is one."""
        challenge = dict(re.findall(r'(\w+)="([^"]*)"', headers["WWW-Authenticate"] or ""))
        if not {"realm", "service", "scope"} <= challenge.keys():
            return False
        query = urlencode({"service": challenge["service"], "scope": challenge["scope"]})
        path = f"{urlsplit(challenge['realm']).path}?{query}"
        status, _, content = self._exchange("GET", path, None, {})
        if status != 200:
            return False
        self._tokens[_repository(target)] = json.loads(content)["token"]
        return True

    def _judge(self, method: str, target: str, status: int, content: bytes) -> None:
        """A refusal has a body that says why, whoever refuses."""
        if status < 400 or method == "HEAD":
            return
        try:
            told = json.loads(content)
            assert told.get("errors") or told.get("title")
        except (ValueError, AssertionError, AttributeError):
            self._counts.accuse(f"{method} {target}: {status} {content[:100]!r}")

    def _follow(self, url: str) -> tuple[int, http.client.HTTPMessage, bytes]:
        parts = urlsplit(url)
        connection = http.client.HTTPConnection(
            parts.hostname or "", parts.port or 80, timeout=self._plan.patience
        )
        try:
            connection.request("GET", f"{parts.path}?{parts.query}")
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()


class Traffic:
    """Clients that push and pull until told to stop; then everything acknowledged is asked for again."""

    def __init__(self, plan: Plan) -> None:
        self.plan: Final = plan
        self.counts: Final = Counts()
        self._images: list[Image] = []
        self._tags: dict[tuple[str, str], list[str]] = {}  # digests in the order they were sent
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._client, args=(n,)) for n in range(plan.clients)
        ]

    def again(self, **changed: Any) -> "Traffic":
        """Another load over the images of this one: pulls find something from the start."""
        other = Traffic(replace(self.plan, **changed))
        other._images, other._tags = self._images, self._tags
        return other

    @contextmanager
    def running(self) -> Iterator["Traffic"]:
        """The load is on within the block."""
        for thread in self._threads:
            thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            for thread in self._threads:
                thread.join()

    def until(self, condition: Callable[[], bool], seconds: float = 60) -> None:
        """Let it run until a condition holds; AssertionError if it does not in time."""
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, f"not within {seconds} s: {self.counts}"
            time.sleep(0.02)

    def more(self, pushes: int = 10, pulls: int = 20, seconds: float = 60) -> None:
        """Let it run until so many more have succeeded: the service is up, whatever happened."""
        pushed, pulled = self.counts.pushed + pushes, self.counts.pulled + pulls
        self.until(lambda: self.counts.pushed >= pushed and self.counts.pulled >= pulled, seconds)

    def verify(self) -> Counts:
        """Ask for everything that was acknowledged, byte for byte; the counts say what is missing."""
        wire = Wire(self.plan, self.counts)
        for image in self._images:
            self._check(wire, image)
        for (repository, tag), sent in self._tags.items():
            self._check_tag(wire, repository, tag, sent)
        wire.close()
        return self.counts

    def _check(self, wire: Wire, image: Image) -> None:
        paths = [f"manifests/{image.digest}", *(f"blobs/{digest}" for digest in image.blobs)]
        for path, digest in zip(paths, (image.digest, *image.blobs), strict=True):
            try:
                status, _, body = wire.ask("GET", f"/v2/{image.repository}/{path}")
            except Failed:
                status, body = 0, b""
            if status != 200:
                self.counts.add(lost=1)
            elif _name(body) != digest:
                self.counts.add(corrupt=1)

    def _check_tag(self, wire: Wire, repository: str, tag: str, sent: list[str]) -> None:
        """A tag is what was acknowledged last, or something sent after that."""
        acknowledged = [
            i.digest for i in self._images if (i.repository, i.tag) == (repository, tag)
        ]
        if not acknowledged:
            return
        status, headers, _ = wire.ask("HEAD", f"/v2/{repository}/manifests/{tag}")
        allowed = sent[sent.index(acknowledged[-1]) :]
        if status != 200 or headers["Docker-Content-Digest"] not in allowed:
            self.counts.add(lost=1)

    def _client(self, number: int) -> None:
        rng = random.Random(self.plan.seed * 1000 + number)
        wire = Wire(self.plan, self.counts)
        repository = f"{self.plan.project}/client-{number}"
        while not self._stop.is_set():
            began = time.monotonic()
            try:
                mine = self._images and rng.random() >= self.plan.pushes
                if mine:
                    self._pull(wire, rng.choice(self._images))
                else:
                    self._push(wire, rng, repository)
            except Failed:
                self.counts.add(failed=1)
            self.counts.worst = max(self.counts.worst, time.monotonic() - began)
        wire.close()

    # One push.

    def _push(self, wire: Wire, rng: random.Random, repository: str) -> None:
        blobs = [rng.randbytes(rng.choice(self.plan.sizes)) for _ in range(rng.randint(1, 3))]
        if self.plan.large and rng.random() < 0.05:
            blobs.append(rng.randbytes(self.plan.large))
        for blob in blobs:
            self._upload(wire, rng, repository, blob)
        body, tag = _manifest(blobs), rng.choice(("latest", "stable", f"v{rng.randint(1, 50)}"))
        digest = _name(body)
        self._tags.setdefault((repository, tag), []).append(digest)
        target = f"/v2/{repository}/manifests/{tag}"
        status, headers, content = wire.ask("PUT", target, body, Content_Type=_KIND)
        if status != 201:
            raise Failed(f"PUT {target}: {status} {content[:300]!r}")
        if headers["Docker-Content-Digest"] != digest:
            self.counts.accuse(f"PUT {target}: acknowledged as {headers['Docker-Content-Digest']}")
        self._images.append(Image(repository, tag, digest, tuple(map(_name, blobs))))
        self.counts.add(pushed=1)

    def _upload(self, wire: Wire, rng: random.Random, repository: str, blob: bytes) -> None:
        for attempt in range(self.plan.tries):
            try:
                return self._upload_once(wire, rng, repository, blob)
            except Gone:
                self.counts.add(retries=1)
                time.sleep(min(5.0, 0.1 * 2**attempt))  # docker waits 5 s and more
        raise Failed(f"upload to {repository}")

    def _upload_once(self, wire: Wire, rng: random.Random, repository: str, blob: bytes) -> None:
        status, headers, content = wire.ask("POST", f"/v2/{repository}/blobs/uploads/")
        if status != 202:
            raise Failed(f"POST uploads: {status} {content[:300]!r}")
        target = _relative(headers["Location"])
        rest = blob
        if rng.random() < 0.5 and len(blob) > 1:  # in chunks: any node may get the next one
            half = len(blob) // 2
            target = self._chunk(wire, target, blob[:half], 0)
            rest = blob[half:]
        joint = "&" if "?" in target else "?"
        self._finish(wire, f"{target}{joint}digest={_name(blob)}", rest, repository, blob)

    def _chunk(self, wire: Wire, target: str, piece: bytes, start: int) -> str:
        """One PATCH. Not idempotent: after a lost answer the upload is begun anew."""
        span = f"{start}-{start + len(piece) - 1}"
        status, headers, content = self._single(
            wire, "PATCH", target, piece, Content_Range=span, Content_Type=_OCTETS
        )
        if status == 202:
            return _relative(headers["Location"])
        raise Gone(f"PATCH: {status} {content[:200]!r}")

    def _finish(self, wire: Wire, target: str, rest: bytes, repository: str, blob: bytes) -> None:
        status, _, content = self._single(wire, "PUT", target, rest, Content_Type=_OCTETS)
        if status == 201:
            return
        # Its answer may have been lost after the commit: then the blob is there.
        found, headers, _ = wire.ask("HEAD", f"/v2/{repository}/blobs/{_name(blob)}")
        if found != 200 or headers["Content-Length"] != str(len(blob)):
            raise Gone(f"PUT: {status} {content[:200]!r}")

    @staticmethod
    def _single(
        wire: Wire, method: str, target: str, body: bytes, **fields: str
    ) -> tuple[int, Any, bytes]:
        try:
            return wire.once(method, target, body, **fields)
        except (OSError, http.client.HTTPException) as e:
            return 0, None, repr(e).encode()

    # One pull.

    def _pull(self, wire: Wire, image: Image) -> None:
        status, _, body = wire.ask("GET", f"/v2/{image.repository}/manifests/{image.digest}")
        if status != 200:
            self.counts.add(lost=1)
            return
        if _name(body) != image.digest:
            self.counts.add(corrupt=1)
            return
        for layer in json.loads(body)["layers"]:
            status, _, blob = wire.ask("GET", f"/v2/{image.repository}/blobs/{layer['digest']}")
            if status != 200:
                self.counts.add(lost=1)
                return
            if _name(blob) != layer["digest"]:
                self.counts.add(corrupt=1)
                return
        self.counts.add(pulled=1)


def _name(body: bytes) -> str:
    return "sha256:" + hashlib.sha256(body).hexdigest()


def _repository(target: str) -> str:
    return "/".join(target.split("/")[2:4])


def _relative(location: str) -> str:
    parts = urlsplit(location)
    return f"{parts.path}?{parts.query}" if parts.query else parts.path


def _manifest(blobs: list[bytes]) -> bytes:
    def descriptor(kind: str, blob: bytes) -> dict[str, object]:
        media = f"application/vnd.oci.image.{kind}"
        return {"mediaType": media, "digest": _name(blob), "size": len(blob)}

    value = {
        "schemaVersion": 2,
        "mediaType": _KIND,
        "config": descriptor("config.v1+json", blobs[0]),
        "layers": [descriptor("layer.v1.tar+gzip", blob) for blob in blobs],
    }
    return json.dumps(value).encode()
