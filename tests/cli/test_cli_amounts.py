"""Amounts mean what they are shown as: GB is decimal, GiB and g are binary."""

import argparse

import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.cli.managing.words import amount
from argosy.cli.terminal.units import human_size


@pytest.mark.parametrize(
    ("text", "bytes_"),
    [
        ("10GB", 10**10),
        ("1.5kb", 1500),
        ("10GiB", 10 << 30),
        ("10g", 10 << 30),
        ("7", 7),
        ("none", None),
        ("-1", None),
    ],
)
def test_an_amount(text, bytes_):
    assert amount(text) == bytes_


@pytest.mark.parametrize("text", ["", "much", "1XB", "-5", "1.2.3GB"])
def test_what_is_no_amount_is_refused(text):
    with pytest.raises(argparse.ArgumentTypeError):
        amount(text)


@given(st.integers(1, 999), st.sampled_from(["kB", "MB", "GB", "TB"]))
def test_what_is_set_is_shown_as_it_was_written(count, unit):
    assert human_size(amount(f"{count}{unit}") or 0) == f"{count}{unit}"
