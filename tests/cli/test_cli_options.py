"""Words as people of docker, skopeo and crane type them."""

import argparse

import pytest

from argosy.cli.main import parser
from argosy.cli.verbs import find
from argosy.errors import InvalidPlatform, UsageError


def parsed(*words: str) -> argparse.Namespace:
    call = find(words)
    assert call
    return parser(call.verb).parse_args(call.rest)


@pytest.mark.parametrize(
    ("words", "verify", "insecure"),
    [
        ([], True, False),
        (["--tls-verify=false"], False, False),
        (["--tls-verify=0"], False, False),
        (["--tls-verify=False"], False, False),
        (["--tls-verify"], True, False),
        (["--tls-verify=false", "--tls-verify"], True, False),  # the last one has it
        (["--insecure"], True, True),
        (["-k"], True, True),
        (["--insecure=false"], True, False),
    ],
)
def test_switches_take_values_with_an_equal_sign_only(
    words: list[str], verify: bool, insecure: bool
) -> None:
    args = parsed("tags", *words, "host/name")
    assert (args.tls_verify, args.insecure, args.repository) == (verify, insecure, "host/name")


def test_a_switch_never_swallows_the_next_word() -> None:
    assert parsed("build", "--push", "-t", "x", ".").context == "."
    assert parsed("build", "--push", ".", "-t", "x").push is True
    assert parsed("build", "--push=false", ".").push is False


def test_flags_may_stand_anywhere_between_the_words() -> None:
    args = parsed("save", "a", "-o", "f", "b", "--platform", "linux/amd64", "c")
    assert (args.images, args.output) == (["a", "b", "c"], "f")
    args = parsed("copy", "a", "--jobs", "2", "b")
    assert (args.source, args.destination, args.jobs) == ("a", "b", 2)


def test_platforms_are_repeatable_and_comma_lists() -> None:
    args = parsed("copy", "--platform", "linux/amd64,linux/arm64", "--platform", "armhf", "a", "b")
    assert [str(p) for p in args.platforms] == ["linux/amd64", "linux/arm64", "linux/arm/v7"]
    assert parsed("copy", "a", "b").platforms == []


def test_a_bad_platform_is_named() -> None:
    with pytest.raises(InvalidPlatform, match="no-such"):
        parsed("copy", "--platform", "linux/amd64,no-such", "a", "b")


def test_what_follows_the_image_of_run_belongs_to_the_command() -> None:
    args = parsed("run", "-q", "image", "prog", "--quiet=false", "-x", "--", "--platform", "y")
    assert args.image == "image"
    assert args.command == ["prog", "--quiet=false", "-x", "--", "--platform", "y"]
    assert args.quiet is True


def test_two_dashes_end_the_flags() -> None:
    assert parsed("tags", "--", "--odd").repository == "--odd"


@pytest.mark.parametrize(
    "words",
    [
        ["tags", "--tls-verify=maybe", "x"],
        ["copy", "--job", "2", "a", "b"],  # no guessed abbreviations
        ["copy", "--jobs", "many", "a", "b"],
        ["copy", "--retry-times", "-1", "a", "b"],
        ["save", "a"],  # --output is needed
        ["completion", "tcsh"],
        ["copy", "--progress", "fancy", "a", "b"],
    ],
)
def test_what_cannot_be_read_is_a_usage_error(words: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        parsed(*words)
    assert words[0] in str(caught.value)
