"""The image config of a stage while its instructions are applied.

Source: OCI image-spec, config.md; Docker's additions (Healthcheck, OnBuild, Shell).
"""

import copy
import posixpath
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

COMMENT = "argosy.dockerfile.v0"  # in every history entry of ours
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
DEFAULT_SHELL = ("/bin/sh", "-c")


@dataclass(slots=True)
class ImageDraft:
    """`config` and `history` as they will be in the image; owned by one stage."""

    config: dict[str, Any] = field(default_factory=dict)
    history: list[Mapping[str, Any]] = field(default_factory=list)
    author: str = ""

    @classmethod
    def scratch(cls) -> "ImageDraft":
        """What FROM scratch begins with."""
        return cls({"Env": [f"PATH={DEFAULT_PATH}"], "WorkingDir": "/"})

    @classmethod
    def of_image(cls, raw: Mapping[str, Any]) -> "ImageDraft":
        """What FROM an image begins with; parts of the wrong type count as missing."""
        config = _dict(raw.get("config"))
        history = [dict(h) for h in _list(raw.get("history")) if isinstance(h, dict)]
        return cls(copy.deepcopy(config), [*history], _text(raw.get("author")))

    def copy(self) -> "ImageDraft":
        """A draft for a stage that goes on from here."""
        return ImageDraft(copy.deepcopy(self.config), list(self.history), self.author)

    @property
    def env(self) -> dict[str, str]:
        """The image's variables, in order; a later one of the same name wins."""
        pairs = (entry.partition("=") for entry in self._strings("Env"))
        return {name: value for name, _, value in pairs if name}

    @property
    def workdir(self) -> str:
        """Always absolute."""
        return posixpath.normpath("/" + _text(self.config.get("WorkingDir")).strip("/"))

    @property
    def user(self) -> str:
        """As in USER; `` is root."""
        return _text(self.config.get("User"))

    @property
    def shell(self) -> tuple[str, ...]:
        """What shell forms are run by."""
        return tuple(self._strings("Shell")) or DEFAULT_SHELL

    @property
    def triggers(self) -> list[str]:
        """The ONBUILD triggers."""
        return self._strings("OnBuild")

    def set_env(self, name: str, value: str) -> None:
        """Set a variable in its place, or at the end."""
        self.config["Env"] = [f"{n}={v}" for n, v in {**self.env, name: value}.items()]

    def put(self, key: str, value: Any) -> None:
        """Set a field; an empty value removes it."""
        if value:
            self.config[key] = value
        else:
            self.config.pop(key, None)

    def merge(self, key: str, values: Mapping[str, Any]) -> None:
        """Add to an object: labels, ports, volumes."""
        self.config[key] = {**_dict(self.config.get(key)), **values}

    def append(self, key: str, values: Iterable[str]) -> None:
        """Add to a list."""
        self.config[key] = [*self._strings(key), *values]

    def record(self, created_by: str, *, layer: bool = False) -> None:
        """Add a history entry; when it was made is filled in by whoever makes the image."""
        entry: dict[str, Any] = {"created_by": created_by, "comment": COMMENT}
        self.history.append(entry if layer else {**entry, "empty_layer": True})

    def _strings(self, key: str) -> list[str]:
        return [v for v in _list(self.config.get(key)) if isinstance(v, str)]


def _list(value: Any) -> list[Any]:
    return [*value] if isinstance(value, list | tuple) else []


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
