"""What the server does to its own process."""

import resource
import subprocess
import sys

SCRIPT = """
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (64, {hard}))
from argosy.server.starting.process import allow_many_files
allow_many_files()
print(*resource.getrlimit(resource.RLIMIT_NOFILE))
"""


def limits_after(hard: int) -> list[int]:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(hard=hard)], check=True, capture_output=True
    )
    return [int(number) for number in done.stdout.split()]


def test_the_server_may_open_as_many_files_as_its_process_may() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = 500 if hard == resource.RLIM_INFINITY else min(hard, 500)
    assert limits_after(most) == [most, most]


LOGINS = """
import asyncio, sys
from argosy.access.signing_in.passwords import Passwords
from argosy.server.starting.process import settle

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096

async def main():
    passwords = Passwords()
    passwords._hasher()
    settle()
    before = resident()
    for _ in range(3):
        await asyncio.gather(*(passwords.hash("correct horse battery") for _ in range(2)))
    print(resident() - before)

asyncio.run(main())
"""


def test_logins_leave_no_memory_behind():
    done = subprocess.run([sys.executable, "-c", LOGINS], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 8 << 20  # each of them had 19 MiB
