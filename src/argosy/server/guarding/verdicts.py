"""What was allowed a moment ago, by what was shown: a pull that memory answers costs one look-up.

A yes stands as long as nothing changed of who anybody is or what they may (the age), and
not beyond the time that what it rests on is believed. A no is never kept.
"""

import hashlib
import os
import time
from collections import OrderedDict
from typing import Final

from argosy.access.permissions.authority import Authority
from argosy.access.permissions.decision import Allow
from argosy.access.permissions.permission import Permission
from argosy.access.permissions.principal import Principal

_MOST: Final = 20_000  # of who shows something
_MOST_NEEDS: Final = 1_000  # of what each asked for
_OTHERS: Final = 5.0  # seconds, for what is remembered elsewhere too


class _Seen:
    """Somebody who showed something: what they were allowed, in which age, until when."""

    __slots__ = ("age", "allow", "fine", "until")

    def __init__(self, principal: Principal, age: object, until: float) -> None:
        self.allow = Allow(principal)
        self.age = age
        self.until = until
        self.fine: dict[int, Permission] = {}


class Verdicts:
    """Remembers yeses."""

    def __init__(self, authority: Authority) -> None:
        self._authority = authority
        self._seen: OrderedDict[str | bytes, _Seen] = OrderedDict()
        self._key: Final = os.urandom(32)

    def get(self, header: str, need: Permission) -> Allow | None:
        """The yes for that header to that very need, if there was one and it stands."""
        seen = self._seen.get(self._name(header))
        # By identity: the table of needs makes each once, and what is kept here stays what it is.
        if seen is None or seen.fine.get(id(need)) is not need:
            return None
        if seen.age is not self._authority.age() or seen.until <= time.time():
            return None
        return seen.allow

    def keep(self, header: str, principal: Principal, need: Permission, until: float) -> None:
        """Note a yes; not beyond `until`, nor where it rests on more than who they are."""
        basis = self._authority.basis(principal, need)
        if basis is None:
            return
        age, fresh = basis
        name = self._name(header)
        seen = self._seen.get(name)
        if seen is None or seen.age is not age or seen.until <= time.time():
            limit = until if isinstance(name, str) else min(until, time.time() + _OTHERS)
            seen = self._seen[name] = _Seen(principal, age, min(limit, fresh))
            if len(self._seen) > _MOST:
                self._seen.popitem(last=False)
        if len(seen.fine) >= _MOST_NEEDS:
            seen.fine.clear()
        seen.fine[id(need)] = need

    def _name(self, header: str) -> str | bytes:
        # A password is not kept, not even here; a token is as good as over in some minutes.
        if header[:7] == "Bearer " and header[7:11] != "arg_":
            return header
        return hashlib.blake2b(
            header.encode(errors="surrogateescape"), key=self._key, digest_size=16
        ).digest()
