"""The doctor on the way to a registry: each check needs the ones before it.

The findings follow the catalogue of what users see (research: ux §3.3).
"""

import datetime as dt
import email.utils
import ssl
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from argosy.cli.health import probe
from argosy.cli.health.finding import Finding, State, failed
from argosy.cli.looking import nearest
from argosy.errors import ArgosyError, NotFound, Unauthorized

if TYPE_CHECKING:
    from argosy.cli.session import Session
    from argosy.content.store import Source
    from argosy.model.descriptor import Descriptor
    from argosy.model.reference import Reference
    from argosy.stores.remote.hosts import Endpoint, Hosts

CHECKS = ("dns", "connect", "tls", "clock", "auth", "scope", "image")
_SKEW_WARN, _SKEW_FAIL = (
    30.0,
    300.0,
)  # seconds; tokens carry times, and 5 minutes is their usual slack
_SLOW = 1.0  # seconds to connect


@dataclass(slots=True)
class Way:
    """What is known so far of the way to one registry."""

    session: "Session"
    registry: str
    hosts: "Hosts"
    reference: "Reference | None" = None
    push: bool = False
    head: probe.Head | None = None
    ips: list[str] = field(default_factory=list)

    async def findings(self) -> AsyncIterator[Finding]:
        """Every check in order, until one is in the way of the rest."""
        from argosy.concurrency import in_thread

        endpoint = (await in_thread(self.hosts.endpoints, self.registry))[-1]
        host, port = split_host(endpoint)
        if proxy := self.hosts.trust(endpoint.url).proxy:
            yield Finding(
                check="dns",
                state="skip",
                summary=f"{host} is reached through the proxy {shown_proxy(proxy)}",
                evidence=("from HTTPS_PROXY, HTTP_PROXY, ALL_PROXY or docker's config.json",),
                next=f"to go without it: NO_PROXY={host} argosy doctor …",
            )
        else:
            for check in (self._dns, self._connect, self._tls):
                finding = await check(endpoint, host, port)
                yield finding
                if finding.state == "fail":
                    return
            yield self._clock()
        async for finding in self._inside():
            yield finding

    async def _dns(self, _endpoint: "Endpoint", host: str, port: int) -> Finding:
        try:
            self.ips = await probe.addresses(host, port)
        except OSError as e:
            return Finding(
                check="dns",
                state="fail",
                summary=f"{host} has no address",
                evidence=(
                    e.strerror or str(e),
                    "asked: the system's resolver (/etc/resolv.conf, /etc/hosts)",
                ),
                next=f"check the spelling; then `getent hosts {host}`",
            )
        return Finding(check="dns", state="ok", summary=f"{host} is {', '.join(self.ips)}")

    async def _connect(self, _endpoint: "Endpoint", host: str, port: int) -> Finding:
        from argosy.concurrency import gather

        timeout = self.session.settings.connect_timeout
        tried = await gather(probe.connect(ip, port, timeout) for ip in self.ips)
        evidence = tuple(
            f"{a.ip} port {port}: {a.problem or f'{a.seconds * 1000:.0f} ms'}" for a in tried
        )
        good = [a for a in tried if not a.problem]
        if not good:
            return Finding(
                check="connect",
                state="fail",
                summary=f"nothing answers at {host} port {port}",
                evidence=evidence,
                next="start the registry, or check the port, the firewall and HTTPS_PROXY",
            )
        slow = min(a.seconds for a in good) > _SLOW
        state: State = "warn" if len(good) < len(tried) or slow else "ok"
        best = min(a.seconds for a in good)
        return Finding(
            check="connect",
            state=state,
            summary=f"connected to {host} port {port} in {best * 1000:.0f} ms",
            evidence=evidence if state == "warn" else (),
            next="some addresses do not answer, or slowly: check the route (IPv6?)"
            if state == "warn"
            else "",
        )

    async def _tls(self, endpoint: "Endpoint", host: str, port: int) -> Finding:
        """TLS as the client would do it; where plain HTTP is allowed too, whichever answers."""
        trust = self.hosts.trust(endpoint.url)
        if endpoint.tls == "off":
            return await self._plain(host, port, "as configured")
        timeout = self.session.settings.connect_timeout
        try:
            context = _context(trust.verify, trust.ca)
            self.head = await probe.ask(host, port, context, timeout)
        except ssl.SSLCertVerificationError as e:
            return await self._untrusted(host, port, e)
        except (probe.NotTLS, OSError, TimeoutError) as e:
            if endpoint.tls == "auto":
                return await self._plain(host, port, "allowed for loopback, or by a flag")
            spoke = isinstance(e, probe.NotTLS)
            return _speaks_http(host, port, str(e)) if spoke else _broken(host, port, e)
        how = "verified" if trust.verify else "NOT verified"
        return Finding(
            check="tls",
            state="ok" if trust.verify else "warn",
            summary=f"{self.head.tls}, certificate {how}",
            next=""
            if trust.verify
            else "put its CA into certs.d, and leave --tls-verify=false away",
        )

    async def _plain(self, host: str, port: int, why: str) -> Finding:
        try:
            self.head = await probe.ask(host, port, None, self.session.settings.connect_timeout)
        except (OSError, TimeoutError) as e:
            return _broken(host, port, e)
        return Finding(check="tls", state="ok", summary=f"plain HTTP, {why}")

    async def _untrusted(
        self, host: str, port: int, error: ssl.SSLCertVerificationError
    ) -> Finding:
        shown = await probe.certificate(host, port, self.session.settings.connect_timeout)
        looked = [
            f"looked for authorities in {d}/{host}:{port}" for d in self.hosts.places.certs[:2]
        ]
        where = f"{self.hosts.places.certs[0]}/{self.registry}/ca.crt"
        steps = {
            "Hostname mismatch": "use one of the names above, or have the certificate made anew",
            "certificate has expired": "renew the registry's certificate, or check this clock",
            "certificate is not yet valid": "check this machine's clock",
        }
        message = error.verify_message
        found = [step for key, step in steps.items() if key.lower() in message.lower()]
        return Finding(
            check="tls",
            state="fail",
            summary=f"the certificate of {host} is not trusted: {message}",
            evidence=(*shown, *looked),
            next=found[0] if found else f"put the authority's certificate at {where}",
        )

    def _clock(self) -> Finding:
        assert self.head is not None
        date = self.head.headers.get("date", "")
        theirs = None
        with suppress(ValueError, TypeError):
            theirs = email.utils.parsedate_to_datetime(date)
        if theirs is None:
            return Finding(check="clock", state="skip", summary="the registry tells no time")
        skew = (dt.datetime.now(dt.UTC) - theirs).total_seconds()
        size = abs(skew)
        state: State = "fail" if size > _SKEW_FAIL else "warn" if size > _SKEW_WARN else "ok"
        side = "ahead of" if skew > 0 else "behind"
        return Finding(
            check="clock",
            state=state,
            summary=f"this clock is {size:.0f} s {side} the registry's"
            if size > 2  # the header has whole seconds, and the answer took its time
            else "in step with the registry",
            evidence=(f"registry: {date}",) if state != "ok" else (),
            next="set the time (NTP): tokens and certificates carry times" if state != "ok" else "",
        )

    async def _inside(self) -> AsyncIterator[Finding]:
        """What the registry lets us do, asked through the client itself."""
        try:
            yield await self._auth()
        except ArgosyError as e:
            yield failed("auth", e, *await self._credentials())
            return
        if self.reference is None:
            return
        async for finding in self._image(self.reference):
            yield finding

    async def _credentials(self) -> list[str]:
        from argosy.stores.remote.credentials import Credentials

        found = Credentials()
        repository = self.reference.repository if self.reference else ""
        try:
            used = await found.find(self.registry, repository)
        except ArgosyError as e:
            return [e.summary, e.why]
        if used is None:
            return ["no credentials found in: " + ", ".join(["DOCKER_AUTH_CONFIG", *found.files])]
        who = used.username or "an identity token"
        return [f"credentials of {who} from {used.source}"]

    async def _auth(self) -> Finding:
        challenge = self.head.headers.get("www-authenticate", "") if self.head else ""
        if self.head is not None and self.head.status == 200:
            return Finding(check="auth", state="ok", summary="the registry asks for no credentials")
        client = await self.session.client()
        credentials = await self._credentials()
        evidence = [f"challenge: {challenge}"] if challenge else []
        try:
            await client.registry(self.registry).ping()
        except Unauthorized as e:
            if self.reference is None or not credentials[0].startswith("no credentials"):
                raise
            # Anonymous pulls may be allowed all the same; the image will tell.
            return Finding(
                check="auth",
                state="warn",
                summary=e.summary,
                evidence=(*credentials, *evidence),
                next=e.remedy,
            )
        return Finding(
            check="auth",
            state="ok",
            summary="the registry takes us in",
            evidence=tuple(credentials),
        )

    async def _image(self, reference: "Reference") -> AsyncIterator[Finding]:
        client = await self.session.client()
        store = client.repository(reference)
        missing: NotFound | None = None
        desc = None
        try:
            try:
                desc = await store.resolve(reference.name)
            except NotFound as e:
                missing = e
            if self.push:
                await store.rehearse_push()
        except ArgosyError as e:
            yield failed("scope", e, *await self._credentials())
            return
        may = "read and pushed to" if self.push else "read"
        yield Finding(check="scope", state="ok", summary=f"{reference.locator} may be {may}")
        if missing is not None:
            near = await nearest(store, reference.name)
            hint = f"did you mean {' or '.join(near)}?" if near else missing.remedy
            yield Finding(check="image", state="fail", summary=missing.summary, next=hint)
        if desc is not None:
            try:
                yield await self._platforms(store, desc)
            except ArgosyError as e:
                yield failed("image", e)

    async def _platforms(self, store: "Source", desc: "Descriptor") -> Finding:
        from argosy.cli.picture import picture
        from argosy.model.platform import Platform, best_match

        seen = await picture(store, desc)
        have = [(i.platform, i) for i in seen.images if i.platform is not None]
        names = ", ".join(str(platform) for platform, _ in have) or "no platform (an artifact)"
        host = Platform.host()
        if have and best_match(host, have) is None:
            return Finding(
                check="image",
                state="warn",
                summary=f"it has no image for this machine, {host}",
                evidence=(f"it has {names}",),
                next=f"--platform {have[0][0]}, or build the missing one: argosy build --platform {host} …",
            )
        return Finding(check="image", state="ok", summary=f"{desc.digest} has {names}")


def split_host(endpoint: "Endpoint") -> tuple[str, int]:
    """Host name and port of an endpoint."""
    from urllib.parse import urlsplit

    parts = urlsplit(endpoint.url)
    return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)


def shown_proxy(url: str) -> str:
    """A proxy's URL without its password."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"


def _context(verify: bool, authorities: "tuple[bytes, ...]") -> ssl.SSLContext:
    context = ssl.create_default_context()
    for pem in authorities:
        context.load_verify_locations(cadata=pem.decode("ascii", errors="replace"))
    if not verify:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def _speaks_http(host: str, port: int, first: str) -> Finding:
    return Finding(
        check="tls",
        state="fail",
        summary=f"{host} port {port} speaks plain HTTP, not TLS",
        evidence=(f"its first bytes are {first!r}",),
        next=f'argosy: [host."{host}:{port}"] tls = "off" in ~/.config/argosy/hosts.toml, or --plain-http\n'
        f'docker: {{"insecure-registries": ["{host}:{port}"]}} in daemon.json\n'
        f"podman, skopeo: --tls-verify=false\n"
        f'containerd: server = "http://{host}:{port}" in certs.d/{host}:{port}/hosts.toml',
    )


def _broken(host: str, port: int, error: BaseException) -> Finding:
    said = getattr(error, "strerror", None) or str(error) or "no answer in time"
    return Finding(
        check="tls",
        state="fail",
        summary=f"{host} port {port} took the connection and gave no answer",
        evidence=(said,),
        next="check that this is the registry's port; a proxy or firewall may be in between",
    )
