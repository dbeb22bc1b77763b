"""What one project may take of a server: requests, bytes per second, uploads at once."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Final, Self

from argosy.errors import UsageError
from argosy.values import frozen

_MOST: Final = 1 << 50


@frozen(kw_only=True)
class Limits:
    """None: as the server's settings say; 0: no limit, whatever they say.

    `requests` is per second, `burst` how many may come at once; `download` and `upload` are
    bytes per second; `uploads` counts blobs on their way in at the same time.
    """

    requests: float | None = None
    burst: float | None = None
    download: int | None = None
    upload: int | None = None
    uploads: int | None = None

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if value is not None and not 0 <= value <= _MOST:
                raise UsageError(
                    f"the limit {item.name} cannot be {value}",
                    remedy="give a number that is not negative; 0 is no limit",
                )

    @property
    def pace(self) -> bool:
        """Whether it says anything of requests or bytes per second."""
        said = (self.requests, self.burst, self.download, self.upload)
        return any(value is not None for value in said)

    def over(self, other: "Limits") -> "Limits":
        """These, and where they say nothing, those of `other`."""
        mine = {name: value for name, value in vars(self).items() if value is not None}
        return Limits(**{**vars(other), **mine})

    def to_json(self) -> dict[str, Any]:
        """What is set."""
        return {name: value for name, value in vars(self).items() if value is not None}

    @classmethod
    def parse(cls, stored: Mapping[str, Any]) -> Self:
        """What `to_json` made; what a later program wrote besides is left out."""
        known = {item.name for item in fields(cls)}
        return cls(**{name: value for name, value in stored.items() if name in known})
