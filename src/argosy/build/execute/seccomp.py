"""Which system calls a RUN step may make: those an unprivileged program needs.

What is not listed does not exist (ENOSYS), so that programs fall back to older calls;
what is privileged is refused (EPERM), which programs expect without the privilege.
Source: the syscalls(2) manual page; the same bounds as Docker's default profile with
its default capabilities. Names a runtime's libseccomp does not know are left out by it.
"""

from typing import Any

_FILES = """
access chdir chmod chown chown32 close close_range copy_file_range creat dup dup2 dup3 faccessat
faccessat2 fadvise64 fadvise64_64 fallocate fchdir fchmod fchmodat fchmodat2 fchown fchown32
fchownat fcntl fcntl64 fdatasync fgetxattr flistxattr flock fremovexattr fsetxattr fstat fstat64
fstatat64 fstatfs fstatfs64 fsync ftruncate ftruncate64 futimesat getcwd getdents getdents64
getxattr getxattrat lchown lchown32 lgetxattr link linkat listxattr listxattrat llistxattr _llseek
lremovexattr lseek lsetxattr lstat lstat64 mkdir mkdirat mknod mknodat name_to_handle_at
newfstatat open openat openat2 read readahead readdir readlink readlinkat readv pread64 preadv
preadv2 write writev pwrite64 pwritev pwritev2 removexattr removexattrat rename renameat renameat2
rmdir sendfile sendfile64 setxattr setxattrat splice stat stat64 statfs statfs64 statx symlink
symlinkat sync sync_file_range sync_file_range2 arm_sync_file_range arm_fadvise64_64 syncfs tee
truncate truncate64 umask unlink unlinkat utime utimensat utimensat_time64 utimes vmsplice chroot
"""
_MEMORY = """
brk cachestat get_mempolicy madvise map_shadow_stack mbind membarrier memfd_create memfd_secret
mincore mlock mlock2 mlockall mmap mmap2 mprotect mremap mseal msync munlock munlockall munmap
pkey_alloc pkey_free pkey_mprotect remap_file_pages set_mempolicy set_mempolicy_home_node
process_mrelease shmat shmctl shmdt shmget
"""
_PROCESSES = """
capget capset execve execveat exit exit_group fork getpgid getpgrp getpid getppid
getpriority getrlimit ugetrlimit getrusage getsid gettid getegid getegid32 geteuid geteuid32
getgid getgid32 getgroups getgroups32 getresgid getresgid32 getresuid getresuid32 getuid getuid32
kill landlock_add_rule landlock_create_ruleset landlock_restrict_self pidfd_getfd pidfd_open
pidfd_send_signal prctl prlimit64 process_vm_readv process_vm_writev ptrace kcmp rseq
rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend
rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo restart_syscall sched_get_priority_max
sched_get_priority_min sched_getaffinity sched_getattr sched_getparam sched_getscheduler
sched_rr_get_interval sched_rr_get_interval_time64 sched_setaffinity sched_setattr sched_setparam
sched_setscheduler sched_yield seccomp set_robust_list get_robust_list set_thread_area
get_thread_area set_tid_address set_tls setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32
setgroups setgroups32 setpgid setpriority setregid setregid32 setresgid setresgid32 setresuid
setresuid32 setreuid setreuid32 setrlimit setsid setuid setuid32 sigaction sigaltstack signal
signalfd signalfd4 sigpending sigprocmask sigreturn sigsuspend tgkill tkill vfork wait4 waitid
waitpid arch_prctl modify_ldt breakpoint cacheflush syscall getcpu ioprio_get ioprio_set nice
riscv_flush_icache riscv_hwprobe s390_runtime_instr swapcontext
"""
_TIME = """
adjtimex alarm clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime
clock_gettime64 clock_nanosleep clock_nanosleep_time64 getitimer gettimeofday nanosleep pause
setitimer time timer_create timer_delete timer_getoverrun timer_gettime timer_gettime64
timer_settime timer_settime64 timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime
timerfd_settime64 times
"""
_TALK = """
accept accept4 bind connect epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait
epoll_pwait2 epoll_wait epoll_wait_old eventfd eventfd2 fanotify_mark futex futex_requeue
futex_time64 futex_wait futex_waitv futex_wake getpeername getsockname getsockopt inotify_add_watch
inotify_init inotify_init1 inotify_rm_watch io_cancel io_destroy io_getevents io_pgetevents
io_pgetevents_time64 io_setup io_submit ioctl ipc listen mq_getsetattr mq_notify mq_open
mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 mq_unlink msgctl msgget
msgrcv msgsnd _newselect pipe pipe2 poll ppoll ppoll_time64 pselect6 pselect6_time64 recv recvfrom
recvmmsg recvmmsg_time64 recvmsg select semctl semget semop semtimedop semtimedop_time64 send
sendmmsg sendmsg sendto setsockopt shutdown socket socketcall socketpair
"""
_REST = "getrandom sysinfo uname"

_PRIVILEGED = """
acct add_key bpf clock_settime clock_settime64 create_module delete_module fanotify_init
finit_module fsconfig fsmount fsopen fspick get_kernel_syms init_module io_uring_enter
io_uring_register io_uring_setup ioperm iopl kexec_file_load kexec_load keyctl lookup_dcookie
migrate_pages mount mount_setattr move_mount move_pages nfsservctl open_by_handle_at open_tree
perf_event_open pivot_root process_madvise query_module quotactl quotactl_fd reboot request_key
setdomainname sethostname setns settimeofday stime swapoff swapon _sysctl sysfs syslog umount
umount2 unshare uselib userfaultfd ustat vhangup vm86 vm86old
"""

_EPERM, _ENOSYS = 1, 38
_SUBARCHES = {
    "amd64": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
    "386": ["SCMP_ARCH_X86"],
    "arm64": ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"],
    "arm": ["SCMP_ARCH_ARM"],
    "riscv64": ["SCMP_ARCH_RISCV64"],
    "ppc64le": ["SCMP_ARCH_PPC64LE"],
    "s390x": ["SCMP_ARCH_S390X", "SCMP_ARCH_S390"],
    "mips64le": ["SCMP_ARCH_MIPSEL64", "SCMP_ARCH_MIPSEL", "SCMP_ARCH_MIPSEL64N32"],
    "loong64": ["SCMP_ARCH_LOONGARCH64"],
}

# clone(2) flags that make namespaces: user, mount, pid, net, ipc, uts, cgroup.
_NEW_NAMESPACES = 0x7E020000
_LINUX, _LINUX32, _ADDR_NO_RANDOMIZE, _ASK = 0x0, 0x8, 0x40000, 0xFFFFFFFF
_PERSONALITIES = (_LINUX, _LINUX32, 0x20000, 0x20008, _ADDR_NO_RANDOMIZE, _ASK)


def profile(host: str) -> dict[str, Any]:
    """The `linux.seccomp` object for a machine of architecture `host` (OCI runtime-spec config-linux.md).

    It is about the machine, not the image: an emulator makes the machine's own calls.
    """
    allowed = sorted(f"{_FILES} {_MEMORY} {_PROCESSES} {_TIME} {_TALK} {_REST}".split())
    flags_at = 1 if host == "s390x" else 0  # clone(2): s390 has stack and flags swapped
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": _ENOSYS,
        "architectures": _SUBARCHES.get(host, []),
        "syscalls": [
            {"names": allowed, "action": "SCMP_ACT_ALLOW"},
            {
                "names": ["clone"],
                "action": "SCMP_ACT_ALLOW",
                "args": [
                    {
                        "index": flags_at,
                        "value": _NEW_NAMESPACES,
                        "valueTwo": 0,
                        "op": "SCMP_CMP_MASKED_EQ",
                    }
                ],
            },
            *(_personality(value) for value in _PERSONALITIES),
            {
                "names": sorted(_PRIVILEGED.split()),
                "action": "SCMP_ACT_ERRNO",
                "errnoRet": _EPERM,
            },
        ],
    }


def _personality(value: int) -> dict[str, Any]:
    return {
        "names": ["personality"],
        "action": "SCMP_ACT_ALLOW",
        "args": [{"index": 0, "value": value, "op": "SCMP_CMP_EQ"}],
    }
