"""A real OpenID Connect provider in a thread: Authlib's authorization server behind HTTP.

Discovery, keys (which can be rotated), the code flow with PKCE and a login form, the device
flow with its page, refresh tokens, userinfo. `sign` makes any other token with its key, as
the providers of CI systems do.
"""

import html
import json
import secrets
import ssl
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from authlib.oauth2 import AuthorizationServer, OAuth2Error, OAuth2Request
from authlib.oauth2.rfc6749 import ClientMixin, OAuth2Payload, TokenMixin, grants
from authlib.oauth2.rfc6749.models import AuthorizationCodeMixin
from authlib.oauth2.rfc6750 import BearerTokenGenerator
from authlib.oauth2.rfc7636 import CodeChallenge
from authlib.oauth2.rfc8628 import (
    DeviceAuthorizationEndpoint,
    DeviceCodeGrant,
    DeviceCredentialDict,
)
from authlib.oidc.core import OpenIDCode, UserInfo
from authlib.oidc.core.grants.code import OpenIDToken
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, RSAKey

CLIENT, SECRET = "argosy-registry", "s3cret.of-the_client"

Claims = dict[str, Any]


class _Dict(dict):  # type: ignore[type-arg]
    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError as e:
            raise AttributeError(name) from e


class Client(_Dict, ClientMixin):
    """A registered client; a public one has no secret."""

    def get_client_id(self):
        return self["client_id"]

    def get_default_redirect_uri(self):
        return self["redirect_uris"][0]

    def get_allowed_scope(self, scope):
        return scope or ""

    def check_redirect_uri(self, redirect_uri):
        return redirect_uri in self["redirect_uris"]

    def check_client_secret(self, client_secret):
        return client_secret == self["secret"]

    def check_endpoint_auth_method(self, method, endpoint):
        return (method == "none") == (not self["secret"])

    def check_response_type(self, response_type):
        return response_type == "code"

    def check_grant_type(self, grant_type):
        return True


class Code(_Dict, AuthorizationCodeMixin):
    def get_redirect_uri(self):
        return self["redirect_uri"]

    def get_scope(self):
        return self["scope"]

    def get_nonce(self):
        return self["nonce"]

    def get_auth_time(self):
        return self["auth_time"]

    def get_acr(self):
        return None

    def get_amr(self):
        return None


class Token(_Dict, TokenMixin):
    def check_client(self, client):
        return self["client_id"] == client.get_client_id()

    def get_scope(self):
        return self["scope"]

    def get_expires_in(self):
        return self["expires_in"]

    def is_expired(self):
        return False

    def is_revoked(self):
        return False

    def get_user(self):
        return self["user"]


class _Payload(OAuth2Payload):
    def __init__(self, values: dict[str, list[str]]) -> None:
        self._values = values

    @property
    def data(self):
        return {name: found[0] for name, found in self._values.items()}

    @property
    def datalist(self):
        return defaultdict(list, self._values)


class _Request(OAuth2Request):
    def __init__(self, method: str, uri: str, headers: Any, body: str) -> None:
        super().__init__(method, uri, headers=headers)
        query = parse_qs(urlsplit(uri).query)
        form = parse_qs(body)
        self._form = {name: found[0] for name, found in form.items()}
        self.payload = _Payload({**query, **form})

    @property
    def args(self):
        return {name: found[0] for name, found in parse_qs(urlsplit(self.uri).query).items()}

    @property
    def form(self):
        return self._form


@cache
def _first_key() -> RSAKey:
    return RSAKey.generate_key(2048, {"kid": "first", "use": "sig"})


class Provider:
    """One provider: its users, clients, keys, and everything that was asked of it."""

    def __init__(self, issuer: str) -> None:
        self.issuer = issuer
        self.clients = {
            CLIENT: Client(client_id=CLIENT, secret=SECRET, redirect_uris=[]),
            "public": Client(client_id="public", secret="", redirect_uris=[]),
        }
        self.users: dict[str, Claims] = {}
        self.codes: dict[str, Code] = {}
        self.tokens: list[Token] = []
        self.devices: dict[str, DeviceCredentialDict] = {}
        self.decided: dict[str, tuple[str, bool]] = {}  # user code: who, and whether they agreed
        self.key: RSAKey | ECKey = _first_key()
        self.published: list[Any] = [self.key]
        self.asked: Counter[str] = Counter()
        self.down = False
        self.slow_down = False
        self.metadata: Claims = {}  # what differs in it
        self.change: Callable[[Claims], Claims] = lambda claims: claims  # of ID tokens
        self.id_token_has: tuple[str, ...] = ("preferred_username", "email", "groups")
        self.server = _server(self)

    def add_user(self, name: str, subject: str = "", **claims: Any) -> None:
        """Somebody who may log in; the password is the name, spelled backwards."""
        more = {"preferred_username": name, "email": f"{name}@idp.test", "groups": []}
        self.users[name] = {"sub": subject or f"id-of-{name}", **more, **claims}

    def rotate(self, kid: str, *, keep: bool = True) -> None:
        """Sign with a new key from now on; publish the old one too, or not."""
        self.key = ECKey.generate_key("P-256", {"kid": kid, "use": "sig"})
        self.published = [*(self.published if keep else []), self.key]

    @property
    def algorithm(self) -> str:
        return "RS256" if isinstance(self.key, RSAKey) else "ES256"

    def sign(self, claims: Claims, **header: Any) -> str:
        """A token with these claims, and `iss`, `iat` and `exp` where they are missing."""
        now = int(time.time())
        whole = {"iss": self.issuer, "iat": now, "nbf": now - 5, "exp": now + 300, **claims}
        whole = {name: value for name, value in whole.items() if value is not None}
        head = {"alg": self.algorithm, "kid": self.key.kid, **header}
        return jwt.encode(head, whole, self.key, [head["alg"]])

    def discovery(self) -> Claims:
        at = self.issuer
        return {
            "issuer": at,
            "authorization_endpoint": f"{at}/authorize",
            "token_endpoint": f"{at}/token",
            "userinfo_endpoint": f"{at}/userinfo",
            "jwks_uri": f"{at}/keys",
            "device_authorization_endpoint": f"{at}/device",
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256", "ES256"],
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "none"],
            "code_challenge_methods_supported": ["S256"],
            **self.metadata,
        }

    def told(self, user: Claims) -> UserInfo:
        return UserInfo({k: v for k, v in user.items() if k == "sub" or k in self.id_token_has})


def _server(op: Provider) -> AuthorizationServer:
    """Authlib's authorization server over the provider's state."""

    class Server(AuthorizationServer):
        def query_client(self, client_id):
            return op.clients.get(client_id)

        def save_token(self, token, request):
            kept = {**token, "client_id": request.client.get_client_id(), "user": request.user}
            op.tokens.append(Token(kept))

        def create_oauth2_request(self, request):
            return request

        def send_signal(self, name, *args, **kwargs):
            pass

        def handle_response(self, status, body, headers):
            return status, body, headers

    class IdToken:
        def resolve_client_private_key(self, client):
            return op.key

        def get_client_algorithm(self, client):
            return op.algorithm

        def get_encode_header(self, client):
            return {"alg": op.algorithm, "kid": op.key.kid}

        def get_compatible_claims(self, request):
            now = int(time.time())
            audience = [request.client.get_client_id()]
            return {"iss": op.issuer, "aud": audience, "iat": now, "exp": now + 300}

        def generate_user_info(self, user, scope):
            return op.told(user)

        def encode_id_token(self, token, request):
            made = jwt.decode(super().encode_id_token(token, request), op.key, [op.algorithm])  # type: ignore[misc]
            changed = op.change(dict(made.claims))
            return jwt.encode(made.header, changed, op.key, [made.header["alg"]])

    class CodeOpenID(IdToken, OpenIDCode):
        def exists_nonce(self, nonce, request):
            return any(code["nonce"] == nonce for code in op.codes.values())

    class DeviceOpenID(IdToken, OpenIDToken):
        pass

    class CodeGrant(grants.AuthorizationCodeGrant):
        TOKEN_ENDPOINT_AUTH_METHODS = ("client_secret_basic", "none")

        def save_authorization_code(self, code, request):
            data = request.payload.data
            op.codes[code] = Code(
                code=code,
                client_id=request.client.get_client_id(),
                redirect_uri=request.payload.redirect_uri,
                scope=request.payload.scope,
                user=request.user,
                nonce=data.get("nonce"),
                auth_time=int(time.time()),
                code_challenge=data.get("code_challenge"),
                code_challenge_method=data.get("code_challenge_method"),
            )

        def query_authorization_code(self, code, client):
            found = op.codes.get(code)
            return found if found and found["client_id"] == client.get_client_id() else None

        def delete_authorization_code(self, authorization_code):
            del op.codes[authorization_code["code"]]

        def authenticate_user(self, authorization_code):
            return authorization_code["user"]

    class Device(DeviceAuthorizationEndpoint):
        INTERVAL = 1

        def get_verification_uri(self):
            return f"{op.issuer}/activate"

        def save_device_credential(self, client_id, scope, data):
            op.devices[data["device_code"]] = DeviceCredentialDict(
                client_id=client_id, scope=scope, **data
            )

    class DeviceGrant(DeviceCodeGrant):
        def query_device_credential(self, device_code):
            return op.devices.get(device_code)

        def query_user_grant(self, user_code):
            decided = op.decided.get(user_code)
            return None if decided is None else (op.users[decided[0]], decided[1])

        def should_slow_down(self, credential):
            return op.slow_down

    class Refresh(grants.RefreshTokenGrant):
        TOKEN_ENDPOINT_AUTH_METHODS = ("client_secret_basic", "none")

        def authenticate_refresh_token(self, refresh_token):
            return next((t for t in op.tokens if t.get("refresh_token") == refresh_token), None)

        def authenticate_user(self, credential):
            return credential["user"]

        def revoke_old_credential(self, refresh_token):
            op.tokens.remove(refresh_token)

    server = Server()
    server.register_token_generator(
        "default",
        BearerTokenGenerator(
            lambda **_: secrets.token_urlsafe(32), lambda **_: secrets.token_urlsafe(32)
        ),
    )
    server.register_grant(CodeGrant, [CodeOpenID(require_nonce=True), CodeChallenge(required=True)])
    server.register_grant(DeviceGrant, [DeviceOpenID()])
    server.register_grant(Refresh, [DeviceOpenID()])
    server.register_endpoint(Device)
    return server


FORM = """<form method="post"><input name="user"><input name="password" type="password">
<button>Log in</button></form><p>{}</p>"""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    op: Provider

    def do_GET(self) -> None:
        self._route("")

    def do_POST(self) -> None:
        self._route(self.rfile.read(int(self.headers.get("content-length", 0))).decode())

    def log_message(self, *args: Any) -> None:
        pass

    def _route(self, body: str) -> None:
        path = urlsplit(self.path).path
        self.op.asked[path] += 1
        if self.op.down:
            self._send(503, "out of order", [])
            return
        request = _Request(self.command, f"{self.op.issuer}{self.path}", self.headers, body)
        served = {
            "/.well-known/openid-configuration": lambda: self._json(self.op.discovery()),
            "/keys": lambda: self._json(
                KeySet(self.op.published).as_dict(private=False)
                if self.op.published
                else {"keys": []}
            ),
            "/authorize": lambda: self._authorize(request, body),
            "/token": lambda: self._send(*self.op.server.create_token_response(request)),
            "/device": lambda: self._send(
                *self.op.server.create_endpoint_response("device_authorization", request)
            ),
            "/activate": lambda: self._activate(request, body),
            "/userinfo": self._userinfo,
        }
        served.get(path, lambda: self._send(404, "nothing here", []))()

    def _person(self, body: str) -> Claims | None:
        form = {name: found[0] for name, found in parse_qs(body).items()}
        name = form.get("user", "")
        return self.op.users.get(name) if form.get("password") == name[::-1] else None

    def _authorize(self, request: _Request, body: str) -> None:
        try:
            grant = self.op.server.get_consent_grant(request)
        except OAuth2Error as e:
            self._send(400, html.escape(str(e)), [])
            return
        if self.command == "GET":
            self._page(FORM.format(html.escape(request.payload.client_id)))
        elif (person := self._person(body)) is None:
            self._page(FORM.format("wrong"), 401)
        else:
            self._send(
                *self.op.server.create_authorization_response(
                    request, grant_user=person, grant=grant
                )
            )

    def _activate(self, request: _Request, body: str) -> None:
        person = self._person(body)
        code = request.payload.data.get("user_code", "")
        if person is None:
            self._page(FORM.format(html.escape(code)), 200 if self.command == "GET" else 401)
            return
        agreed = request.payload.data.get("answer", "yes") == "yes"
        self.op.decided[code] = (person["preferred_username"], agreed)
        self._page("done")

    def _userinfo(self) -> None:
        bearer = self.headers.get("authorization", "").removeprefix("Bearer ")
        for token in self.op.tokens:
            if token["access_token"] == bearer:
                self._json(token["user"])
                return
        self._send(401, "", [("WWW-Authenticate", "Bearer")])

    def _json(self, value: Any) -> None:
        self._send(200, json.dumps(value), [("Content-Type", "application/json")])

    def _page(self, body: str, status: int = 200) -> None:
        self._send(status, body, [("Content-Type", "text/html")])

    def _send(self, status: int, body: Any, headers: Any) -> None:
        raw = (json.dumps(body) if isinstance(body, dict) else str(body)).encode()
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is no news."""


@contextmanager
def provider_running(tls: tuple[Path, Path] | None = None) -> Iterator[Provider]:
    """A provider with the users ann (groups dev, ops) and bob, listening on the loopback."""
    handler = type("Handler", (_Handler,), {})
    with _Server(("127.0.0.1", 0), handler) as http:
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
            http.socket = context.wrap_socket(http.socket, server_side=True)
        scheme = "https" if tls else "http"
        op = handler.op = Provider(f"{scheme}://127.0.0.1:{http.server_address[1]}")  # type: ignore[attr-defined]
        op.add_user("ann", groups=["dev", "ops"])
        op.add_user("bob")
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield op
        finally:
            http.shutdown()
            thread.join()


@pytest.fixture
def oidc() -> Iterator[Provider]:
    """A provider of the test's own."""
    with provider_running() as op:
        yield op
