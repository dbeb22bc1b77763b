"""The smallest programs there are: one per architecture, each doing nothing but exit(0).

Whether this machine can run an architecture is found out by running one of them;
no table of kernels and emulators could know. Source: System V ABI, "Object Files";
the instruction words are from each architecture's manual.
"""

import struct

from argosy.values import frozen


@frozen
class _Arch:
    """What an ELF header says of an architecture, and the code of exit(0)."""

    machine: int  # e_machine
    bits: int
    order: str  # `<` or `>`
    flags: int
    code: bytes
    abi: int = 0


def _words(order: str, *words: int) -> bytes:
    return b"".join(struct.pack(f"{order}I", word) for word in words)


_ARCHES = {
    # mov eax, 60; xor edi, edi; syscall
    "amd64": _Arch(62, 64, "<", 0, bytes.fromhex("b83c00000031ff0f05")),
    # mov eax, 1; xor ebx, ebx; int 0x80
    "386": _Arch(3, 32, "<", 0, bytes.fromhex("b80100000031dbcd80")),
    # mov x0, #0; mov x8, #93; svc #0
    "arm64": _Arch(183, 64, "<", 0, _words("<", 0xD2800000, 0xD2800BA8, 0xD4000001)),
    # mov r0, #0; mov r7, #1; svc #0
    "arm": _Arch(40, 32, "<", 0x05000000, _words("<", 0xE3A00000, 0xE3A07001, 0xEF000000)),
    # li a0, 0; li a7, 93; ecall
    "riscv64": _Arch(243, 64, "<", 0, _words("<", 0x00000513, 0x05D00893, 0x00000073)),
    # li r0, 1; li r3, 0; sc
    "ppc64le": _Arch(21, 64, "<", 2, _words("<", 0x38000001, 0x38600000, 0x44000002)),
    # lghi %r2, 0; svc 1
    "s390x": _Arch(22, 64, ">", 0, bytes.fromhex("a72900000a01")),
    # li v0, 5058; move a0, zero; syscall
    "mips64le": _Arch(8, 64, "<", 0x80000007, _words("<", 0x640213C2, 0x0000202D, 0x0000000C)),
    # ori a7, zero, 93; or a0, zero, zero; syscall 0
    "loong64": _Arch(258, 64, "<", 0x43, _words("<", 0x0381740B, 0x00150004, 0x002B0000)),
}

ARCHITECTURES = frozenset(_ARCHES)
_BASE = 0x400000


def exit_program(architecture: str) -> bytes:
    """A whole static executable that exits with 0; KeyError for an architecture not in ARCHITECTURES."""
    arch = _ARCHES[architecture]
    wide = arch.bits == 64
    head, segment = (64, 56) if wide else (52, 32)
    start = head + segment
    size = start + len(arch.code)
    ident = struct.pack(
        "4sBBBBx7s", b"\x7fELF", 2 if wide else 1, 1 if arch.order == "<" else 2, 1, arch.abi, b""
    )
    word = "Q" if wide else "I"
    header = struct.pack(
        f"{arch.order}HHI{word}{word}{word}IHHHHHH",
        2,  # ET_EXEC
        arch.machine,
        1,
        _BASE + start,
        head,
        0,
        arch.flags,
        head,
        segment,
        1,
        0,
        0,
        0,
    )
    readable_and_executable = 5
    if wide:
        load = struct.pack(
            f"{arch.order}IIQQQQQQ",
            1,
            readable_and_executable,
            0,
            _BASE,
            _BASE,
            size,
            size,
            0x10000,
        )
    else:
        load = struct.pack(
            f"{arch.order}IIIIIIII",
            1,
            0,
            _BASE,
            _BASE,
            size,
            size,
            readable_and_executable,
            0x10000,
        )
    return ident + header + load + arch.code
