"""The wall around a submission's process, as a ladder of what this machine offers.

Rungs: bubblewrap (namespaces and a file system without the kit's secrets, around the warm process),
Landlock (which files a child may open), seccomp (which system calls it may make), rlimits. They are
probed at start; `isolation()` names those in force, for every report.
"""

from __future__ import annotations

import ctypes
import errno
import glob
import os
import resource
import shutil
import site
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
KIT = ["grader", "data_utils.py", "metrics.py", "viz.py"]  # what a submission may import of the kit
SYSTEM = ["/usr", "/lib", "/lib64", "/bin", "/sbin", "/etc/ld.so.cache", "/etc/localtime", "/etc/alternatives", "/etc/fonts"]
DEVICES = ["/dev/null", "/dev/zero", "/dev/urandom", "/dev/random"]

# Anything that reaches beyond the process: other processes, the network, names of files that
# Landlock does not cover (modes, owners, times), kernel facilities with a history of holes.
DENIED_CALLS = """
    fork vfork execve execveat ptrace process_vm_readv process_vm_writev process_madvise kcmp
    pidfd_open pidfd_getfd pidfd_send_signal kill tkill rt_sigqueueinfo rt_tgsigqueueinfo
    socket socketpair connect bind listen accept accept4
    chmod fchmod fchmodat fchmodat2 chown fchown lchown fchownat setxattr lsetxattr fsetxattr
    removexattr lremovexattr fremovexattr utime utimes utimensat futimesat
    mount umount2 pivot_root chroot unshare setns move_mount open_tree fsopen fsconfig fsmount fspick
    mount_setattr open_by_handle_at name_to_handle_at swapon swapoff quotactl acct
    bpf perf_event_open userfaultfd io_uring_setup io_uring_enter io_uring_register
    keyctl add_key request_key init_module finit_module delete_module kexec_load kexec_file_load reboot
    setuid setgid setreuid setregid setresuid setresgid setgroups setfsuid setfsgid capset personality
    shmget shmat msgget semget mq_open prlimit64 setrlimit setpriority sched_setaffinity sched_setscheduler
    ioperm iopl settimeofday clock_settime adjtimex sethostname setdomainname syslog vhangup
""".split()

# Calls that an older libseccomp does not know by name; their numbers are the same on every 64-bit architecture.
NEWER_CALLS = {"fchmodat2": 452, "setxattrat": 463, "removexattrat": 466, "open_tree_attr": 467, "file_setattr": 469}
DENIED_CALLS += [call for call in NEWER_CALLS if call not in DENIED_CALLS]


class TooOpen(RuntimeError):
    """This machine offers too little isolation to run strangers' code."""


def readable_paths() -> list[str]:
    """What a child may read: the interpreter, the installed packages, the system's libraries, the visible kit."""
    python = {sys.prefix, sys.base_prefix, sys.exec_prefix, *site.getsitepackages()}
    python.add(str(Path(sys.executable).resolve().parent))
    kit = [str(ROOT / name) for name in KIT]
    return [path for path in [*SYSTEM, *sorted(python), *kit] if os.path.exists(path)]


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


def wrapped(command: list[str], found: dict[str, bool]) -> list[str]:
    """The command line, under bubblewrap where it works: no network, its own processes, only readable paths, private /tmp."""
    if not found["bubblewrap"]:
        return command
    binds = [argument for path in readable_paths() for argument in ("--ro-bind", path, path)]
    walls = ["--unshare-all", "--cap-drop", "ALL", "--die-with-parent", "--new-session"]
    places = ["--dev", "/dev", "--proc", "/proc", "--tmpfs", "/tmp", "--chdir", "/tmp"]
    return [shutil.which("bwrap"), *walls, *binds, *places, "--", *command]


def prepare(found: dict[str, bool]) -> None:
    """Load what `enter` needs: both libraries look for shared objects, which no child may do any more."""
    if found["landlock"]:
        import landlock  # noqa: F401
    if found["seccomp"]:
        import pyseccomp

        pyseccomp.SyscallFilter(defaction=pyseccomp.ALLOW)


def enter(scratch: str, limits: dict, found: dict[str, bool]) -> None:
    """Close this process in for good: only descriptor 3 stays open, only `scratch` is writable."""
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):  # a submission may print what it likes
        os.dup2(null, descriptor)
    os.closerange(4, 1 << 16)
    os.chdir(scratch)
    for name in list(os.environ):
        if name not in ("PATH", "LANG", "LC_ALL", "OMP_NUM_THREADS"):
            del os.environ[name]
    os.environ.update(HOME=scratch, TMPDIR=scratch, MPLBACKEND="agg", MPLCONFIGDIR=scratch)
    _limit(limits)
    _die_with_parent()
    if found["landlock"]:
        _landlock(scratch, limits["device"])
    if found["seccomp"]:
        _seccomp()


def _limit(limits: dict) -> None:
    with open("/proc/self/statm") as statm:
        mapped = int(statm.read().split()[0]) * resource.getpagesize()
    caps = {
        resource.RLIMIT_CPU: limits["cpu_seconds"],
        resource.RLIMIT_AS: mapped + limits["memory_mb"] * 2**20,
        resource.RLIMIT_FSIZE: limits["file_mb"] * 2**20,
        resource.RLIMIT_NOFILE: 256,
        resource.RLIMIT_CORE: 0,
    }
    if limits["device"] == "cuda":
        del caps[resource.RLIMIT_AS]  # CUDA reserves address space by the hundred gigabytes
    for kind, value in caps.items():
        resource.setrlimit(kind, (value, value))


def _die_with_parent() -> None:
    PR_SET_PDEATHSIG, SIGKILL = 1, 9
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0)


def _landlock(scratch: str, device: str) -> None:
    from landlock import FSAccess, Ruleset

    read_file, read_tree = FSAccess.READ_FILE, FSAccess.READ_FILE | FSAccess.READ_DIR | FSAccess.EXECUTE
    rules = Ruleset()
    for path in readable_paths():
        rules.allow(path, rules=read_tree if os.path.isdir(path) else read_file)
    for path in DEVICES:
        rules.allow(path, rules=read_file | FSAccess.WRITE_FILE)
    if device == "cuda":
        rules.allow("/proc", "/sys", rules=read_tree)
        rules.allow(*glob.glob("/dev/nvidia*[!s]"), rules=read_file | FSAccess.WRITE_FILE)
    rules.allow(scratch)
    rules.apply()


def _seccomp() -> None:
    import pyseccomp

    rules = pyseccomp.SyscallFilter(defaction=pyseccomp.ALLOW)
    denied = pyseccomp.ERRNO(errno.EPERM)
    for call in DENIED_CALLS:
        try:
            rules.add_rule(denied, call)
        except (OSError, ValueError):
            if call in NEWER_CALLS:
                rules.add_rule(denied, NEWER_CALLS[call])
            # else this architecture has no such call
    CLONE_THREAD = 0x00010000
    rules.add_rule(denied, "clone", pyseccomp.Arg(0, pyseccomp.MASKED_EQ, CLONE_THREAD, 0))
    rules.add_rule(pyseccomp.ERRNO(errno.ENOSYS), "clone3")  # its flags lie in memory; glibc falls back to clone
    rules.add_rule(denied, "tgkill", pyseccomp.Arg(0, pyseccomp.NE, os.getpid()))
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
        _landlock(os.getcwd(), "cpu")
        try:
            os.listdir("/etc")
        except PermissionError:
            return True
        return False

    return sys.platform == "linux" and _holds_in_child(reads_nothing)


def _seccomp_works() -> bool:
    def forks_nothing() -> bool:
        _seccomp()
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
