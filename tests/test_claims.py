"""Claims: what a running process uses is seen by whoever wants to remove it."""

import os
import subprocess
import sys
import threading

import pytest

from argosy.claims import Claims
from argosy.errors import StorageError

HOLDER = """
import sys
from argosy.claims import Claims
claims = Claims(sys.argv[1])
claims.claim("theirs", "also theirs")
print("claimed", flush=True)
sys.stdin.read()
"""


def test_a_claim_is_seen_until_it_is_closed(tmp_path):
    folder = str(tmp_path / "in-use")
    claims = Claims(folder)
    claims.claim("a", "b")
    claims.claim("b", "c")
    assert Claims(folder).claimed() == {"a", "b", "c"}
    claims.close()
    assert Claims(folder).claimed() == frozenset()
    claims.claim("d")  # it may be used again
    assert Claims(folder).claimed() == {"d"}
    claims.close()
    assert os.listdir(folder) == ["gate"]


def test_nothing_is_made_before_the_first_claim(tmp_path):
    with Claims(str(tmp_path / "in-use")) as claims:
        assert claims.claimed() == frozenset()
    assert os.listdir(tmp_path) == []


def test_the_claims_of_a_killed_process_are_gone_with_it(tmp_path):
    folder = str(tmp_path / "in-use")
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout.readline() == b"claimed\n"
        assert Claims(folder).claimed() == {"theirs", "also theirs"}
        holder.kill()
    assert Claims(folder).claimed() == frozenset()
    assert os.listdir(folder) == ["gate"]  # its file was swept


def test_nobody_claims_while_somebody_removes(tmp_path):
    claims, done = Claims(str(tmp_path / "in-use")), threading.Event()
    claims.claim("before")

    def claim():
        claims.claim("after")
        done.set()

    with Claims(str(tmp_path / "in-use")).removing() as claimed:
        thread = threading.Thread(target=claim)
        thread.start()
        assert claimed == {"before"}
        assert not done.wait(0.1)
    thread.join()
    assert claims.claimed() == {"before", "after"}
    claims.close()


def test_many_threads_claim_at_once(tmp_path):
    claims = Claims(str(tmp_path / "in-use"))
    threads = [threading.Thread(target=claims.claim, args=(f"n{n}", "all")) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert claims.claimed() == {"all", *(f"n{n}" for n in range(20))}
    claims.close()


def test_a_directory_that_cannot_be_used_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError) as told:
        Claims(str(tmp_path / "file" / "in-use")).claim("x")
    assert told.value.remedy
