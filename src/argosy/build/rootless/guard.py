"""The process that was started, while another does its work as the first of a process id namespace.

What a shell, a terminal or a service does to the process it knows is to mean the same
as without namespaces: signals are passed on, the exit code is the other's, ^Z stops both.
The other one dies with this one, by the kernel (PR_SET_PDEATHSIG), and all its children
with it. Source: pid_namespaces(7), prctl(2), sigwaitinfo(2).
"""

import ctypes
import os
import signal
from contextlib import suppress

_PR_SET_PDEATHSIG = 1
_BY_KERNEL = 0x80  # si_code: the terminal's, which the whole foreground group gets
_PASSED = {
    signal.SIGINT: signal.SIGINT,
    signal.SIGTERM: signal.SIGTERM,
    # The first process of a namespace never gets a signal it has no handler for.
    signal.SIGHUP: signal.SIGTERM,
    signal.SIGQUIT: signal.SIGTERM,
}
_HEARD = frozenset({*_PASSED, signal.SIGCHLD, signal.SIGTSTP})


def stand_by() -> None:
    """Become two: returns in the child only; the parent waits, and ends as it does."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _HEARD)
    alive, held = os.pipe()  # the parent holds it open for as long as it lives
    child = os.fork()
    if child:
        os.close(alive)
        os._exit(_wait(child))
    os.close(held)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    os.set_blocking(alive, False)
    with suppress(BlockingIOError):
        if not os.read(alive, 1):
            os._exit(128 + signal.SIGKILL)  # the parent was gone before it could be tied to us
    os.close(alive)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _wait(child: int) -> int:
    """Pass signals on until the child has ended; its exit code."""
    while True:
        heard = signal.sigwaitinfo(_HEARD)
        number = signal.Signals(heard.si_signo)
        if number == signal.SIGCHLD:
            pid, status = os.waitpid(child, os.WNOHANG)
            if pid:
                code = os.waitstatus_to_exitcode(status)
                return code if code >= 0 else 128 - code
        elif number == signal.SIGTSTP:
            _stop(child)
        elif number != signal.SIGINT or heard.si_code != _BY_KERNEL:
            os.kill(child, _PASSED[number])


def _stop(child: int) -> None:
    os.kill(child, signal.SIGSTOP)
    os.kill(os.getpid(), signal.SIGSTOP)
    os.kill(child, signal.SIGCONT)  # we run again, so it shall
