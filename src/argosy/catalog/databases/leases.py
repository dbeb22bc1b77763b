"""Work that one node does for all, for longer than a transaction: a lease, kept by renewing it.

Leases go by the database's clock, but who has one may sleep. Who does such work must be able
to bear that another node does it too.
"""

from sqlalchemy import Connection, delete, or_, update

from argosy.catalog import schema as t
from argosy.catalog.databases.dialects import clock, upsert

_SECOND = 1_000_000


def take(conn: Connection, name: str, holder: str, seconds: float) -> bool:
    """Take or renew a lease; False while somebody else has it."""
    leases, now = t.leases, clock(conn)
    until = now + round(seconds * _SECOND)
    free = or_(leases.c.holder == holder, leases.c.until < now)
    renewed = update(leases).where(leases.c.name == name, free)
    if conn.execute(renewed.values(holder=holder, until=until)).rowcount:
        return True
    upsert(conn, leases, [{"name": name, "holder": holder, "until": 0}])  # if nobody has it
    return bool(conn.execute(renewed.values(holder=holder, until=until)).rowcount)


def give(conn: Connection, name: str, holder: str) -> None:
    """Give a lease back, if it is ours."""
    leases = t.leases
    conn.execute(delete(leases).where(leases.c.name == name, leases.c.holder == holder))
