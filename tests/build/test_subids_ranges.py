"""Which ids a user may have, read from what administrators write."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.build.rootless import mapping, subids
from argosy.build.rootless.subids import Range, Rights, User, ranges
from argosy.errors import StorageError

ALICE = User(name="alice", uid=1000, gid=1001)


def test_ranges_are_found_by_name_and_by_number_and_in_their_order():
    text = "bob:1:2\nalice:300000:65536\n\n# no\n1000:100:7\nalice:x:7\nalice:5\nalice:9:0\n"
    assert ranges(text, ALICE) == (Range(300000, 65536), Range(100, 7))


@given(st.text())
def test_any_text_is_read_without_an_error(text):
    ranges(text, ALICE)


def test_root_inside_is_the_user_and_the_ranges_follow_one_another():
    rights = Rights(user=ALICE, uids=(Range(500, 10), Range(900, 5)), gids=(Range(7, 3),))
    assert rights.map_words("uid") == ["0", "1000", "1", "1", "500", "10", "11", "900", "5"]
    assert rights.map_words("gid") == ["0", "1001", "1", "1", "7", "3"]


def test_the_range_to_add_is_one_nobody_has(tmp_path, monkeypatch):
    for kind in ("uid", "gid"):
        (tmp_path / kind).write_text("bob:100000:65536\n")
    monkeypatch.setattr(subids, "_FILES", {k: str(tmp_path / k) for k in ("uid", "gid")})
    monkeypatch.setattr(subids, "program", lambda name: name if "map" in name else "")
    found = subids.rights()
    assert "has no range of ids" in found.problem
    assert "--add-subuids 196608-262143 --add-subgids 196608-262143" in found.remedy


@pytest.mark.parametrize(
    ("lines", "count"),
    [
        (["0 0 4294967295"], 4294967295),
        (["0 1000 1"], 1),
        (["1 100000 65536", "0 1000 1"], 65537),
        (["0 1000 1", "5 100000 65536"], 1),
    ],
)
def test_the_ids_that_can_own_files_are_those_without_a_gap(lines, count, monkeypatch):
    monkeypatch.setattr(mapping, "mapping", lambda _kind: lines)
    assert mapping.mapped("uid") == count


def test_a_home_may_get_more_ids_but_no_others(tmp_path, monkeypatch):
    path = str(tmp_path / "ids")
    now = ["0 1000 1"]
    monkeypatch.setattr(mapping, "mapping", lambda _kind: list(now))
    mapping.claim(path)
    now.append("1 100000 65536")
    mapping.claim(path)
    assert json.loads((tmp_path / "ids").read_text()) == [now, now]
    now[1] = "1 200000 65536"
    with pytest.raises(StorageError, match="made with other user and group ids"):
        mapping.claim(path)


def test_root_notes_nothing_and_takes_no_home_of_a_user(tmp_path, monkeypatch):
    monkeypatch.setattr(mapping, "mapping", lambda _kind: ["0 0 4294967295"])
    mapping.claim(str(tmp_path / "ids"))
    assert not (tmp_path / "ids").exists()
    (tmp_path / "ids").write_text('[["0 1000 1"], ["0 1000 1"]]')
    with pytest.raises(StorageError):
        mapping.claim(str(tmp_path / "ids"))
