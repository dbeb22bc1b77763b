"""--resource, --ulimit, --shm-size: how they are read, and what they come to."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.build.limits import Limits, Ulimit, read_resources, read_size
from argosy.errors import UsageError


def test_resources_become_the_runtimes_words():
    limits = Limits(**read_resources(["memory=64m,cpu-quota=50000", "cpuset-cpus=0-1,3"[:15]]))
    assert limits.resources == {
        "memory": {"limit": 64 << 20, "swap": 128 << 20},
        "cpu": {"quota": 50000, "cpus": "0-1"},
    }


def test_no_limit_is_no_word():
    assert Limits().resources == {}


def test_swap_may_be_unlimited():
    limits = Limits(**read_resources(["memory=1g,memory-swap=-1"]))
    assert limits.resources["memory"] == {"limit": 1 << 30, "swap": -1}


@pytest.mark.parametrize(
    "word", ["memory", "memory=lots", "cpu-shares=-2", "cpuset-cpus=all", "disk=1g", ""]
)
def test_a_resource_that_cannot_be_read_is_named(word):
    with pytest.raises(UsageError, match="--resource"):
        read_resources([word])


def test_a_ulimit_has_a_soft_and_a_hard_value():
    assert Ulimit.parse("nofile=1024").to_json() == {
        "type": "RLIMIT_NOFILE",
        "soft": 1024,
        "hard": 1024,
    }
    assert Ulimit.parse("core=0:-1").to_json()["hard"] == (1 << 64) - 1


@pytest.mark.parametrize("word", ["nofile", "nofile=", "files=3", "nofile=9:3", "nofile=-1:3", ""])
def test_a_ulimit_that_cannot_be_read_is_named(word):
    with pytest.raises(UsageError, match="--ulimit"):
        Ulimit.parse(word)


@given(st.text(max_size=30))
def test_any_words_are_read_or_refused(text):
    for read in (Ulimit.parse, lambda t: read_resources([t]), lambda t: read_size("--x", t)):
        with suppress(UsageError):
            read(text)
