"""Paths of the API, for Location."""

from urllib.parse import quote


def url(*parts: str | int) -> str:
    """A path below the prefix; each part is one segment, whatever is in it."""
    return "".join(f"/{quote(str(part), safe='')}" for part in parts)
