"""Refused values are told in words, not in regular expressions."""

from typing import Annotated, Any, get_args

import msgspec
import pytest
from msgspec import Meta

from argosy.server.manage import values
from argosy.server.manage.resources.users import NewUser
from argosy.server.manage.wording import plain


def said(value: object, kind: Any) -> str:
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.convert(value, kind)
    return plain(str(caught.value))


NAMED = [
    name
    for name, kind in vars(values).items()
    if any(isinstance(meta, Meta) and meta.pattern for meta in get_args(kind)[1:])
]


@pytest.mark.parametrize("name", NAMED)
def test_every_form_of_the_api_has_words(name):
    text = said("\n", getattr(values, name))
    assert text.startswith("it has to be "), text
    assert not set("^\\(") & set(text.replace('\\ "', "")), text


def test_a_wrong_grant_is_told_how_to_write_one():
    text = said("team/**:pull", values.GrantText)
    assert "repository:team/**:pull,push" in text


@pytest.mark.parametrize(
    ("value", "kind", "words"),
    [
        ("x", Annotated[str, Meta(min_length=8)], "it has to have at least 8 characters"),
        ("xx", Annotated[str, Meta(max_length=1)], "it has to have at most 1 characters"),
        ([], Annotated[list[int], Meta(min_length=1)], "it has to have at least 1 entries"),
        (5, Annotated[int, Meta(le=3)], "it has to be at most 3"),
        (1, Annotated[int, Meta(ge=3)], "it has to be at least 3"),
        ("x", int, "Expected int, got str"),
    ],
)
def test_bounds_are_told_in_words(value, kind, words):
    assert said(value, kind) == words


def test_a_password_too_short_says_how_long():
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.convert({"name": "ada", "password": "short"}, NewUser)
    assert "at least 8 characters" in plain(str(caught.value).partition(" - at")[0])
