"""The table of operations: complete, documented, and the same in every place it is shown."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from argosy.server.manage import openapi, page
from argosy.server.manage.operation import Nothing, Operation
from argosy.server.manage.operations import OPERATIONS
from argosy.server.manage.router import Route, Router
from argosy.server.manage.values import PATH_TYPES

TOP = Path(__file__).parents[3]


@pytest.mark.parametrize("one", OPERATIONS, ids=lambda one: one.id)
def test_every_operation_is_stated_whole(one: Operation) -> None:
    assert re.fullmatch(r"[a-z]+([A-Z][a-z]*)*(API)?", one.id)
    assert one.summary
    assert not one.summary.endswith(".")
    assert one.need
    assert set(one.parameters) <= set(PATH_TYPES)
    if one.body is not Nothing:
        assert one.example is not None, "a body needs an example"
        # What the docs show can be sent.
        assert msgspec.convert(msgspec.to_builtins(one.example), one.body)
    elif one.answer is not None:
        assert one.example is not None, "an answer needs an example"
        if one.answer is not msgspec.Raw:
            msgspec.convert(msgspec.to_builtins(one.example), one.answer)
    if one.method in ("PUT", "PATCH"):
        assert one.guarded, "a change needs If-Match"
    assert one.method in ("GET", "POST", "PUT", "PATCH", "DELETE")


def test_every_operation_has_a_name_of_its_own() -> None:
    assert len({one.id for one in OPERATIONS}) == len(OPERATIONS)


def test_every_operation_is_reached_by_its_path() -> None:
    router = Router(OPERATIONS)
    for one in OPERATIONS:
        found = router.find(one.method, re.sub(r"\{\w+\}", "x", one.path))
        assert isinstance(found, Route)
        assert found.operation is one


def test_the_document_in_docs_is_current() -> None:
    """`python scripts/write_docs.py` (make docs) writes it anew."""
    assert (TOP / "docs/openapi.json").read_text() == openapi.text(OPERATIONS)


def test_the_page_in_docs_is_current() -> None:
    """`python scripts/write_docs.py` (make docs) writes it anew."""
    shown = (TOP / "docs/api.md").read_text()
    assert shown == page.page(shown, OPERATIONS)
    for one in OPERATIONS:
        assert f"`{one.method} /api/v1{one.path}`" in shown
        assert f"`{one.id}`" in shown


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(found := value.get("$ref"), str):
            yield found
        for inner in value.values():
            yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


def test_the_document_refers_to_nothing_that_it_lacks() -> None:
    document = json.loads(openapi.text(OPERATIONS))
    for reference in references(document):
        place = document
        for part in reference.removeprefix("#/").split("/"):
            place = place[part]
    used = set(references(document))
    for name in document["components"]["schemas"]:
        assert f"#/components/schemas/{name}" in used, f"{name} is nobody's"


def test_every_pattern_of_the_document_is_one_that_other_languages_read() -> None:
    for pattern in re.findall(r'"pattern": ("(?:[^"\\]|\\.)*")', openapi.text(OPERATIONS)):
        plain = json.loads(pattern)
        assert not re.search(r"\\[zZAh]|\(\?P|\(\?[ims]|[*+?]\+", plain), plain
        assert plain.startswith("^")
        assert plain.endswith("$")
