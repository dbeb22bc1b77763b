"""The format of a cache: which keys come to which layers, as one small JSON document.

```
{"version": 1,
 "layers":  [{"diffId": …, "blob": …, "below": 0}, …],
 "records": [{"keys": […], "top": 1, "step": "RUN make", "created": …, "used": …}, …],
 "births":  {image identity: time of creation}}
```

A layer stands on one that was listed before it, so a chain cannot be cyclic and
reading it is one pass. One without `blob` belongs to a base image: whoever has the
key has that base, so the cache need not. Times are seconds since the epoch.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import field
from typing import Any

from argosy.errors import ContentError, InvalidDigest
from argosy.model.digest import Digest
from argosy.model.manifest import dump
from argosy.values import frozen

VERSION = 1
MAX_CONFIG = 16 << 20  # bytes; thousands of steps come to less than one MiB
_DEEPEST = 500  # layers on top of one another; overlayfs takes fewer
_MOMENT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?Z")
_LONGEST_STEP = 1000  # characters of a step's description


@frozen
class CacheLayer:
    """One layer: what it unpacks to, its blob (none for a base image's), and the index of the one below."""

    diff_id: Digest
    blob: Digest | None
    below: int | None


@frozen(kw_only=True)
class CacheRecord:
    """What some keys came to: the index of the top layer; None is the empty file system."""

    keys: tuple[Digest, ...]
    top: int | None
    step: str
    created: int
    used: int  # when a build last exported it


@frozen(kw_only=True)
class CacheConfig:
    """A whole cache."""

    layers: tuple[CacheLayer, ...] = ()
    records: tuple[CacheRecord, ...] = ()
    births: Mapping[Digest, str] = field(default_factory=dict)

    def chain(self, top: int | None) -> tuple[CacheLayer, ...]:
        """The layers of a record, from the bottom."""
        found: list[CacheLayer] = []
        while top is not None:
            found.append(self.layers[top])
            top = found[-1].below
        return tuple(found[::-1])

    @property
    def blobs(self) -> tuple[Digest, ...]:
        """The blobs it names, each once, in order."""
        return tuple(dict.fromkeys(layer.blob for layer in self.layers if layer.blob))

    def encode(self) -> bytes:
        """Its bytes; the same for equal values."""
        value: dict[str, Any] = {
            "version": VERSION,
            "layers": [_layer_json(layer) for layer in self.layers],
            "records": [_record_json(record) for record in self.records],
        }
        if self.births:
            value["births"] = dict(sorted(self.births.items()))
        return dump(value)

    @classmethod
    def decode(cls, body: bytes) -> "CacheConfig":
        """Read it (blocking); ContentError says what is wrong. Nothing in it is believed unchecked."""
        try:
            value = json.loads(body)
            _demand(isinstance(value, dict), "it is no object")
            _demand(value.get("version") == VERSION, f"its version is {value.get('version')!r}")
            layers = _layers(value["layers"])
            records = tuple(_record(one, len(layers)) for one in value["records"])
            births = {Digest.parse(k): _moment(v) for k, v in value.get("births", {}).items()}
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as e:
            raise _damaged(f"{type(e).__name__}: {e}") from e
        except InvalidDigest as e:
            raise _damaged(e.summary) from e
        return cls(layers=layers, records=records, births=births)


class CacheWriter:
    """Puts a cache together: equal layers on equal layers are one, and each is listed once."""

    def __init__(self) -> None:
        self._layers: dict[CacheLayer, int] = {}
        self._records: dict[Digest, CacheRecord] = {}
        self._births: dict[Digest, str] = {}

    def add(self, record: CacheRecord, chain: Iterable[tuple[Digest, Digest | None]]) -> None:
        """Add a record with its layers (diffID, blob) from the bottom; what is known of a key stays."""
        if not (keys := tuple(k for k in record.keys if k not in self._records)):
            return
        top: int | None = None
        for diff_id, blob in chain:
            layer = CacheLayer(diff_id, blob, top)
            top = self._layers.setdefault(layer, len(self._layers))
        fresh = CacheRecord(
            keys=keys,
            top=top,
            step=record.step[:_LONGEST_STEP],
            created=record.created,
            used=record.used,
        )
        self._records.update(dict.fromkeys(keys, fresh))

    def born(self, births: Mapping[Digest, str]) -> None:
        """Remember when images were first made; an earlier word stays."""
        for image, created in births.items():
            self._births.setdefault(image, created)

    def config(self) -> CacheConfig:
        """What was put together."""
        records = {id(r): r for r in self._records.values()}
        return CacheConfig(
            layers=tuple(self._layers), records=tuple(records.values()), births=self._births
        )


@frozen(kw_only=True)
class Bounds:
    """How much of earlier builds a cache keeps: else it would grow for ever."""

    builds: int = 10
    seconds: int = 30 * 86400
    records: int = 2000
    births: int = 100


def merged(new: CacheConfig, old: CacheConfig, bounds: Bounds | None = None) -> CacheConfig:
    """Everything of `new`, and what is young enough of `old`.

    `used` tells the builds apart: what was exported together has the same.
    """
    bounds = bounds or Bounds()
    writer = CacheWriter()
    for record in new.records:
        writer.add(record, _pairs(new, record))
    times = sorted({r.used for r in (*new.records, *old.records)}, reverse=True)
    newest = times[0] if times else 0
    kept = {t for t in times[: bounds.builds] if newest - t <= bounds.seconds}
    young = sorted((r for r in old.records if r.used in kept), key=lambda r: -r.used)
    for record in young[: max(0, bounds.records - len(new.records))]:
        writer.add(record, _pairs(old, record))
    writer.born(dict(list(new.births.items())[: bounds.births]))
    rest = max(0, bounds.births - len(new.births))
    writer.born(dict(list(old.births.items())[:rest]))
    return writer.config()


def says_more(new: CacheConfig, old: CacheConfig) -> bool:
    """Whether `new` knows a key, or another result for one, that `old` does not."""
    known = {k: _pairs(old, r) for r in old.records for k in r.keys}
    return any(known.get(k) != _pairs(new, r) for r in new.records for k in r.keys)


def _pairs(config: CacheConfig, record: CacheRecord) -> list[tuple[Digest, Digest | None]]:
    return [(layer.diff_id, layer.blob) for layer in config.chain(record.top)]


def _layer_json(layer: CacheLayer) -> dict[str, Any]:
    return {
        "diffId": layer.diff_id,
        **({"blob": layer.blob} if layer.blob else {}),
        **({"below": layer.below} if layer.below is not None else {}),
    }


def _record_json(record: CacheRecord) -> dict[str, Any]:
    return {
        "keys": list(record.keys),
        **({"top": record.top} if record.top is not None else {}),
        "step": record.step,
        "created": record.created,
        "used": record.used,
    }


def _layers(values: Any) -> tuple[CacheLayer, ...]:
    found: list[CacheLayer] = []
    depths: list[int] = []
    for value in values:
        below = value.get("below")
        _demand(below is None or _is_index(below, len(found)), f"layer below is {below!r}")
        depths.append(1 if below is None else depths[below] + 1)
        _demand(depths[-1] <= _DEEPEST, f"more than {_DEEPEST} layers on top of one another")
        blob = Digest.parse(_text(value["blob"])) if "blob" in value else None
        found.append(CacheLayer(Digest.parse(_text(value["diffId"])), blob, below))
    return tuple(found)


def _record(value: Any, layers: int) -> CacheRecord:
    top = value.get("top")
    _demand(top is None or _is_index(top, layers), f"a record's top is {top!r}")
    keys = tuple(Digest.parse(_text(key)) for key in value["keys"])
    _demand(bool(keys), "a record has no keys")
    return CacheRecord(
        keys=keys,
        top=top,
        step=_text(value["step"]),
        created=_whole(value["created"]),
        used=_whole(value["used"]),
    )


def _is_index(value: Any, size: int) -> bool:
    return type(value) is int and 0 <= value < size


def _text(value: Any) -> str:
    _demand(isinstance(value, str), f"{value!r} is no text")
    return str(value)


def _moment(value: Any) -> str:
    _demand(_MOMENT.fullmatch(_text(value)) is not None, f"{value!r} is no time")
    return str(value)


def _whole(value: Any) -> int:
    _demand(type(value) is int and 0 <= value < 1 << 53, f"{value!r} is no time")
    return int(value)


def _demand(condition: bool, why: str) -> None:
    if not condition:
        raise ValueError(why)


def _damaged(why: str) -> ContentError:
    return ContentError(
        "the cache's records cannot be read", why=why[:300], remedy="export the cache anew"
    )
