"""What the tables share: the types of names, digests and keys, and how constraints are called.

Times are microseconds since 1970 UTC. Names sort by their bytes in every
database, as tag lists must (distribution-spec, Listing Tags).
"""

import time
from typing import Final

from sqlalchemy import BigInteger, Column, ForeignKey, Integer, MetaData, String

metadata: Final = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    }
)

Name: Final = String(255).with_variant(String(255, collation="C"), "postgresql")
DigestText: Final = String(136)
Id: Final = BigInteger().with_variant(Integer, "sqlite")  # only INTEGER keys count up there

NEVER_AGAIN: Final = True
"""For `sqlite_autoincrement`: SQLite would give the key of the last row, once it is gone, to the next
one; and with it what memory, tokens and sessions know of somebody who was removed."""


def project_key(*, primary_key: bool = False, nullable: bool = False) -> Column[int]:
    """The column that says whose a row is."""
    return Column(
        "project_id", Id, ForeignKey("projects.id"), primary_key=primary_key, nullable=nullable
    )


def now() -> int:
    """The present, in the unit of the tables."""
    return time.time_ns() // 1000
