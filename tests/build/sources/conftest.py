"""Repositories served over loopback by git itself: the git protocol, and HTTP with a password."""

import base64
import os
import socket
import subprocess
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

BARE = {
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "a",
    "GIT_AUTHOR_EMAIL": "a@example.com",
    "GIT_COMMITTER_NAME": "a",
    "GIT_COMMITTER_EMAIL": "a@example.com",
    "GIT_AUTHOR_DATE": "2020-01-01T00:00:00Z",
    "GIT_COMMITTER_DATE": "2020-01-01T00:00:00Z",
}


def git(where, *words):
    done = subprocess.run(
        ["git", "-c", "protocol.file.allow=always", *words],
        cwd=where,
        env={"PATH": os.environ["PATH"], "HOME": str(where), **BARE},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


@dataclass
class Repository:
    """One with a work tree, whose .git is what is served."""

    path: str
    name: str

    def commit(self, files, message="one"):
        for name, text in files.items():
            path = os.path.join(self.path, name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
        git(self.path, "add", "-A")
        git(self.path, "commit", "-q", "--allow-empty", "-m", message)
        return git(self.path, "rev-parse", "HEAD")

    def git(self, *words):
        return git(self.path, *words)


@dataclass
class Served:
    """Repositories below one directory, and where they are reached."""

    top: str
    url: str

    def repository(self, name="x.git", form="sha1"):
        path = os.path.join(self.top, name)
        os.makedirs(path)
        git(path, "init", "-q", "-b", "main", f"--object-format={form}")
        return Repository(path, name)


@pytest.fixture
def daemon(tmp_path):
    """git daemon: `daemon.url` is git://127.0.0.1:PORT."""
    top = tmp_path / "repositories"
    top.mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ["git", "daemon", "--reuseaddr", "--export-all", f"--base-path={top}"]
    words += ["--listen=127.0.0.1", f"--port={port}", "--log-destination=none"]
    process = subprocess.Popen(words, start_new_session=True, env={**os.environ, **BARE})
    try:
        _wait_for(port)
        yield Served(str(top), f"git://127.0.0.1:{port}")
    finally:
        os.killpg(process.pid, 15)
        process.wait()


def _wait_for(port):
    end = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return  # noqa: TRY300 - the way out of the loop
        except OSError:
            assert time.monotonic() < end
            time.sleep(0.02)


@contextmanager
def http_backend(top, header=""):
    """git http-backend behind a small server that wants `header` as Authorization, if given."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(f"{self.command} {self.path}")
            if header and self.headers.get("Authorization") != header:
                self.send_response(401)
                self.send_header("WWW-Authenticate", 'Basic realm="x"')
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            path, _, query = self.path.partition("?")
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            env = {
                **BARE,
                "PATH": os.environ["PATH"],
                "GIT_PROJECT_ROOT": str(top),
                "GIT_HTTP_EXPORT_ALL": "1",
                "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
                "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
                "REQUEST_METHOD": self.command,
                "PATH_INFO": path,
                "QUERY_STRING": query,
                "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                "CONTENT_LENGTH": str(len(body)),
            }
            done = subprocess.run(
                ["git", "http-backend"], input=body, env=env, capture_output=True, check=False
            )
            head, _, rest = done.stdout.partition(b"\r\n\r\n")
            lines = [line.split(": ", 1) for line in head.decode().split("\r\n") if line]
            status = next((v.split()[0] for k, v in lines if k == "Status"), "200")
            self.send_response(int(status))
            for key, value in lines:
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(rest)))
            self.end_headers()
            self.wfile.write(rest)

        do_POST = do_GET  # noqa: N815 - http.server's name

        def log_message(self, *_words):
            pass

    asked = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield Served(str(top), f"http://127.0.0.1:{server.server_port}"), asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def token_header(token):
    return "basic " + base64.b64encode(f"x-access-token:{token}".encode()).decode()
