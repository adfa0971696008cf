"""The wall around a submission's process, as a ladder of what this machine offers.

Rungs: bubblewrap (namespaces and a file system without the kit's secrets, around the warm process),
Landlock (which files a child may open), seccomp (which system calls it may make), rlimits. They are
probed at start; `isolation()` names those in force, for every report.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import glob
import math
import os
import resource
import shutil
import site
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
KIT = ["grader", "data_utils.py", "drawn_pets.py", "metrics.py", "viz.py"]  # what a submission may import of the kit
SYSTEM = ["/usr", "/lib", "/lib64", "/bin", "/sbin", "/etc/ld.so.cache", "/etc/localtime", "/etc/alternatives", "/etc/fonts"]
DEVICES = ["/dev/null", "/dev/zero", "/dev/urandom", "/dev/random"]

SCRATCH_MB = 512  # of the private /tmp, which lies in memory

# What a process needs for itself: files (whose names Landlock or bubblewrap judges), memory, threads, time, descriptor 3.
ALLOWED_CALLS = """
    read write readv writev pread64 pwrite64 preadv pwritev preadv2 pwritev2 open openat creat close close_range lseek
    _llseek stat fstat lstat newfstatat fstatat64 statx access faccessat faccessat2 readlink readlinkat getdents getdents64
    getcwd chdir fchdir mkdir mkdirat rmdir unlink unlinkat rename renameat renameat2 link linkat symlink symlinkat
    ftruncate fallocate fsync fdatasync sync_file_range fadvise64 readahead sendfile splice tee copy_file_range
    dup dup2 dup3 pipe pipe2 fcntl flock ioctl statfs fstatfs umask
    mmap munmap mprotect mremap madvise msync mincore mlock mlock2 munlock brk membarrier arch_prctl rseq
    pkey_alloc pkey_mprotect pkey_free get_mempolicy set_mempolicy mbind map_shadow_stack mseal cacheflush riscv_flush_icache
    clone exit exit_group wait4 waitid getpid gettid getppid getpgid getpgrp getsid getuid geteuid getgid getegid getresuid
    getresgid getgroups capget set_tid_address set_robust_list get_robust_list futex futex_waitv futex_wake futex_wait
    futex_requeue sched_yield sched_getaffinity sched_getparam sched_getscheduler sched_get_priority_max
    sched_get_priority_min getcpu getrusage getrlimit getpriority times uname sysinfo prctl seccomp restart_syscall
    rt_sigaction rt_sigprocmask rt_sigreturn rt_sigsuspend rt_sigpending rt_sigtimedwait sigaltstack pause alarm getitimer
    setitimer signalfd signalfd4 tgkill nanosleep clock_nanosleep clock_gettime clock_getres gettimeofday time
    timer_create timer_settime timer_gettime timer_getoverrun timer_delete timerfd_create timerfd_settime timerfd_gettime
    poll ppoll select pselect6 epoll_create epoll_create1 epoll_ctl epoll_wait epoll_pwait epoll_pwait2 eventfd eventfd2
    sendto recvfrom sendmsg recvmsg shutdown getsockopt setsockopt getsockname getpeername getrandom
""".split()

# Anything that reaches beyond the process: other processes, the network, names of files that
# Landlock does not cover (modes, owners, times; truncation before Linux 6.2), kernel facilities
# with a history of holes. Refused by name, for a message that a student understands, and on cuda,
# where the driver makes calls that no list foresees and the list above is left out. (Those that start CUDA, among
# them socket, bind and listen, are made before: `last` of `enter`.)
DENIED_CALLS = """
    fork vfork execve execveat ptrace process_vm_readv process_vm_writev process_madvise process_mrelease kcmp
    pidfd_open pidfd_getfd pidfd_send_signal kill tkill rt_sigqueueinfo rt_tgsigqueueinfo
    socket socketpair connect bind listen accept accept4
    chmod fchmod fchmodat fchmodat2 chown fchown lchown fchownat setxattr lsetxattr fsetxattr setxattrat
    removexattr lremovexattr fremovexattr removexattrat file_setattr utime utimes utimensat futimesat
    truncate openat2 mknod mknodat inotify_init inotify_init1 fanotify_init
    mount umount2 pivot_root chroot unshare setns move_mount open_tree open_tree_attr fsopen fsconfig fsmount fspick
    mount_setattr open_by_handle_at name_to_handle_at swapon swapoff quotactl acct
    bpf perf_event_open userfaultfd io_uring_setup io_uring_enter io_uring_register
    keyctl add_key request_key init_module finit_module delete_module kexec_load kexec_file_load reboot
    setuid setgid setreuid setregid setresuid setresgid setgroups setfsuid setfsgid capset personality
    shmget shmat msgget semget mq_open prlimit64 setrlimit setpriority sched_setaffinity sched_setscheduler
    sched_setparam sched_setattr ioprio_set move_pages migrate_pages
    ioperm iopl settimeofday clock_settime adjtimex sethostname setdomainname syslog vhangup
""".split()

# Calls that an older libseccomp does not know by name; their numbers are the same on every 64-bit architecture.
NEWER_CALLS = {"fchmodat2": 452, "setxattrat": 463, "removexattrat": 466, "open_tree_attr": 467, "file_setattr": 469}

# Uses of allowed calls that reach beyond the process as well: (call, argument, mask, value).
DENIED_USES = [
    ("clone", 0, 0x00010000, 0),  # without CLONE_THREAD: a process
    *[("fcntl", 1, 0xFFFFFFFF, command) for command in (8, 10, 15)],  # F_SETOWN, F_SETSIG, F_SETOWN_EX: signals to others
    *[("fcntl", 1, 0xFFFFFFFF, command) for command in (1024, 1026)],  # F_SETLEASE, F_NOTIFY: hold up or watch who opens a file
    *[("ioctl", 1, 0xFFFFFFFF, command) for command in (0x8901, 0x8902, 0x5452, 0x5412, 0x541C)],  # the same; TIOCSTI, TIOCLINUX
    ("prctl", 0, 0xFFFFFFFF, 1),  # PR_SET_PDEATHSIG: to outlive the warm process
    ("open", 1, os.O_TRUNC | os.O_ACCMODE, os.O_TRUNC),  # empties a file opened for reading
    ("openat", 2, os.O_TRUNC | os.O_ACCMODE, os.O_TRUNC),
]


class TooOpen(RuntimeError):
    """This machine offers too little isolation to run strangers' code."""


@functools.lru_cache(maxsize=1)
def readable_paths() -> list[str]:
    """What a child may read: the interpreter, the installed packages, the system's libraries, the visible kit."""
    python = {sys.prefix, sys.base_prefix, sys.exec_prefix, *site.getsitepackages()}
    python.add(str(Path(sys.executable).resolve().parent))
    kit = [str(ROOT / name) for name in KIT]
    return [path for path in [*SYSTEM, *sorted(python), *kit] if os.path.exists(path)]


@functools.lru_cache(maxsize=None)  # a machine's rungs do not change while a process runs
def rungs(device: str = "cpu") -> dict[str, bool]:
    """Which rungs hold here, each tried for real."""
    return {
        # CUDA needs device files and /proc, which the wrapped file system leaves out
        "bubblewrap": device == "cpu" and _bubblewrap_works(),
        "landlock": _landlock_works(),
        "seccomp": _seccomp_works(),
    }


def isolation(found: dict[str, bool], insecure: bool = False) -> str:
    """The level in words, such as "full: bubblewrap, landlock, seccomp, rlimits"; TooOpen below the floor."""
    names = ", ".join([name for name, holds in found.items() if holds] + ["rlimits"])
    if not insecure:
        _refuse_solutions_in_reach()
    if all(found.values()):
        return f"full: {names}"
    if found["seccomp"] and (found["landlock"] or found["bubblewrap"]):
        return f"strong: {names}"
    if insecure:
        return f"insecure: {names} (--insecure)"
    missing = ", ".join(name for name, holds in found.items() if not holds)
    raise TooOpen(
        f"this machine lacks {missing}: a submission could read the solutions or change files. "
        "Grade on Linux 5.13 or later with `pip install -e .[grade]`, or say --insecure if you trust every submission."
    )


def _refuse_solutions_in_reach() -> None:
    solutions = ROOT / "solutions"
    around = [path for path in readable_paths() if solutions.is_relative_to(Path(path).resolve())]
    if around and solutions.exists():
        raise TooOpen(f"the solutions in {solutions} lie inside {around[0]}, which a submission must read; move the kit elsewhere.")


def wrapped(command: list[str], found: dict[str, bool]) -> list[str]:
    """The command line, under bubblewrap where it works: no network, its own processes, only readable paths, private /tmp."""
    if not found["bubblewrap"]:
        return command
    binds = [argument for path in readable_paths() for argument in ("--ro-bind", path, path)]
    # as process 1 itself: bubblewrap's own would stand among the children, without their seccomp filter
    walls = ["--unshare-all", "--as-pid-1", "--cap-drop", "ALL", "--die-with-parent", "--new-session"]
    size = ["--size", str(SCRATCH_MB << 20)] if _bubblewrap_knows("--size") else []
    places = ["--dev", "/dev", "--proc", "/proc", *size, "--tmpfs", "/tmp"]  # before the binds: the kit may lie in /tmp
    closed = ["--remount-ro", "/dev", "--remount-ro", "/", "--chdir", "/tmp"]
    return [shutil.which("bwrap"), *walls, *places, *binds, *closed, "--", *command]


@functools.lru_cache
def _bubblewrap_knows(option: str) -> bool:
    return option in subprocess.run(["bwrap", "--help"], capture_output=True, text=True).stdout


def prepare(found: dict[str, bool]) -> None:
    """Ready the warm process: what `enter` needs is loaded (no child may look for it any more), and what none needs is given up."""
    readable_paths()
    if found["landlock"]:
        import landlock  # noqa: F401
    if found["seccomp"]:
        _filters("cpu")
    _drop_capabilities()
    PR_SET_DUMPABLE = 4
    ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)  # no child opens its memory or environment through /proc


def _drop_capabilities() -> None:
    """Root without its powers, but for reading a kit in somebody else's home (Landlock still says which files)."""
    CAPABILITY_VERSION_3, CAP_DAC_READ_SEARCH = 0x20080522, 2
    libc = ctypes.CDLL(None)
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; then the same for capabilities from 32 on
    libc.capget(header, sets)
    left = sets[1] & 1 << CAP_DAC_READ_SEARCH
    if libc.capset(header, (ctypes.c_uint32 * 6)(left, left, 0, 0, 0, 0)):
        raise OSError("capabilities could not be dropped")


def enter(scratch: str, limits: dict, found: dict[str, bool], last: Callable[[], None] = lambda: None) -> None:
    """Close this process in for good: only descriptor 3 stays open, only `scratch` is writable.

    last: what this process does once nothing else is open, and before the wall stands.
    """
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):  # a submission may print what it likes
        os.dup2(null, descriptor)
    os.closerange(4, 1 << 16)
    os.chdir(scratch)
    for name in list(os.environ):
        if name not in ("PATH", "LANG", "LC_ALL", "OMP_NUM_THREADS"):
            del os.environ[name]
    os.environ.update(HOME=scratch, TMPDIR=scratch, MPLBACKEND="agg", MPLCONFIGDIR=scratch)
    tempfile.tempdir = scratch  # the warm process has looked up its own before
    last()
    _limit(limits)
    _die_with_parent()
    if found["landlock"]:
        _landlock(scratch, limits["device"])
    if found["seccomp"]:
        _seccomp(limits["device"])


def _limit(limits: dict) -> None:
    with open("/proc/self/statm") as statm:
        mapped, *_, data, _ = (int(pages) * resource.getpagesize() for pages in statm.read().split())
    caps = {
        resource.RLIMIT_CPU: limits["cpu_seconds"],
        resource.RLIMIT_AS: mapped + limits["memory_mb"] * 2**20,
        resource.RLIMIT_DATA: data + limits["memory_mb"] * 2**20,  # what it unmaps of the libraries is not for it to fill
        resource.RLIMIT_FSIZE: limits["file_mb"] * 2**20,
        resource.RLIMIT_NOFILE: 256,
        resource.RLIMIT_CORE: 0,
    }
    if limits["device"] == "cuda":
        del caps[resource.RLIMIT_AS], caps[resource.RLIMIT_DATA]  # CUDA reserves address space by the hundred gigabytes
        caps[resource.RLIMIT_CPU] += math.ceil(time.process_time())  # CUDA's start is not the submission's
    for kind, value in caps.items():
        resource.setrlimit(kind, (value, value))


def _die_with_parent() -> None:
    PR_SET_PDEATHSIG, SIGKILL = 1, 9
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0)


def _landlock(scratch: str, device: str) -> None:
    from landlock import FSAccess, Ruleset

    every = FSAccess.all()  # that this kernel knows
    special = FSAccess.MAKE_CHAR | FSAccess.MAKE_BLOCK | FSAccess.MAKE_SOCK | FSAccess.MAKE_FIFO
    read_file, read_tree = FSAccess.READ_FILE, FSAccess.READ_FILE | FSAccess.READ_DIR
    rules = Ruleset()
    for path in readable_paths():
        rules.allow(path, rules=read_tree if os.path.isdir(path) else read_file)
    for path in DEVICES:
        rules.allow(path, rules=read_file | FSAccess.WRITE_FILE)
    if device == "cuda":
        rules.allow("/proc", "/sys", rules=read_tree)
        rules.allow(*glob.glob("/dev/nvidia*[!s]"), rules=read_file | FSAccess.WRITE_FILE | every & FSAccess.IOCTL_DEV)
    rules.allow(scratch, rules=every & ~(special | FSAccess.EXECUTE | FSAccess.IOCTL_DEV))
    rules.apply()
    os.close(rules._fd)


@functools.lru_cache(maxsize=1)
def _filters(device: str) -> list:
    """What seccomp loads, built once: what is allowed at all (not on cuda), then what is refused of it."""
    import pyseccomp

    allowing = pyseccomp.SyscallFilter(defaction=pyseccomp.ERRNO(errno.ENOSYS))
    for call in ALLOWED_CALLS:
        _add_rule(allowing, pyseccomp.ALLOW, call)
    denying = pyseccomp.SyscallFilter(defaction=pyseccomp.ALLOW)
    refused = pyseccomp.ERRNO(errno.EPERM)
    for call in DENIED_CALLS:
        _add_rule(denying, refused, call)
    for call, argument, mask, value in DENIED_USES:
        _add_rule(denying, refused, call, pyseccomp.Arg(argument, pyseccomp.MASKED_EQ, mask, value))
    denying.add_rule(pyseccomp.ERRNO(errno.ENOSYS), "clone3")  # its flags lie in memory; glibc falls back to clone
    return [denying] if device == "cuda" else [allowing, denying]


def _add_rule(rules, action: int, call: str, *arguments) -> None:
    try:
        rules.add_rule(action, call, *arguments)
    except (OSError, ValueError):
        if call in NEWER_CALLS:
            rules.add_rule(action, NEWER_CALLS[call], *arguments)
        # else this architecture has no such call


def _seccomp(device: str) -> None:
    import pyseccomp

    filters = _filters(device)
    filters[-1].add_rule(pyseccomp.ERRNO(errno.EPERM), "tgkill", pyseccomp.Arg(0, pyseccomp.NE, os.getpid()))
    for rules in filters:  # the last one says why where both refuse
        if device == "cuda":  # its driver has started threads
            rules.set_attr(pyseccomp.Attr.CTL_TSYNC, True)
        rules.load()


def _holds_in_child(test) -> bool:
    """Whether `test` returns True in a forked child; whatever it closes, it closes there."""
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if test() else 1)
        except BaseException:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def _landlock_works() -> bool:
    def reads_nothing() -> bool:
        _landlock(str(ROOT / "grader"), "cpu")
        try:
            os.listdir("/etc")
        except PermissionError:
            return True
        return False

    return sys.platform == "linux" and _holds_in_child(reads_nothing)


def _seccomp_works() -> bool:
    def forks_nothing() -> bool:
        _seccomp("cpu")
        try:
            os.fork()
        except PermissionError:
            return True
        return False

    return sys.platform == "linux" and _holds_in_child(forks_nothing)


def _bubblewrap_works() -> bool:
    if not shutil.which("bwrap"):
        return False
    everything = {"bubblewrap": True}
    command = wrapped([sys.executable, "-c", "pass"], everything)
    return subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL).returncode == 0
