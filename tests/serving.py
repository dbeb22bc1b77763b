"""A registry served in this process, and a client of it that shares no code with Argosy."""

import asyncio
import base64
import hashlib
import http.client
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from blockbuster import blockbuster_ctx

from argosy.server.app import App
from argosy.server.config.sections import ServerSettings
from argosy.server.http.server import Server, ServerOptions
from argosy.server.observing.addresses import Proxies
from argosy.server.observing.observer import Observer
from argosy.server.starting.opening import embedded, open_app

OCTETS = "application/octet-stream"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    def __getitem__(self, name: str) -> str:
        """A header that must be there."""
        value = self.headers[name]
        assert value is not None, f"no {name} in {self.headers.as_string()}"
        return str(value)

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The registry's code of the first error."""
        return str(self.json["errors"][0]["code"])


class Client:
    """Plain requests, one connection each; helpers for the steps that many tests need."""

    def __init__(self, host: str, port: int, repository: str = "", shown: str = "") -> None:
        self.host, self.port, self.name = host, port, repository
        self.shown = shown  # the Authorization it sends

    def at(self, repository: str) -> "Client":
        """The same registry, another repository."""
        return Client(self.host, self.port, repository, self.shown)

    def by(self, name: str, password: str) -> "Client":
        """The same, as somebody (Basic)."""
        pair = base64.b64encode(f"{name}:{password}".encode()).decode()
        return Client(self.host, self.port, self.name, f"Basic {pair}")

    def bearing(self, token: str) -> "Client":
        """The same, with a token."""
        return Client(self.host, self.port, self.name, f"Bearer {token}")

    def __call__(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: dict[str, str] | None = None,
        *,
        chunked: bool = False,
    ) -> Answer:
        connection = http.client.HTTPConnection(self.host, self.port, timeout=30)
        try:
            path = path if path.startswith("/") else f"/v2/{self.name}/{path}"
            shown = {"Authorization": self.shown} if self.shown else {}
            connection.request(
                method, path, body, {**shown, **(headers or {})}, encode_chunked=chunked
            )
            found = connection.getresponse()
            return Answer(found.status, found.headers, found.read())
        finally:
            connection.close()

    def begin(self, query: str = "") -> str:
        """Open an upload; its Location."""
        begun = self("POST", f"blobs/uploads/{query}")
        assert begun.status == 202, begun.body
        return begun["Location"]

    def push_blob(self, body: bytes, algorithm: str = "sha256") -> str:
        """A blob in one PUT; its digest."""
        name = digest(body, algorithm)
        done = self("PUT", f"{self.begin()}?digest={name}", body, {"Content-Type": OCTETS})
        assert done.status == 201, done.body
        return name

    def put_manifest(self, ref: str, value: Any, kind: str | None = None) -> Answer:
        """PUT a manifest (JSON value or bytes)."""
        body = value if isinstance(value, bytes) else dump(value)
        kind = kind or json.loads(body).get("mediaType", MANIFEST)
        return self("PUT", f"manifests/{ref}", body, {"Content-Type": kind})

    def push_image(
        self, ref: str = "", seed: str = "", algorithm: str = "sha256", **more: Any
    ) -> dict[str, Any]:
        """A small image, by tag or (if `ref` is empty) by digest; its descriptor."""
        config, layer = f'{{"seed":"{seed}"}}'.encode(), f"layer {seed}".encode()
        for blob in (config, layer):
            self.push_blob(blob, algorithm)
        body = dump(image(config, layer, algorithm=algorithm, **more))
        made = descriptor(MANIFEST, body, algorithm)
        done = self.put_manifest(ref or made["digest"], body)
        assert done.status == 201, done.body
        return made


def digest(body: bytes, algorithm: str = "sha256") -> str:
    return f"{algorithm}:{hashlib.new(algorithm, body).hexdigest()}"


def dump(value: Any) -> bytes:
    return json.dumps(value).encode()


def descriptor(kind: str, body: bytes, algorithm: str = "sha256", **more: Any) -> dict[str, Any]:
    return {"mediaType": kind, "digest": digest(body, algorithm), "size": len(body), **more}


def image(
    config: bytes, *layers: bytes, algorithm: str = "sha256", kind: str = MANIFEST, **more: Any
) -> dict[str, Any]:
    """An image manifest over blobs."""
    return {
        "schemaVersion": 2,
        "mediaType": kind,
        "config": descriptor(CONFIG, config, algorithm),
        "layers": [descriptor(LAYER, layer, algorithm) for layer in layers],
        **more,
    }


def index(*manifests: dict[str, Any], kind: str = INDEX, **more: Any) -> dict[str, Any]:
    """An index over descriptors."""
    return {"schemaVersion": 2, "mediaType": kind, "manifests": list(manifests), **more}


def escaped(text: str) -> str:
    return quote(text, safe="")


class Serving:
    """The server thread of one `served` block."""

    def __init__(self, settings: ServerSettings, *, watched: bool) -> None:
        self._settings, self._watched = settings, watched
        self._ready = threading.Event()
        self._stop: asyncio.Event
        self._loop: asyncio.AbstractEventLoop
        self.port = 0
        self.app: App
        self.error: BaseException | None = None
        self.thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as e:
            self.error = e
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        self._stop, self._loop = asyncio.Event(), asyncio.get_running_loop()
        async with open_app(self._settings) as self.app:
            proxies = Proxies(self._settings.server.trusted_proxies)
            observer = Observer(self.app, self.app.listeners, proxies=proxies)
            options = ServerOptions(log=observer.tell, request_ids=True)
            async with Server(observer, options) as server:
                self.port = server.port
                with blockbuster_ctx() if self._watched else nullcontext():
                    self._ready.set()
                    await self._stop.wait()

    def start(self) -> None:
        self.thread.start()
        self._ready.wait()
        if self.error is not None:
            raise self.error

    def stop(self) -> None:
        with suppress(RuntimeError):  # the loop is closed: it has ended before, with an error
            self._loop.call_soon_threadsafe(self._stop.set)
        self.thread.join()
        if self.error is not None:
            raise self.error

    def run(self, coroutine: Any) -> Any:
        """Run something on the server's loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()


@contextmanager
def served(
    data: Path, *, watched: bool = False, settings: ServerSettings | None = None
) -> Iterator[tuple[Client, Serving]]:
    """A registry on `data`, and a client of it. `watched`: what blocks its loop fails."""
    serving = Serving(settings or embedded(str(data)), watched=watched)
    serving.start()
    try:
        yield Client("127.0.0.1", serving.port), serving
    finally:
        serving.stop()
