"""The XML that S3 services send: a tree of names and texts, nothing more.

Read with expat itself. A document type is refused, and with it every entity that could
grow, or reach for a file; so are documents that are too deep.
"""

from dataclasses import dataclass, field
from typing import Final
from xml.parsers import expat

from argosy.errors import NetworkError

_DEEPEST: Final = 16


@dataclass(slots=True)
class Element:
    """A name without its namespace, a text, and what is in it."""

    name: str
    text: str = ""
    children: "list[Element]" = field(default_factory=list)

    def get(self, name: str) -> str:
        """The text of the first child of that name; empty if there is none."""
        return next((child.text for child in self.children if child.name == name), "")

    def all(self, name: str) -> "list[Element]":
        """Every child of that name."""
        return [child for child in self.children if child.name == name]


def parse(data: bytes) -> Element:
    """The root of a document; NetworkError if it is none."""
    reader = _Reader()
    try:
        return reader.read(data)
    except (expat.ExpatError, ValueError) as e:
        raise NetworkError(
            "the object store's answer is no XML that can be read",
            why=str(e),
            remedy="check that the endpoint is an S3 service, and not a web page or a proxy",
        ) from e


class _Reader:
    def __init__(self) -> None:
        self._root: Element | None = None
        self._open: list[Element] = []
        self._parser = parser = expat.ParserCreate()
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._data
        parser.StartDoctypeDeclHandler = self._doctype
        parser.buffer_text = True

    def read(self, data: bytes) -> Element:
        self._parser.Parse(data, True)
        if self._root is None:
            raise ValueError("there is no element")
        return self._root

    def _start(self, name: str, _attributes: dict[str, str]) -> None:
        made = Element(name.rpartition(":")[2])
        if self._open:
            self._open[-1].children.append(made)
        else:
            self._root = made
        self._open.append(made)
        if len(self._open) > _DEEPEST:
            raise ValueError("it is too deep")

    def _end(self, _name: str) -> None:
        self._open.pop()

    def _data(self, text: str) -> None:
        self._open[-1].text += text

    def _doctype(self, *_: object) -> None:
        raise ValueError("it has a document type")


def completion(parts: "list[tuple[int, str]]") -> bytes:
    """The body that puts the parts (number, ETag) of a multipart upload together."""
    listed = "".join(
        f"<Part><PartNumber>{number}</PartNumber><ETag>{_text(etag)}</ETag></Part>"
        for number, etag in parts
    )
    return f"<CompleteMultipartUpload>{listed}</CompleteMultipartUpload>".encode()


def _text(value: str) -> str:
    return value.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
