"""Steps and machines that mean harm: what other users can reach, what a step is handed, odd accounts."""

import os
import stat

import pytest

from argosy.build.execute.accounts import account
from argosy.build.snapshot.place import Place
from argosy.errors import BuildError
from tests.building import BASE, Real


def test_snapshots_are_closed_to_other_users_whatever_the_umask_and_the_home_before(tmp_path):
    root = tmp_path / "snapshots"
    root.mkdir()
    root.chmod(0o777)
    Place(str(root)).close()
    assert stat.S_IMODE(root.stat().st_mode) == 0o700


@pytest.mark.parametrize("user", ["9" * 5000, f"0:{'9' * 5000}", "4294967296"])
def test_a_number_that_no_user_can_have_is_refused(tmp_path, user):
    with pytest.raises(BuildError, match="not a user or group number"):
        account(str(tmp_path), user)


def test_leading_zeros_do_not_make_a_number_too_long(tmp_path):
    assert account(str(tmp_path), "0" * 20 + "7").uid == 7


@pytest.mark.root
@pytest.mark.skipif(not os.path.exists("/bin/busybox"), reason="needs busybox")
async def test_a_service_managers_socket_is_not_handed_to_a_step(tmp_path, monkeypatch):
    monkeypatch.setenv("NOTIFY_SOCKET", "/from-outside/notify")
    world = Real(str(tmp_path))
    world.busybox()
    await world.build(BASE + "RUN busybox env; busybox test ! -e /from-outside\n")
    assert "NOTIFY_SOCKET" not in world.output()
