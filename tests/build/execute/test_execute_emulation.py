"""Emulation: tiny programs really run, and what is wrong is said with the commands."""

import os
import shutil
import subprocess

import pytest

from argosy.build.execute import emulation as module
from argosy.build.execute.elf import ARCHITECTURES, exit_program
from argosy.build.execute.emulation import Emulation, emulation, ensure_binfmt
from argosy.errors import RuntimeUnavailable
from argosy.model.platform import Platform

QEMU = {
    "amd64": "x86_64",
    "386": "i386",
    "arm64": "aarch64",
    "mips64le": "mips64el",
    "loong64": "loongarch64",
}
ARM64 = Platform.parse("linux/arm64")


@pytest.mark.parametrize("architecture", sorted(ARCHITECTURES))
def test_the_smallest_program_of_an_architecture_exits_with_0(architecture, tmp_path):
    emulator = shutil.which(f"qemu-{QEMU.get(architecture, architecture)}-static")
    if emulator is None:
        pytest.skip("no emulator for it")
    program = exit_program(architecture)
    assert len(program) < 200
    (tmp_path / "exit").write_bytes(program)
    (tmp_path / "exit").chmod(0o755)
    assert subprocess.run([emulator, tmp_path / "exit"]).returncode == 0
    # And it is the code that makes it so: without it the program does not end well.
    (tmp_path / "exit").write_bytes(program[:-6] + bytes(6))
    assert subprocess.run([emulator, tmp_path / "exit"], capture_output=True).returncode != 0


def test_this_machines_own_platform_is_native():
    assert emulation(Platform.host()).how == "native"


@pytest.mark.parametrize("platform", ["windows/amd64", "linux/wasm", "darwin/arm64"])
def test_what_no_emulator_can_run_is_missing(platform):
    found = emulation(Platform.parse(platform))
    assert found.how == "missing"
    with pytest.raises(RuntimeUnavailable, match=platform):
        found.require()


REGISTERED = """enabled
interpreter /usr/libexec/qemu-binfmt/aarch64-binfmt-P
flags: {flags}
offset 0
magic 7f454c460201010000000000000000000200b700
mask ffffffffffffff00fffffffffffffffffeffffff
"""


@pytest.fixture
def binfmt(tmp_path, monkeypatch):
    """A binfmt_misc directory of our own making, on a machine that is not of arm64."""
    monkeypatch.setattr(module, "BINFMT", str(tmp_path))
    monkeypatch.setattr(module.Platform, "host", classmethod(lambda cls: cls.of("linux", "amd64")))
    monkeypatch.setattr(module, "_run", lambda program: "")
    (tmp_path / "status").write_text("enabled\n")
    (tmp_path / "register").write_text("")
    return tmp_path


def test_an_emulator_that_the_kernel_holds_open_is_good(binfmt):
    (binfmt / "qemu-aarch64").write_text(REGISTERED.format(flags="PF"))
    found = emulation(ARM64)
    assert (found.how, found.works) == ("emulated", True)
    assert found.interpreter == "/usr/libexec/qemu-binfmt/aarch64-binfmt-P"


def test_an_emulator_that_containers_would_have_to_contain_is_not(binfmt):
    (binfmt / "qemu-aarch64").write_text(REGISTERED.format(flags="P"))
    found = emulation(ARM64)
    assert found.how == "broken"
    assert "flag F" in found.why
    assert "update-binfmts --disable qemu-aarch64 &&" in found.remedy


def test_a_registration_for_something_else_does_not_count(binfmt, monkeypatch):
    (binfmt / "qemu-aarch64").write_text(REGISTERED.format(flags="PF"))
    (binfmt / "python").write_text("enabled\ninterpreter /usr/bin/python\nflags:\nextension .pyc\n")
    monkeypatch.setattr(module, "_run", lambda program: "Exec format error")
    found = emulation(Platform.parse("linux/riscv64"))
    assert found.how == "missing"
    assert "update-binfmts --enable" in found.remedy


def test_an_emulator_that_fails_is_named(binfmt, monkeypatch):
    (binfmt / "qemu-aarch64").write_text(REGISTERED.format(flags="PF"))
    monkeypatch.setattr(module, "_run", lambda program: "a program ended with -11: ")
    found = emulation(ARM64)
    assert found.how == "broken"
    assert "qemu-aarch64 is registered, but a program ended with -11" in found.why


def test_without_emulators_the_packages_are_named(binfmt, monkeypatch):
    monkeypatch.setattr(module, "_run", lambda program: "Exec format error")
    monkeypatch.setattr(module, "_have_emulator", lambda: False)
    (binfmt / "status").unlink()
    found = emulation(ARM64)
    assert "qemu-user-static binfmt-support" in found.remedy
    assert "mount -t binfmt_misc" in found.remedy
    with pytest.raises(RuntimeUnavailable, match="no emulator"):
        ensure_binfmt()


def test_a_user_is_told_to_use_sudo(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert module._as_root(["a", "b"]) == "run: sudo a && sudo b"


def test_a_program_that_is_none_is_reported():
    assert "does not know" in module._run(b"\x7fELFgarbage")
    assert module._run(exit_program(Platform.host().architecture)) == ""


@pytest.mark.root
@pytest.mark.peer
def test_emulation_can_be_turned_on_and_works():
    if not module._have_emulator():
        pytest.skip("qemu-user-static and binfmt-support are not installed")
    ensure_binfmt()
    assert ensure_binfmt() == []  # the second time there is nothing to do
    foreign = [
        a for a in ("arm64", "riscv64", "s390x", "ppc64le") if a != Platform.host().architecture
    ]
    for architecture in foreign:
        found = emulation(Platform.of("linux", architecture))
        assert found == Emulation(
            platform=Platform.of("linux", architecture),
            how="emulated",
            interpreter=found.interpreter,
        )
        assert found.interpreter
