"""Values: frozen dataclasses that cost next to nothing until the first one is made.

`@dataclass(frozen=True)` writes and compiles six methods as soon as a module is
imported: 0.4 to 0.7 ms a class, which came to a third of the CPU time of a short command,
most of it for classes that the command never uses. `@frozen` puts that off to the first
instance, and compiles only `__init__`: the others are closures over the fields' names.
See docs/adr/0007-values.md.
"""

import threading
from collections.abc import Callable
from dataclasses import MISSING, Field, FrozenInstanceError, dataclass, field, fields
from operator import attrgetter
from reprlib import recursive_repr
from typing import Any, TypeVar, dataclass_transform, overload

T = TypeVar("T")
_PENDING = "_complete_value"
_COMPLETING = threading.RLock()


@overload
def frozen(cls: type[T], /) -> type[T]: ...
@overload
def frozen(*, kw_only: bool = ..., eq: bool = ...) -> Callable[[type[T]], type[T]]: ...
@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def frozen(cls: Any = None, /, *, kw_only: bool = False, eq: bool = True) -> Any:
    """A frozen dataclass in everything but when its methods are made.

    What `dataclasses.fields` says of a class it says once there is an instance.
    """

    def decorated(cls: type[T]) -> type[T]:
        _put_off(cls, kw_only=kw_only, eq=eq)
        return cls

    return decorated if cls is None else decorated(cls)


def _put_off(cls: type[Any], **options: bool) -> None:
    def complete() -> None:
        for base in reversed(cls.__mro__[1:]):
            if _PENDING in vars(base):  # dataclass looks at the fields of the bases
                getattr(base, _PENDING)()
        with _COMPLETING:
            if _PENDING in vars(cls):
                _complete(cls, **options)
                cls.__init__ = _init_of(cls)  # the last step: until then others wait at the lock
                delattr(cls, _PENDING)

    def first(self: Any, *args: Any, **named: Any) -> None:
        complete()
        self.__init__(*args, **named)

    cls.__init__ = first
    setattr(cls, _PENDING, staticmethod(complete))


def _complete(cls: type[Any], *, kw_only: bool, eq: bool) -> None:
    """All that dataclass would give a frozen class but `__init__`, without compiling anything."""
    cls.__doc__ = cls.__doc__ or cls.__name__  # else dataclass inspects the signature for it
    # Frozen by `_refusals`: the library's flag would compile its own.
    dataclass(init=False, repr=False, eq=False, kw_only=kw_only)(cls)
    own = vars(cls)
    methods = {"__repr__": _repr_of(cls), **_refusals(cls)}
    if eq and "__eq__" not in own:
        methods["__eq__"] = _eq_of(cls)
    if eq and own.get("__hash__") is None:  # a class with an __eq__ of its own has None there
        methods["__hash__"] = _hash_of(cls)
    for name, method in methods.items():
        if name != "__repr__" or name not in own:
            method.__qualname__ = f"{cls.__qualname__}.{name}"
            setattr(cls, name, method)


def _eq_of(cls: type[Any]) -> Callable[..., Any]:
    values = _taking([f.name for f in fields(cls) if f.compare])

    def __eq__(self: Any, other: object) -> Any:  # noqa: N807
        if other.__class__ is not self.__class__:
            return NotImplemented
        return values(self) == values(other)

    return __eq__


def _hash_of(cls: type[Any]) -> Callable[..., Any]:
    names = [f.name for f in fields(cls) if (f.compare if f.hash is None else f.hash)]
    values = _taking(names)

    def __hash__(self: Any) -> int:  # noqa: N807
        return hash(values(self))

    return __hash__


def _repr_of(cls: type[Any]) -> Callable[..., Any]:
    names = [f.name for f in fields(cls) if f.repr]

    @recursive_repr()
    def __repr__(self: Any) -> str:  # noqa: N807
        shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in names)
        return f"{self.__class__.__qualname__}({shown})"

    return __repr__


def _refusals(cls: type[Any]) -> dict[str, Callable[..., Any]]:
    names = frozenset(f.name for f in fields(cls))

    def __setattr__(self: Any, name: str, value: object) -> None:  # noqa: N807
        if type(self) is cls or name in names:
            raise FrozenInstanceError(f"cannot assign to field {name!r}")
        super(cls, self).__setattr__(name, value)

    def __delattr__(self: Any, name: str) -> None:  # noqa: N807
        if type(self) is cls or name in names:
            raise FrozenInstanceError(f"cannot delete field {name!r}")
        super(cls, self).__delattr__(name)

    return {"__setattr__": __setattr__, "__delattr__": __delattr__}


def _taking(names: list[str]) -> Callable[[Any], tuple[Any, ...]]:
    """A function that gives the values of these fields as a tuple."""
    if len(names) > 1:
        return attrgetter(*names)
    return lambda value: tuple(getattr(value, name) for name in names)


def _init_of(cls: type[Any]) -> Callable[..., None]:
    """What dataclass would write; it fills the instance's dictionary, which is quicker."""
    found = fields(cls)
    names: dict[str, Any] = {"_missing": MISSING}
    words = ["self", *(_parameter(f, names) for f in found if f.init and not f.kw_only)]
    if any(f.init and f.kw_only for f in found):
        words += ["*", *(_parameter(f, names) for f in found if f.init and f.kw_only)]
    lines = ["_held = self.__dict__"]  # a field may be called held
    lines += [f"_held[{f.name!r}] = {_given(f)}" for f in found if f.init]
    if hasattr(cls, "__post_init__"):
        lines.append("self.__post_init__()")
    text = f"def __init__({', '.join(words)}):\n " + "\n ".join(lines)
    exec(text, names)  # noqa: S102 - of names that are a class's own
    init: Callable[..., None] = names["__init__"]
    init.__qualname__ = f"{cls.__qualname__}.__init__"
    return init


def _parameter(f: "Field[Any]", names: dict[str, Any]) -> str:
    if f.default_factory is not MISSING:
        names[f"_make_{f.name}"] = f.default_factory
        return f"{f.name}=_missing"
    if f.default is MISSING:
        return f.name
    names[f"_default_{f.name}"] = f.default
    return f"{f.name}=_default_{f.name}"


def _given(f: "Field[Any]") -> str:
    if f.default_factory is MISSING:
        return f.name
    return f"{f.name} if {f.name} is not _missing else _make_{f.name}()"
