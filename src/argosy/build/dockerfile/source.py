"""Where a value of a Dockerfile comes from."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SourceRange:
    """Lines `first` to `last` (from 1, inclusive) of the Dockerfile called `file`."""

    file: str = "Dockerfile"
    first: int = 0
    last: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.first}" if self.first else self.file
