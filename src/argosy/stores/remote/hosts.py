"""How each registry host is reached: TLS, certificates, mirrors, proxies.

Argosy reads what is already on the machine: its own `hosts.toml`, containerd's
`certs.d/HOST/hosts.toml` (containerd docs/hosts.md), else containers'
`registries.conf`; the `certs.d` directories of Docker, podman and containerd; and the
proxy variables.
"""

import glob
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from functools import lru_cache
from typing import Any, Literal
from urllib.parse import urlsplit

from argosy.errors import ConfigError
from argosy.stores.remote import registries
from argosy.stores.remote.auth import is_loopback
from argosy.stores.remote.transport import Trust
from argosy.values import frozen

Tls = Literal["on", "insecure", "off", "auto"]
"""`on`: verified; `insecure`: not verified; `off`: plain HTTP; `auto`: whichever answers."""

_HUB = "docker.io"
_HUB_ENDPOINT = "registry-1.docker.io"
ALL = frozenset({"pull", "resolve", "push"})


@frozen(kw_only=True)
class Endpoint:
    """One place a registry's content may be asked for; `url` is its base, `/v2` included.

    A mirror without `resolve` is asked for digests only, one without `push` never
    written to. With `auto` the scheme in `url` is a first guess.
    """

    url: str
    host: str
    tls: Tls = "on"
    capabilities: frozenset[str] = ALL
    headers: Mapping[str, str] = field(default_factory=dict, hash=False)


@frozen(kw_only=True)
class Places:
    """Where the settings of hosts are looked for."""

    settings: tuple[str, ...] = ()  # hosts.toml files of Argosy
    certs: tuple[str, ...] = ()  # certs.d directories
    docker_config: str = ""  # for its `proxies`
    registries: tuple[str, ...] = ()  # containers' registries.conf and its drop-ins

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> "Places":
        """The usual places of this user and this machine."""
        home = environ.get("HOME") or os.path.expanduser("~")
        config = environ.get("XDG_CONFIG_HOME") or os.path.join(home, ".config")
        docker = environ.get("DOCKER_CONFIG") or os.path.join(home, ".docker")
        return cls(
            settings=(os.path.join(config, "argosy/hosts.toml"), "/etc/argosy/hosts.toml"),
            certs=(
                os.path.join(config, "argosy/certs.d"),
                "/etc/argosy/certs.d",
                os.path.join(docker, "certs.d"),
                os.path.join(config, "docker/certs.d"),
                os.path.join(config, "containers/certs.d"),
                "/etc/docker/certs.d",
                "/etc/containers/certs.d",
                "/etc/containerd/certs.d",
            ),
            docker_config=os.path.join(docker, "config.json"),
            registries=registries.files(environ, config),
        )


@frozen(kw_only=True)
class _Host:
    """What is set for one host."""

    tls: Tls | None = None
    ca: tuple[bytes, ...] = ()
    identity: bytes = b""


class Hosts:
    """The settings of every host, read when a host is first used.

    `tls` overrides what the files say, host by host (a command line's flag).
    Reads files: call it off the event loop.
    """

    def __init__(
        self,
        environ: Mapping[str, str] | None = None,
        *,
        places: Places | None = None,
        tls: Mapping[str, Tls] | None = None,
    ) -> None:
        self._environ = dict(os.environ if environ is None else environ)
        self.places = places or Places.of(self._environ)
        self._tls = dict(tls or {})
        self._settings: dict[str, Any] | None = None
        self._hosts: dict[str, _Host] = {}
        self._overrides: dict[str, _Host] = {}
        self._proxies: dict[str, str] | None = None
        self._registries: registries.RegistriesConf | None = None
        self._insecure: set[str] = set()

    def endpoints(self, registry: str) -> list[Endpoint]:
        """Where to ask for this registry's content, in order; the registry itself comes last."""
        if toml := self._mirror_file(registry):
            return [*self._mirrors(toml), self._own(registry, _text(toml, "server"))]
        entry = self._containers().entry(registry)
        if entry is None:
            return [self._own(registry, "")]
        return [*map(self._container_mirror, entry.mirrors), self._own(entry.location, "")]

    def trust(self, url: str) -> Trust:
        """How a URL's host is reached. Known hosts only come from memory: no file is read twice."""
        host = _netloc(url)
        found = self._host(host)
        tls = self.tls(host)
        return Trust(
            verify=tls not in ("insecure", "auto"),
            ca=found.ca,
            identity=found.identity,
            proxy=self._proxy(url),
        )

    def tls(self, host: str) -> Tls:
        """The TLS mode of a host: flag, then files, then `auto` on loopback, else `on`."""
        if host in self._tls:
            return self._tls[host]
        if (found := self._host(host).tls) is not None:
            return found
        entry = self._containers().entry(host)
        insecure = (entry is not None and entry.insecure) or host in self._insecure
        # Docker's rule: registries on this machine may speak plain HTTP.
        return "auto" if insecure or is_loopback(_hostname(host)) else "on"

    def _own(self, registry: str, server: str) -> Endpoint:
        if server:
            return self._endpoint(server, ALL, override_path=False)
        host = _HUB_ENDPOINT if registry == _HUB else registry
        tls = self.tls(host)
        return Endpoint(url=f"{_scheme(host, tls)}://{host}/v2", host=host, tls=tls)

    def _container_mirror(self, mirror: registries.MirrorEntry) -> Endpoint:
        host, _, path = mirror.location.partition("/")
        if mirror.insecure:
            self._insecure.add(host)
        tls = self.tls(host)
        return Endpoint(
            url=f"{_scheme(host, tls)}://{host}/v2" + (f"/{path}" if path else ""),
            host=host,
            tls=tls,
            capabilities=frozenset({"pull"} if mirror.digests_only else {"pull", "resolve"}),
        )

    def _containers(self) -> registries.RegistriesConf:
        if self._registries is None:
            self._registries = registries.RegistriesConf(self.places.registries)
        return self._registries

    def _mirrors(self, toml: Mapping[str, Any]) -> Iterator[Endpoint]:
        hosts = _table(toml, "host")
        for url in hosts:
            options = _table(hosts, url)
            wanted = options.get("capabilities")
            capabilities = frozenset(wanted) & ALL if isinstance(wanted, list) else ALL
            yield self._configured(url, options, capabilities)

    def _configured(
        self, url: str, options: Mapping[str, Any], capabilities: frozenset[str]
    ) -> Endpoint:
        override = options.get("override_path") is True
        endpoint = self._endpoint(url, capabilities, override_path=override)
        headers = {k: _header(v) for k, v in _table(options, "header").items()}
        host = endpoint.host
        own = self._host(host)
        extra = _Host(
            tls="insecure" if options.get("skip_verify") is True else own.tls,
            ca=(*own.ca, *_pems(options.get("ca"))),
            identity=_identity(options.get("client")) or own.identity,
        )
        self._overrides[host] = extra
        return Endpoint(
            url=endpoint.url,
            host=host,
            tls=self.tls(host) if urlsplit(url).scheme == "https" else "off",
            capabilities=capabilities,
            headers=headers,
        )

    def _endpoint(self, url: str, capabilities: frozenset[str], *, override_path: bool) -> Endpoint:
        parts = urlsplit(url if "://" in url else f"https://{url}")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(
                f"{url!r} in hosts.toml is not a registry's URL",
                remedy="write https://host:port",
            )
        path = parts.path.rstrip("/")
        if not override_path and not path.endswith("/v2"):
            path += "/v2"
        tls: Tls = "off" if parts.scheme == "http" else "on"
        return Endpoint(
            url=f"{parts.scheme}://{parts.netloc}{path}",
            host=parts.netloc,
            tls=tls,
            capabilities=capabilities,
        )

    def _mirror_file(self, registry: str) -> Mapping[str, Any]:
        for directory in self.places.certs:
            for name in (registry, registry.replace(":", "_") + "_", "_default"):
                path = os.path.join(directory, name, "hosts.toml")
                if os.path.isfile(path):
                    return _toml(path)
        return {}

    def _host(self, host: str) -> _Host:
        if host in self._overrides:
            return self._overrides[host]
        if host not in self._hosts:
            self._hosts[host] = self._read_host(host)
        return self._hosts[host]

    def _read_host(self, host: str) -> _Host:
        options = _table(self._own_settings(), "host").get(host) or {}
        tls = options.get("tls")
        if tls is not None and tls not in ("on", "insecure", "off", "auto"):
            raise ConfigError(
                f"tls = {tls!r} of host {host!r} cannot be used",
                remedy='write tls = "on", "insecure" or "off"',
            )
        cas, identity = list(_pems(options.get("ca"))), b""
        if options.get("cert"):
            identity = _identity([options.get("cert"), options.get("key")])
        for directory in self.places.certs:
            more, found = _certs(os.path.join(directory, host))
            cas += more
            identity = identity or found
        return _Host(tls=tls, ca=tuple(cas), identity=identity)

    def _own_settings(self) -> Mapping[str, Any]:
        if self._settings is None:
            existing = [p for p in self.places.settings if os.path.isfile(p)]
            self._settings = {}
            for path in reversed(existing):  # the user's own file has the last word
                hosts = {**_table(self._settings, "host"), **_table(_toml(path), "host")}
                self._settings["host"] = hosts
        return self._settings

    def _proxy(self, url: str) -> str:
        if self._proxies is None:
            self._proxies = _proxies(self._environ, self.places.docker_config)
        parts = urlsplit(url)
        proxy = self._proxies.get(parts.scheme) or self._proxies.get("all", "")
        if not proxy or _bypassed(parts.hostname or "", parts.port, self._proxies.get("no", "")):
            return ""
        return proxy if "://" in proxy else f"http://{proxy}"


def _scheme(host: str, tls: Tls) -> str:
    # With `auto` the first guess: on loopback plain HTTP is the likely case, and needs
    # no certificates loaded; elsewhere TLS is tried before anything goes in the clear.
    plain = tls == "off" or (tls == "auto" and is_loopback(_hostname(host)))
    return "http" if plain else "https"


def _netloc(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2]


def _hostname(host: str) -> str:
    return urlsplit(f"//{host}").hostname or ""


def _proxies(environ: Mapping[str, str], docker_config: str) -> dict[str, str]:
    """`http`, `https`, `all`, `no`: from the environment, else from Docker's config.json."""
    found: dict[str, str] = {}
    for name in ("http", "https", "all", "no"):
        # HTTP_PROXY in capitals can be set by a web request's Proxy header under CGI.
        capital = "" if name == "http" and "REQUEST_METHOD" in environ else f"{name}_proxy".upper()
        found[name] = environ.get(f"{name}_proxy") or environ.get(capital) or ""
    if not any(found[n] for n in ("http", "https", "all")):
        found |= _docker_proxies(docker_config, found["no"])
    return found


def _docker_proxies(path: str, no: str) -> dict[str, str]:
    try:
        with open(path, encoding="utf-8") as file:
            default = (json.load(file).get("proxies") or {}).get("default") or {}
    except (OSError, ValueError, AttributeError):
        return {}  # whoever reads credentials from it reports what is wrong with it
    names = {"http": "httpProxy", "https": "httpsProxy", "all": "allProxy", "no": "noProxy"}
    found = {name: str(default.get(key) or "") for name, key in names.items()}
    return {**found, "no": no or found["no"]}


def _bypassed(host: str, port: int | None, rules: str) -> bool:
    """Whether NO_PROXY names the host. Loopback is never proxied (Go's and Docker's rule)."""
    if is_loopback(host):
        return True
    return any(
        _rule_names(rule.strip().lower(), host, port) for rule in rules.split(",") if rule.strip()
    )


def _rule_names(rule: str, host: str, port: int | None) -> bool:
    if rule == "*":
        return True
    if "/" in rule:
        return _in_network(host, rule)
    name, colon, wanted = rule.rpartition(":")
    if colon and wanted.isdigit() and not name.endswith(":"):
        if int(wanted) != port:
            return False
        rule = name
    suffix = rule.removeprefix("*").removeprefix(".")
    return host == suffix or host.endswith("." + suffix)


def _in_network(host: str, rule: str) -> bool:
    import ipaddress  # noqa: PLC0415 - slow to import, and seldom needed

    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(rule, strict=False)
    except ValueError:
        return False


def _certs(directory: str) -> tuple[list[bytes], bytes]:
    """The `*.crt` authorities and the first `X.cert` + `X.key` pair of a certs.d/HOST directory."""
    authorities = [
        _file(p) for p in sorted(glob.glob(os.path.join(glob.escape(directory), "*.crt")))
    ]
    for cert in sorted(glob.glob(os.path.join(glob.escape(directory), "*.cert"))):
        key = cert.removesuffix(".cert") + ".key"
        if not os.path.isfile(key):
            raise ConfigError(
                f"{cert} has no key beside it", remedy=f"put its private key at {key}"
            )
        return authorities, _identity([cert, key])
    return authorities, b""


def _pems(paths: Any) -> Sequence[bytes]:
    if paths is None:
        return ()
    return [_file(str(p)) for p in (paths if isinstance(paths, list) else [paths])]


def _identity(client: Any) -> bytes:
    """Certificate and key in one PEM, from hosts.toml's `client`: a path, a pair, or a list of pairs."""
    if not client:
        return b""
    first = client[0] if isinstance(client, list) and isinstance(client[0], list) else client
    paths = first if isinstance(first, list) else [first]
    return b"\n".join(_file(str(p)) for p in paths if p)


def _file(path: str) -> bytes:
    try:
        with open(os.path.expanduser(path), "rb") as file:
            return file.read()
    except OSError as e:
        raise ConfigError(
            f"certificate file {path} cannot be read",
            why=e.strerror or str(e),
            remedy="check its path, owner and mode",
        ) from e


@lru_cache(maxsize=64)
def _toml_at(path: str, _stamp: tuple[int, int]) -> Mapping[str, Any]:
    import tomllib  # noqa: PLC0415 - slow to import, and most machines have no such file

    try:
        with open(path, "rb") as file:
            return tomllib.load(file)
    except (OSError, ValueError) as e:
        raise ConfigError(f"{path} cannot be read", why=str(e), remedy="it must be TOML") from e


def _toml(path: str) -> Mapping[str, Any]:
    stat = os.stat(path)
    return _toml_at(path, (stat.st_mtime_ns, stat.st_size))


def _table(value: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = value.get(name)
    return found if isinstance(found, dict) else {}


def _text(value: Mapping[str, Any], name: str) -> str:
    found = value.get(name)
    return found if isinstance(found, str) else ""


def _header(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
