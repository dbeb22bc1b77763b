"""A stand-in for GitHub's cache service, v1 and v2, with Azure's blobs behind it, over a real socket.

It keeps the rules that clients rely on: an entry is written once and seen only when it
is finished, the newest entry with a prefix is found, versions are apart, tokens are
asked for, a blob is what its list of blocks says.
"""

import base64
import json
import re
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

TWIRP = "/twirp/github.actions.results.api.v1.CacheService/"


@dataclass
class Entry:
    key: str
    version: str
    body: bytes = b""
    finished: bool = False
    blocks: dict = field(default_factory=dict)


@dataclass
class Fault:
    """What to answer instead, to requests whose line has `words`, so many times."""

    words: str
    status: int = 429
    headers: dict = field(default_factory=dict)
    times: int = 1
    seconds: float = 0.0


class Service:
    def __init__(self):
        self.lock = threading.RLock()
        self.entries = []
        self.requests = []
        self.faults = []
        self.url = ""

    def token(self, *scopes):
        """A job's token: JWT whose access is a list of branches."""
        access = [{"Scope": name, "Permission": bits} for name, bits in scopes]
        claims = json.dumps({"ac": json.dumps(access), "exp": 4e9}).encode()
        return "e30." + base64.urlsafe_b64encode(claims).rstrip(b"=").decode() + ".sig"

    def fault(self, line):
        with self.lock:
            for fault in self.faults:
                if fault.words in line and fault.times:
                    fault.times -= 1
                    return fault
        return None

    def find(self, keys, version):
        with self.lock:
            for key in keys:
                for entry in reversed(self.entries):
                    if entry.finished and entry.version == version and entry.key.startswith(key):
                        return entry
        return None

    def reserve(self, key, version):
        with self.lock:
            if any(e.key == key and e.version == version for e in self.entries):
                return None
            self.entries.append(Entry(key, version))
            return len(self.entries) - 1

    def number(self, key):
        return next(n for n, e in enumerate(self.entries) if e.key == key)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def service(self):
        return self.server.service

    def log_message(self, *_args):
        return

    def do(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        line = f"{self.command} {self.path}"
        with self.service.lock:
            self.service.requests.append(line)
        if (fault := self.service.fault(line)) is not None:
            time.sleep(fault.seconds)
            return self.answer(fault.status, b"slow down", fault.headers)
        url = urlsplit(self.path)
        query = {k: v[0] for k, v in parse_qs(url.query).items()}
        if url.path.startswith("/azure/"):
            return self.azure(url.path, query, body)
        if not self.headers.get("authorization", "").startswith("Bearer e30."):
            return self.answer(401, b"no token")
        if url.path.startswith(TWIRP):
            return self.v2(url.path.removeprefix(TWIRP), json.loads(body))
        return self.v1(url.path.removeprefix("/_apis/artifactcache/"), query, body)

    do_GET = do_POST = do_PUT = do_PATCH = do  # noqa: N815 - http.server's names

    def v2(self, method, value):
        service = self.service
        if method == "CreateCacheEntry":
            number = service.reserve(value["key"], value["version"])
            if number is None:
                return self.json(409, {"code": "already_exists", "msg": "taken"})
            signed = f"{service.url}/azure/{number}?sig=write"
            return self.json(200, {"ok": True, "signed_upload_url": signed})
        if method == "FinalizeCacheEntryUpload":
            number = service.number(value["key"])
            entry = service.entries[number]
            entry.finished = len(entry.body) == int(value["size_bytes"])
            return self.json(200, {"ok": entry.finished, "entry_id": str(number)})
        assert method == "GetCacheEntryDownloadURL"
        entry = service.find([value["key"], *value["restore_keys"]], value["version"])
        if entry is None:
            return self.json(200, {"ok": False})
        signed = f"{service.url}/azure/{service.entries.index(entry)}?sig=read"
        return self.json(200, {"ok": True, "signed_download_url": signed, "matched_key": entry.key})

    def v1(self, path, query, body):
        service = self.service
        if path == "cache":
            entry = service.find(query["keys"].split(","), query["version"])
            if entry is None:
                return self.answer(204)
            where = f"{service.url}/azure/{service.entries.index(entry)}?sig=read"
            return self.json(
                200, {"cacheKey": entry.key, "archiveLocation": where, "scope": "refs/heads/main"}
            )
        if path == "caches":
            value = json.loads(body)
            number = service.reserve(value["key"], value["version"])
            if number is None:
                return self.json(409, {"typeKey": "ArtifactCacheItemAlreadyExistsException"})
            return self.json(201, {"cacheId": number + 1})
        entry = service.entries[int(path.removeprefix("caches/")) - 1]
        if self.command == "PATCH":
            begin, end = map(int, re.findall(r"\d+", self.headers["content-range"])[:2])
            assert end - begin + 1 == len(body)
            assert begin == len(entry.body)
            entry.body += body
            return self.answer(204)
        entry.finished = json.loads(body)["size"] == len(entry.body)
        return self.answer(204 if entry.finished else 400)

    def azure(self, path, query, body):
        entry = self.service.entries[int(path.rpartition("/")[2])]
        if self.command == "GET":
            assert query["sig"] == "read"
            found = self.headers.get("range")
            if not found:
                return self.answer(200, entry.body)
            return self.answer(206, entry.body[int(re.findall(r"\d+", found)[0]) :])
        assert query["sig"] == "write"
        assert self.headers["x-ms-version"]
        assert "authorization" not in self.headers  # the signature is all that is shown
        if query["comp"] == "block":
            entry.blocks[query["blockid"]] = body
        else:
            names = re.findall(rb"<Latest>([^<]*)</Latest>", body)
            entry.body = b"".join(entry.blocks[n.decode()] for n in names)
        return self.answer(201)

    def json(self, status, value):
        self.answer(status, json.dumps(value).encode(), {"content-type": "application/json"})

    def answer(self, status, body=b"", headers=None):
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        if status != 204:
            self.wfile.write(body)


@contextmanager
def serving():
    """The service on the loopback for as long as the block lasts."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.service = Service()
    server.service.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server.service
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
