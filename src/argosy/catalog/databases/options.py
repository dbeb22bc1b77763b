"""How a database is reached and how long it is waited for."""

from dataclasses import field

from argosy.values import frozen


@frozen(kw_only=True)
class DatabaseOptions:
    """What can be set for the catalog's database; times are in seconds.

    `patience`: how long a request waits for a database that is away. `workers`: more
    processes than this one work on the SQLite file, and share memory for their caches.
    """

    pool: int = 10  # connections of one process
    statement_timeout: float = 30.0
    patience: float = 10.0
    password: str = field(default="", repr=False)  # stands above the one in the address
    workers: bool = False
