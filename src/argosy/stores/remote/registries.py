"""containers' registries.conf: insecure registries and their mirrors (containers-registries.conf(5)).

Only entries for a whole host are used. Entries for a namespace of one, aliases and
short names are podman's business: Argosy's references are Docker's.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from argosy.errors import ConfigError
from argosy.values import frozen


@frozen(kw_only=True)
class MirrorEntry:
    """A mirror: `host[:port][/path]`; `digests_only` when it may not be asked what a tag stands for."""

    location: str
    insecure: bool
    digests_only: bool


@frozen(kw_only=True)
class RegistryEntry:
    """What is set for a host; `location` is where it really is."""

    location: str
    insecure: bool
    mirrors: tuple[MirrorEntry, ...] = ()


class RegistriesConf:
    """The `[[registry]]` tables of the files that exist; a later file replaces an earlier one's entry."""

    def __init__(self, paths: Sequence[str]) -> None:
        self._tables: dict[str, Mapping[str, Any]] = {}
        for path in paths:
            for table in _tables(path):
                key = str(table.get("prefix") or table.get("location") or "")
                self._tables[key] = {**table, "file": path}

    def entry(self, host: str) -> RegistryEntry | None:
        """What is set for a host; ConfigError if it is blocked."""
        table = self._tables.get(host) or self._by_wildcard(host)
        if table is None:
            return None
        if table.get("blocked") is True:
            raise ConfigError(
                f"{host} is blocked",
                why=f"`blocked = true` in {table['file']}",
                remedy="use another registry, or take the line out",
            )
        only = table.get("mirror-by-digest-only") is True
        return RegistryEntry(
            location=str(table.get("location") or host),
            insecure=table.get("insecure") is True,
            mirrors=tuple(_mirrors(table, digests_only=only)),
        )

    def _by_wildcard(self, host: str) -> Mapping[str, Any] | None:
        """The longest `*.domain` prefix that covers the host."""
        found = [k for k in self._tables if k.startswith("*.") and host.endswith(k[1:])]
        return self._tables[max(found, key=len)] if found else None


def files(environ: Mapping[str, str], config: str) -> tuple[str, ...]:
    """The files in the order they are read; the user's own replaces the machine's."""
    if chosen := environ.get("CONTAINERS_REGISTRIES_CONF"):
        return (chosen,)
    own = os.path.join(config, "containers/registries.conf")
    main = own if os.path.isfile(own) else "/etc/containers/registries.conf"
    return (main, *_dropped("/etc/containers"), *_dropped(os.path.join(config, "containers")))


def _dropped(folder: str) -> list[str]:
    place = os.path.join(folder, "registries.conf.d")
    try:
        return [os.path.join(place, n) for n in sorted(os.listdir(place)) if n.endswith(".conf")]
    except OSError:
        return []


def _tables(path: str) -> list[Mapping[str, Any]]:
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as e:
        raise ConfigError(f"{path} cannot be read", why=str(e)) from e
    if "[[registry]]" not in text:
        return []  # most files only set short names: no need to load a TOML parser
    import tomllib  # noqa: PLC0415 - slow to import, and seldom needed

    try:
        found = tomllib.loads(text).get("registry")
    except ValueError as e:
        raise ConfigError(f"{path} cannot be read", why=str(e), remedy="it must be TOML") from e
    return [t for t in found if isinstance(t, dict)] if isinstance(found, list) else []


def _mirrors(table: Mapping[str, Any], *, digests_only: bool) -> Iterator[MirrorEntry]:
    for mirror in table.get("mirror") or ():
        location = mirror.get("location") if isinstance(mirror, dict) else None
        wanted = mirror.get("pull-from-mirror", "all") if location else ""
        if location and wanted != "tag-only":  # a tag that resolves here is read by its digest
            yield MirrorEntry(
                location=str(location),
                insecure=mirror.get("insecure") is True,
                digests_only=digests_only or wanted == "digest-only",
            )
