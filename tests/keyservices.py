"""The services that give keys to workloads on AWS, on loopback: STS, the agents of containers, IMDS."""

import json
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

IMDS_TOKEN = "imds-session-token"
ROLE = "node-role"

Reply = tuple[int, str | bytes]


class KeyServices:
    """All of them at one address. Gives `keys[n]`, the last one again and again."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, dict[str, str], str]] = []
        self.given = 0
        self.lifetime = 3600.0
        self.skew = 0.0  # seconds that this service's clock is ahead
        self.instead: Callable[[str, str], Reply | None] = lambda _method, _path: None
        self.gate = threading.Event()
        self.gate.set()
        services = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                pass

            def date_time_string(self, _timestamp: float | None = None) -> str:
                return formatdate(time.time() + services.skew, usegmt=True)

            def answer(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                sent = self.rfile.read(length).decode()
                headers = {name.lower(): value for name, value in self.headers.items()}
                services.seen.append((self.command, self.path, headers, sent))
                services.gate.wait()
                found = services.instead(self.command, self.path)
                status, body = found or services.reply(self.command, self.path, headers, sent)
                data = body if isinstance(body, bytes) else body.encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_PUT = do_POST = answer  # noqa: N815 - the library's names

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=[0.02])
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self.gate.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def expiration(self) -> str:
        at = time.time() + self.skew + self.lifetime
        return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    def reply(self, method: str, path: str, headers: dict[str, str], sent: str) -> Reply:
        if method == "POST":
            return self.assume(parse_qs(sent))
        if path == "/latest/api/token":
            ttl = headers.get("x-aws-ec2-metadata-token-ttl-seconds", "")
            return (200, IMDS_TOKEN) if method == "PUT" and ttl.isdigit() else (400, "")
        if path.startswith("/latest/"):
            if headers.get("x-aws-ec2-metadata-token") != IMDS_TOKEN:
                return 401, ""  # as an instance that takes version 2 only
            role = path.removeprefix("/latest/meta-data/iam/security-credentials/")
            return (200, self.json(Code="Success")) if role == ROLE else (200, ROLE)
        return 200, self.json(RoleArn="arn:aws:iam::1:role/task")

    def json(self, **more: str) -> str:
        self.given += 1
        words = {
            "AccessKeyId": f"AKID{self.given}",
            "SecretAccessKey": f"secret-{self.given}",
            "Token": f"session-{self.given}",
            "Expiration": self.expiration(),
        }
        return json.dumps({**words, **more})

    def assume(self, form: dict[str, list[str]]) -> Reply:
        if form["Action"] != ["AssumeRoleWithWebIdentity"] or form["Version"] != ["2011-06-15"]:
            return 400, fault("InvalidAction", "")
        self.given += 1
        return 200, (
            '<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">'
            "<AssumeRoleWithWebIdentityResult><Audience>sts</Audience><Credentials>"
            f"<AccessKeyId>AKID{self.given}</AccessKeyId>"
            f"<SecretAccessKey>secret-{self.given}</SecretAccessKey>"
            f"<SessionToken>session-{self.given}</SessionToken>"
            f"<Expiration>{self.expiration()}</Expiration></Credentials>"
            "</AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"
        )


def fault(code: str, message: str) -> str:
    """As STS says no."""
    return (
        "<ErrorResponse><Error><Type>Sender</Type>"
        f"<Code>{code}</Code><Message>{message}</Message></Error></ErrorResponse>"
    )
