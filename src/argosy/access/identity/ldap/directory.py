"""The back end on a directory: find the user (or bind directly), check the password, tell the groups."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import field
from typing import Final, TypeVar
from uuid import UUID

from argosy.access.identity.ldap import ber, filters
from argosy.access.identity.ldap.connection import (
    Address,
    Connection,
    Entry,
    LdapError,
    Result,
    Search,
    connected,
    names,
    trusting,
)
from argosy.access.identity.ldap.names import escaped, first_value, is_below
from argosy.access.identity.oidc.addresses import is_here
from argosy.access.signing_in.backends import BackendUnavailable, Identity
from argosy.errors import ArgosyError, ConfigError, NetworkError
from argosy.values import frozen

log = logging.getLogger("argosy.access.ldap")

T = TypeVar("T")

_AT_ONCE: Final = 16  # conversations
_DOWN_FOR: Final = 30.0  # seconds a server that failed is asked last
_DEEPEST: Final = 10
_MOST_GROUPS: Final = 5000
_REMEMBERED: Final = 10_000
# What a server answers when it is the name or the password that is wrong: noSuchObject and
# invalidDNSyntax come from direct binds, the others say what about the account is not in order.
_NOT_THEM: Final = frozenset({16, 19, 32, 34, 48, 49, 53})


_NEEDS_TLS: Final = frozenset({8, 13})  # strongerAuthRequired (AD), confidentialityRequired
_IDS: Final = ("entryUUID", "objectGUID")  # RFC 4530; Active Directory

Groups = dict[str, tuple[str, str]]
"""DN and name of each group, by the DN without regard to case."""


@frozen(kw_only=True)
class LdapOptions:
    """How to reach the directory and how its entries are laid out.

    Either `user_dn` (a template that is bound to directly) or `base_dn` with `user_filter`
    (searched as `bind_dn`, or as nobody). Both may be given: then `user_dn` binds and
    the search finds the entry, as Active Directory's NAME@DOMAIN needs it.
    """

    urls: tuple[str, ...]
    start_tls: bool = False
    ca_file: str = ""
    allow_plain: bool = False  # passwords in the clear to a host that is not this one
    bind_dn: str = ""
    bind_password: str = field(default="", repr=False)
    user_dn: str = ""
    base_dn: str = ""
    user_filter: str = "(uid={name})"
    name_attribute: str = "uid"
    email_attribute: str = "mail"
    id_attribute: str = ""  # what never changes; "": entryUUID, objectGUID or the DN
    member_of: str = "memberOf"
    group_base: str = ""
    group_filter: str = "(|(member={dn})(uniqueMember={dn})(memberUid={name}))"
    group_name: str = "cn"  # an attribute, or `dn`
    nested: bool = False
    admin_group: str = ""
    timeout: float = 5.0
    group_cache: float = 30.0


class Ldap:
    """The back end; holds no connection between two questions."""

    name: Final = "ldap"

    def __init__(self, options: LdapOptions) -> None:
        """ConfigError for what cannot work whatever the directory says."""
        _check(options)
        self._options = options
        self._addresses = [Address.parse(url) for url in options.urls]
        needs_tls = options.start_tls or any(address.tls for address in self._addresses)
        self._tls = trusting(options.ca_file) if needs_tls else None
        self._user_filter = filters.parse(options.user_filter, frozenset({"name"}))
        self._group_filter = filters.parse(options.group_filter, frozenset({"name", "dn"}))
        self._down_until: dict[Address, float] = {}
        self._groups: dict[str, tuple[float, Groups]] = {}
        self._slots = asyncio.Semaphore(_AT_ONCE)

    async def verify(self, name: str, password: str) -> Identity | None:
        """The user, when the directory takes the password."""
        if not name or not password or "\0" in name or "\0" in password:
            return None  # an empty one would be RFC 4513's unauthenticated bind: "success"
        return await self._asked(lambda connection: self._verify(connection, name, password))

    @property
    def recalls(self) -> bool:
        """Whether there is an account that may search; people's own passwords are not kept."""
        return not self._options.user_dn

    async def recall(self, name: str, external_id: str) -> Identity | None:
        """Who that is now, also under another name; None when nobody fits any more."""
        return await self._asked(lambda connection: self._recall(connection, name, external_id))

    async def check(self) -> str:
        """Which server answers, and that it can be searched; BackendUnavailable or ConfigError."""
        return await self._asked(self._checked)

    async def _asked(self, question: Callable[[Connection], Awaitable[T]]) -> T:
        """The answer of the first server that has one."""
        problem: ArgosyError | None = None
        async with self._slots:
            for address in self._in_order():
                try:
                    async with asyncio.timeout(self._options.timeout):
                        async with connected(
                            address, self._tls, start_tls=self._options.start_tls
                        ) as connection:
                            answer = await question(connection)
                except TimeoutError:
                    problem = LdapError(
                        f"{address} does not answer", why=f"within {self._options.timeout:g} s"
                    )
                except NetworkError as e:
                    problem = e
                else:
                    self._down_until.pop(address, None)
                    return answer
                self._down_until[address] = time.monotonic() + _DOWN_FOR
                log.warning("%s: %s", problem.summary, problem.why)
        assert problem is not None
        raise BackendUnavailable(
            f"the directory cannot be asked: {problem.summary}",
            why=problem.why,
            remedy=problem.remedy
            or "see whether it runs and [auth.ldap] is right: argosy config"
            " check --connect; local users and tokens go on working",
        ) from problem

    def _in_order(self) -> list[Address]:
        """The servers, those that failed lately last."""
        now = time.monotonic()
        return sorted(self._addresses, key=lambda each: self._down_until.get(each, 0.0) > now)

    async def _checked(self, connection: Connection) -> str:
        if not self._options.user_dn:
            await self._as_service(connection)
            everybody = ber.octets("objectClass", 0x87)
            await connection.search(Search(base=self._options.base_dn, filter=everybody, limit=1))
        return str(connection.address)

    async def _verify(self, connection: Connection, name: str, password: str) -> Identity | None:
        entry = None
        if not self._options.user_dn:
            await self._as_service(connection)
            if (entry := await self._found(connection, name)) is None:
                return None
        bound = entry.dn if entry else self._direct(name)
        if not _is_them(await connection.bind(bound, password), connection):
            return None
        entry = entry or await self._own(connection, name, bound)
        return await self._identity(connection, name, entry) if entry else None

    async def _recall(self, connection: Connection, name: str, external_id: str) -> Identity | None:
        await self._as_service(connection)
        entry = await self._found(connection, name)
        if entry is None or self._id(entry) != external_id:
            renamed = await self._name_of(connection, external_id)
            entry = await self._found(connection, renamed) if renamed else None
        if entry is None or self._id(entry) != external_id:
            return None
        self._groups.pop(entry.dn.casefold(), None)
        return await self._identity(connection, name, entry)

    async def _name_of(self, connection: Connection, external_id: str) -> str:
        """What somebody is called now, by what never changes; "" when they are gone."""
        tests = [
            ber.wrap(0xA3, ber.octets(attribute), ber.octets(value))
            for attribute, value in _values_of(external_id, self._options.id_attribute)
        ]
        if not tests:
            return ""  # known by the DN: with another DN it is somebody else
        search = Search(
            base=self._options.base_dn,
            filter=filters.any_of(tests),
            attributes=(self._options.name_attribute,),
            limit=2,
        )
        entries = await connection.search(search)
        names_found = entries[0].texts(self._options.name_attribute) if len(entries) == 1 else []
        return names_found[0] if names_found else ""

    async def _as_service(self, connection: Connection) -> None:
        result = await connection.bind(self._options.bind_dn, self._options.bind_password)
        if result.code in _NEEDS_TLS:
            raise _in_the_clear(connection, result)
        if result.code:
            raise LdapError(
                f"{connection.address} does not let the registry's own account in",
                why=str(result),
                remedy="correct [auth.ldap] bind_dn and bind_password",
            )

    def _direct(self, name: str) -> str:
        template = self._options.user_dn
        return template.replace("{name}", escaped(name) if "=" in template else name)

    async def _found(self, connection: Connection, name: str) -> Entry | None:
        wanted = filters.encode(self._user_filter, {"name": name})
        assert wanted is not None  # the only blank is filled
        entries = await connection.search(
            Search(
                base=self._options.base_dn, filter=wanted, attributes=self._attributes(), limit=2
            )
        )
        if len(entries) > 1:
            log.error("two entries fit one user name: [auth.ldap] user_filter is too wide")
        return entries[0] if len(entries) == 1 else None

    async def _own(self, connection: Connection, name: str, bound: str) -> Entry | None:
        """The entry of who has just bound: looked for, or read where the template says it is."""
        if self._options.base_dn:
            return await self._found(connection, name)
        everything = ber.octets("objectClass", 0x87)
        found = await connection.search(
            Search(base=bound, filter=everything, attributes=self._attributes(), whole_tree=False)
        )
        return found[0] if found else None

    def _attributes(self) -> tuple[str, ...]:
        o = self._options
        ids = (o.id_attribute,) if o.id_attribute else _IDS
        return names((o.name_attribute, o.email_attribute, o.member_of, *ids))

    async def _identity(self, connection: Connection, name: str, entry: Entry) -> Identity:
        canonical = _one_of(entry.texts(self._options.name_attribute), name)
        groups = await self._groups_of(connection, entry, canonical)
        admin = self._options.admin_group.casefold()
        known = {text.casefold() for group in groups.values() for text in group}
        place = 0 if self._options.group_name.lower() == "dn" else 1
        return Identity(
            name=canonical,
            backend=self.name,
            groups=tuple(sorted({group[place] for group in groups.values()})),
            email=next(iter(entry.texts(self._options.email_attribute)), ""),
            is_admin=admin in known if admin else None,
            external_id=self._id(entry),
        )

    def _id(self, entry: Entry) -> str:
        """What the entry keeps when it is renamed or moved; without that, its DN."""
        for name in (self._options.id_attribute,) if self._options.id_attribute else _IDS:
            if values := entry.attributes.get(name.lower()):
                if name.lower() == "objectguid" and len(values[0]) == 16:
                    return str(UUID(bytes_le=values[0]))  # [MS-DTYP] 2.3.4.2
                return values[0].decode(errors="replace")
        return entry.dn

    async def _groups_of(self, connection: Connection, entry: Entry, name: str) -> Groups:
        """The groups somebody is in, as they are now or were a moment ago."""
        now, key = time.monotonic(), entry.dn.casefold()
        if (known := self._groups.get(key)) and known[0] > now:
            return known[1]
        # A group of the same name elsewhere in the tree may be anybody's to make.
        base = self._options.group_base
        listed = entry.texts(self._options.member_of)
        found = _named(dn for dn in listed if is_below(dn, base))
        if self._options.group_base:
            if not self._options.user_dn:
                await self._as_service(connection)  # people may not be allowed to search
            await self._add_groups(connection, found, entry.dn, name)
        if len(self._groups) >= _REMEMBERED:
            self._groups.clear()
        self._groups[key] = (now + self._options.group_cache, found)
        return found

    async def _add_groups(self, connection: Connection, found: Groups, dn: str, name: str) -> None:
        """Add the groups of a user and, when they are nested, the groups of those, and so on."""
        new = await self._groups_with(connection, [{"dn": dn, "name": name}])
        level = {**found, **new}
        found.update(new)
        for _ in range(_DEEPEST):
            if not (self._options.nested and level) or len(found) > _MOST_GROUPS:
                break
            above = await self._groups_with(connection, [{"dn": dn} for dn, _ in level.values()])
            level = {key: group for key, group in above.items() if key not in found}
            found.update(level)

    async def _groups_with(
        self, connection: Connection, members: Iterable[filters.Values]
    ) -> Groups:
        """The groups that have one of these as member."""
        wanted = [filters.encode(self._group_filter, member) for member in members]
        present = [each for each in wanted if each is not None]
        if not present:
            return {}
        attribute = self._options.group_name
        search = Search(
            base=self._options.group_base,
            filter=filters.any_of(present),
            attributes=() if attribute.lower() == "dn" else (attribute,),
            limit=_MOST_GROUPS,
        )
        entries = await connection.search(search)
        return {
            e.dn.casefold(): (e.dn, _one_of(e.texts(attribute), first_value(e.dn))) for e in entries
        }


def _values_of(external_id: str, attribute: str) -> list[tuple[str, bytes]]:
    """What to search for, to find an entry by what never changes."""
    found = [(attribute, external_id.encode())] if attribute else []
    try:
        found += [("entryUUID", external_id.encode()), ("objectGUID", UUID(external_id).bytes_le)]
    except ValueError:
        return found
    return [pair for pair in found if not attribute or pair[0].lower() == attribute.lower()]


def _named(dns: Iterable[str]) -> Groups:
    return {dn.casefold(): (dn, first_value(dn)) for dn in dns}


def _one_of(values: list[str], wanted: str) -> str:
    """The value that is `wanted` but for its case, else the first, else `wanted` itself."""
    same = (value for value in values if value.casefold() == wanted.casefold())
    return next(same, values[0] if values else wanted)


def _is_them(result: Result, connection: Connection) -> bool:
    """Whether the password was right; LdapError when the answer is about something else."""
    if result.code == 0:
        return True
    if result.code in _NOT_THEM:
        return False
    if result.code in _NEEDS_TLS:
        raise _in_the_clear(connection, result)
    raise LdapError(f"{connection.address} does not check the password", why=str(result))


def _in_the_clear(connection: Connection, result: Result) -> LdapError:
    return LdapError(
        f"{connection.address} takes no passwords in the clear",
        why=str(result),
        remedy="use ldaps:// in [auth.ldap] urls, or start_tls = true",
    )


def _check(options: LdapOptions) -> None:
    """ConfigError for settings that cannot work, or would give passwords away."""
    if not options.urls:
        raise ConfigError("[auth.ldap] has no urls", remedy='urls = ["ldaps://HOST"]')
    if not options.user_dn and not options.base_dn:
        raise ConfigError(
            "[auth.ldap] does not say where users are", remedy="set base_dn, or user_dn"
        )
    if options.user_dn and "{name}" not in options.user_dn:
        raise ConfigError(
            f"[auth.ldap] user_dn {options.user_dn!r} would be everybody",
            remedy="write {name} where the user's name belongs",
        )
    if bool(options.bind_dn) != bool(options.bind_password):
        raise ConfigError(
            "[auth.ldap] bind_dn and bind_password go together",
            why="a name without a password is nobody for a directory (RFC 4513 §5.1.2)",
            remedy="set both, or neither to search as nobody",
        )
    if not options.user_dn and "{name}" not in options.user_filter:
        raise ConfigError(
            f"[auth.ldap] user_filter {options.user_filter!r} would be everybody",
            remedy="write {name} where the user's name belongs",
        )
    for address in map(Address.parse, options.urls):
        if not (address.tls or options.start_tls or options.allow_plain or is_here(address.host)):
            raise ConfigError(
                f"[auth.ldap] would send passwords to {address} for everybody to read",
                remedy="use ldaps://, or start_tls = true; allow_plain = true if you must",
            )
