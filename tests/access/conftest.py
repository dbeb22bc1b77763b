"""Hashes of passwords that cost nothing: for tests of what is around them."""

import pytest

from argosy.access.signing_in import passwords


@pytest.fixture
def cheap_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """argon2id with the least there is, instead of 20 ms and 19 MiB each."""
    monkeypatch.setattr(passwords, "_TIME", 1)
    monkeypatch.setattr(passwords, "_MEMORY", 8)
