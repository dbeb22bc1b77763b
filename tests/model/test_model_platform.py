"""Platforms: containerd's rules (containerd/platforms), as tables."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.errors import InvalidPlatform
from argosy.model.platform import Platform, best_match

HOST = Platform.host().architecture


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("linux/amd64", "linux/amd64"),
        ("linux/x86_64", "linux/amd64"),
        ("linux/x86-64", "linux/amd64"),
        ("linux/amd64/v1", "linux/amd64"),
        ("linux/amd64/v2", "linux/amd64/v2"),
        ("linux/i386", "linux/386"),
        ("linux/aarch64", "linux/arm64"),
        ("linux/arm64/v8", "linux/arm64"),
        ("linux/arm64/8", "linux/arm64"),
        ("linux/arm64/v8.0", "linux/arm64"),
        ("linux/arm64/v9.0", "linux/arm64/v9"),
        ("linux/arm", "linux/arm/v7"),
        ("linux/arm/7", "linux/arm/v7"),
        ("linux/armhf", "linux/arm/v7"),
        ("linux/armel", "linux/arm/v6"),
        ("linux/armel/v7", "linux/arm/v6"),
        ("linux/arm/v5", "linux/arm/v5"),
        ("Linux/AMD64", "linux/amd64"),
        ("macos/arm64", "darwin/arm64"),
        ("amd64", "linux/amd64"),
        ("arm64", "linux/arm64"),
        ("s390x", "linux/s390x"),
        ("linux", f"linux/{HOST}"),
        ("windows(10.0.17763)/amd64", "windows(10.0.17763)/amd64"),
        ("windows(10.0.17763+win32k)/amd64", "windows(10.0.17763+win32k)/amd64"),
        ("plan9/whatever", "plan9/whatever"),
    ],
)
def test_it_is_normalised(text: str, normal: str) -> None:
    assert str(Platform.parse(text)) == normal
    assert Platform.parse(normal) == Platform.parse(text)


@pytest.mark.parametrize(
    "text", ["", "/", "linux/", "a/b/c/d", "linux/*", "*", "nonsense", "li nux/amd64", "windows(10/amd64"]
)  # fmt: skip
def test_what_is_no_platform_is_refused_with_a_remedy(text: str) -> None:
    with pytest.raises(InvalidPlatform) as caught:
        Platform.parse(text)
    assert caught.value.remedy


ARM = ["linux/arm/v5", "linux/arm/v6", "linux/arm/v7", "linux/arm/v8"]
V8 = ["linux/arm64", *(f"linux/arm64/v8.{n}" for n in range(1, 6))]


@pytest.mark.parametrize(
    ("machine", "runs", "does_not"),
    [
        ("linux/amd64", ["linux/amd64", "linux/386"], ["linux/amd64/v2", "linux/arm64", "windows/amd64"]),
        ("linux/amd64/v3", ["linux/amd64/v3", "linux/amd64/v2", "linux/amd64", "linux/386"], ["linux/amd64/v4"]),
        ("linux/386", ["linux/386"], ["linux/amd64"]),
        ("linux/arm/v8", ARM, ["linux/arm64", "linux/arm/v4"]),
        ("linux/arm/v7", ARM[:3], ["linux/arm/v8", "linux/arm/v4"]),
        ("linux/arm/v6", ARM[:2], ["linux/arm/v7"]),
        ("linux/arm/v5", ARM[:1], ["linux/arm/v6", "linux/arm/v4"]),
        ("linux/arm/v4", ["linux/arm/v4"], ["linux/arm/v5"]),
        ("linux/arm64", ["linux/arm64", "linux/arm64/v8", *ARM], ["linux/arm64/v8.1", "linux/arm64/v9", "linux/arm/v9"]),
        ("linux/arm64/v8.1", ["linux/arm64", "linux/arm64/v8.1", *ARM], ["linux/arm64/v8.2", "linux/arm64/v9"]),
        ("linux/arm64/v9", [*V8, *ARM, "linux/arm64/v9", "linux/arm64/v9.0"], ["linux/arm64/v8.6", "linux/amd64"]),
        ("linux/arm64/v9.1", [*V8, "linux/arm64/v8.6", "linux/arm64/v9"], ["linux/arm64/v8.7", "linux/arm64/v9.2"]),
        ("windows/amd64", ["windows/amd64", "windows(10.0.17763)/amd64"], ["linux/amd64"]),
        ("windows(10.0.17763.1)/amd64", ["windows(10.0.17763.99)/amd64", "windows/amd64"], ["windows(10.0.20348)/amd64"]),
    ],
)  # fmt: skip
def test_what_a_machine_runs_is_containerds_only(
    machine: str, runs: list[str], does_not: list[str]
) -> None:
    wanted = Platform.parse(machine)
    for text in runs:
        assert best_match(wanted, [(Platform.parse(text), text)]) == text
    for text in does_not:
        assert best_match(wanted, [(Platform.parse(text), text)]) is None


@pytest.mark.parametrize(
    ("machine", "have", "best"),
    [
        ("linux/amd64", ["linux/386", "linux/amd64"], "linux/amd64"),
        ("linux/amd64/v3", ["linux/amd64", "linux/amd64/v2", "linux/amd64/v4"], "linux/amd64/v2"),
        ("linux/arm64", ["linux/arm/v6", "linux/arm/v7"], "linux/arm/v7"),
        ("linux/arm64/v9", ["linux/arm64", "linux/arm64/v8.2"], "linux/arm64/v8.2"),
        ("linux/arm/v7", ["linux/arm/v5", "linux/arm/v6"], "linux/arm/v6"),
    ],
)
def test_the_best_match_is_the_nearest_below(machine: str, have: list[str], best: str) -> None:
    assert best_match(Platform.parse(machine), [(Platform.parse(t), t) for t in have]) == best


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("linux/arm64", "linux/arm64/v8", True),
        ("linux/amd64", "linux/386", False),
        ("linux/arm/v8", "linux/arm/v7", False),
        ("linux/arm64/v9", "linux/arm64/v9.0", True),
        ("linux/arm64/v8.1", "linux/arm64", False),
        ("windows(10.0.17763)/amd64", "windows/amd64", True),
        ("windows(10.0.1+win32k)/amd64", "windows(10.0.1)/amd64", True),
        ("windows(10.0.1)/amd64", "windows(10.0.1+win32k)/amd64", False),
    ],
)
def test_a_strict_match_is_this_very_platform(one: str, other: str, same: bool) -> None:
    assert Platform.parse(one).matches(Platform.parse(other)) is same


def test_json_is_the_descriptors_platform_object() -> None:
    assert Platform.parse("linux/arm").to_json() == {
        "architecture": "arm",
        "os": "linux",
        "variant": "v7",
    }
    assert Platform.parse("linux/arm64").to_json() == {"architecture": "arm64", "os": "linux"}
    value = {
        "architecture": "amd64",
        "os": "windows",
        "os.version": "10.0.17763.1",
        "os.features": ["win32k"],
    }
    assert Platform.from_json(value).to_json() == value


def test_unknown_and_absent_parts_are_not_a_known_platform() -> None:
    for value in (
        {},
        {"os": None, "architecture": None},
        {"os": "unknown", "architecture": "unknown"},
    ):
        assert not Platform.from_json(value).is_known


words = st.from_regex(r"[a-z0-9_.-]{1,8}", fullmatch=True)


@given(os=words, architecture=words, variant=st.just("") | words)
def test_the_words_of_any_platform_mean_it_again(os: str, architecture: str, variant: str) -> None:
    platform = Platform.of(os, architecture, variant)
    assert Platform.parse(str(platform)) == platform
    assert Platform.from_json(platform.to_json()).matches(platform)
    assert platform.matches(platform)


@given(st.text(max_size=30))
def test_any_text_is_read_or_refused_with_our_error(text: str) -> None:
    with suppress(InvalidPlatform):
        assert Platform.parse(text).architecture
