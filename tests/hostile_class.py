"""Hands hostile submissions to the judge and prints as JSON what came of them.

Run by test_hostile.py, always inside an outer wall: `python hostile_class.py FOLDER RUNG...`, where
FOLDER holds a copy of the kit and RUNG is "full", "strong" (no bubblewrap) or "wrapped" (no Landlock).
"""

import contextlib
import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

FOLDER = Path(sys.argv[1])
KIT, COURSE, HOME = FOLDER / "kit", FOLDER / "course", FOLDER / "home"
sys.path.insert(0, str(KIT))

from grader import judge as judge_module  # noqa: E402
from grader import sandbox
from grader.judge import Judge  # noqa: E402
from grader.rubric import load_rubric  # noqa: E402
from solutions.reference import reference_source  # noqa: E402
from tests.helpers import module, replaced, scores  # noqa: E402

HONEST = reference_source()
SWAPPED = replaced(("return features, pooled", "return pooled, features"))
WALL_SECONDS, SHORT_SECONDS, MEMORY_MB = 60, 3, 512
RUNGS = [word for word in sys.argv[2:] if word != "everything"]
EVERYTHING = "everything" in sys.argv  # what does not depend on the rung or the user is tried in one run

# What every attack starts with: it reports what it got at in the text of an exception, which ends up in the notes.
PRELUDE = f"""
import ctypes, gc, os, signal, socket, subprocess, sys, threading, time
KIT, COURSE, HOME, JUDGE = {str(KIT)!r}, {str(COURSE)!r}, {str(HOME)!r}, {os.getpid()}
libc = ctypes.CDLL(None, use_errno=True)

def syscall(*arguments):
    result = libc.syscall(*[ctypes.c_long(a) if isinstance(a, int) else a for a in arguments])
    if result < 0:
        raise OSError(ctypes.get_errno(), "refused")
    return result

def attempt(**calls):
    got = []
    for name, call in calls.items():
        try:
            result = call()
        except BaseException:
            continue
        if result not in (None, False, [], {{}}, ""):
            got.append(name + "=" + repr(result)[:60])
    return "; ".join(got) or "nothing"

def did(call, *arguments):
    call(*arguments)
    return "done"
"""

ATTACKS = {
    "read": """
def attack():
    targets = dict(reference=KIT + "/solutions/reference.py", lab=KIT + "/solutions/lab_01_unet.py", book=COURSE + "/gradebook.db",
        other=COURSE + "/submitted/bob/lab04_student.py", key=HOME + "/.ssh/id_rsa", passwd="/etc/passwd", shadow="/etc/shadow",
        tests=KIT + "/tests/helpers.py", dots="../" * 9 + COURSE[1:] + "/gradebook.db")
    got = [attempt(**{name: lambda p=path: open(p).read(9)}) for name, path in targets.items()]
    os.symlink(COURSE, "link")
    got.append(attempt(through_link=lambda: open("link/gradebook.db").read(9), kit=lambda: os.listdir(KIT),
        solutions=lambda: os.listdir(KIT + "/solutions"), course=lambda: os.listdir(COURSE), home=lambda: os.listdir(HOME),
        hard=lambda: did(os.link, COURSE + "/gradebook.db", "hard"),
        handle=lambda: os.open("/proc/self/fd/%d" % os.open(COURSE + "/gradebook.db", os.O_PATH), os.O_RDONLY)))
    os.unlink("link")
    return " ".join(part for part in got if part != "nothing") or "nothing"
""",
    "import_solutions": """
def attack():
    import importlib, importlib.util, linecache
    def frames():
        frame = sys._getframe()
        while frame:
            if frame.f_locals.get("stand_ins") or "solutions" in frame.f_globals.get("__name__", ""):
                return frame.f_code.co_filename
            frame = frame.f_back
    def walk():
        return [p for p in sys.path if "solutions" in os.listdir(p) and not os.path.islink(os.path.join(p, "solutions"))]
    def by_location():
        spec = importlib.util.spec_from_file_location("s", KIT + "/solutions/reference.py")
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
        return "loaded"
    return attempt(package=lambda: importlib.import_module("solutions"), module=lambda: importlib.import_module("solutions.reference"),
        checks=lambda: importlib.import_module("solutions.checks.references"), frames=frames, walk=walk, by_location=by_location,
        first=lambda: (sys.path.insert(0, KIT), importlib.invalidate_caches(), importlib.import_module("solutions.reference"))[2],
        through_root=lambda: (sys.path.insert(0, "/proc/self/root" + KIT), importlib.import_module("solutions.reference"))[1],
        through_cwd=lambda: (os.symlink(KIT + "/solutions", "solutions"), sys.path.insert(0, os.getcwd()), importlib.import_module("solutions.reference"))[2],
        packages=lambda: [m.name for m in __import__("pkgutil").iter_modules([KIT, KIT + "/solutions"]) if m.name in ("solutions", "reference")],
        zipped=lambda: __import__("zipimport").zipimporter(KIT + "/solutions.zip"), run=lambda: __import__("runpy").run_path(KIT + "/solutions/reference.py"),
        finders=lambda: [f for f in sys.meta_path if "solutions" in getattr(sys.modules.get(getattr(f, "__module__", "")), "MAPPING", {})],
        editable=lambda: [s.loader.get_data(s.origin) for f in sys.meta_path for s in [f.find_spec("solutions", None)] if s and s.origin],
        distribution=lambda: [str(f) for d in __import__("importlib.metadata").metadata.distributions() for f in d.files or () if "solutions/reference" in str(f)],
        resources=lambda: __import__("importlib.resources").resources.files("solutions"), source=lambda: __import__("inspect").getsource(importlib.import_module("solutions")),
        compiled=lambda: os.listdir(KIT + "/solutions/__pycache__"), data=lambda: __import__("pkgutil").get_data("grader", "../solutions/reference.py"),
        loader=lambda: __import__("importlib.machinery").machinery.SourceFileLoader("s", KIT + "/solutions/reference.py").get_data(KIT + "/solutions/reference.py"),
        modules=lambda: [m for m in sys.modules if m.split(".")[0] in ("solutions", "tests", "nbgrader")],
        lines=lambda: linecache.getlines(KIT + "/solutions/reference.py"),
        garbage=lambda: [1 for o in gc.get_objects() if isinstance(o, dict) and str(o.get("__name__", "")).startswith(("solutions", "stand_ins"))])
""",
    "write": """
def attack():
    grader = KIT + "/grader/judge.py"
    return attempt(kit=lambda: open(grader, "a"), new=lambda: open(KIT + "/json.py", "w"), book=lambda: open(COURSE + "/gradebook.db", "ab"),
        home=lambda: open(HOME + "/.bashrc", "w"), folder=lambda: did(os.mkdir, COURSE + "/new"),
        truncate=lambda: did(os.truncate, COURSE + "/gradebook.db", 0), truncate_kit=lambda: did(os.truncate, grader, 0),
        emptied=lambda: os.open(grader, os.O_RDONLY | os.O_TRUNC), var=lambda: open("/var/tmp/x", "w"), shm=lambda: open("/dev/shm/x", "w"),
        root=lambda: open("/x", "w"), packages=lambda: open(os.path.dirname(sys.modules["torch"].__file__) + "/x", "w"),
        device=lambda: did(os.mknod, "disk", 0o60600, os.makedev(254, 0)), memfd=lambda: os.memfd_create("x"))
""",
    "names": """
def attack():
    book, grader = COURSE + "/gradebook.db", KIT + "/grader/judge.py"
    calls = {}
    for name, path in dict(book=book, kit=grader).items():
        calls |= {name + "_chmod": lambda p=path: did(os.chmod, p, 0o777), name + "_utime": lambda p=path: did(os.utime, p, (0, 0)),
            name + "_rename": lambda p=path: did(os.rename, p, p + "x"), name + "_take": lambda p=path: did(os.rename, p, "mine"),
            name + "_unlink": lambda p=path: did(os.unlink, p), name + "_link": lambda p=path: did(os.link, p, "mine"),
            name + "_symlink": lambda p=path: did(os.symlink, p, p + "y"), name + "_chown": lambda p=path: did(os.chown, p, 1, 1),
            name + "_xattr": lambda p=path: did(os.setxattr, p, "user.x", b"1"), name + "_watch": lambda p=path: syscall(294, 0)}
    return attempt(**calls)
""",
    "network": """
def attack():
    return attempt(inet=lambda: socket.socket().fileno(), unix=lambda: socket.socket(socket.AF_UNIX).fileno(),
        raw=lambda: syscall(41, 2, 1, 0) + 1, pair=lambda: socket.socketpair(), loopback=lambda: socket.create_connection(("127.0.0.1", 1), 1),
        name=lambda: socket.gethostbyname("localhost.localdomain.test"), netlink=lambda: syscall(41, 16, 3, 0) + 1, ring=lambda: syscall(425, 1, 0) + 1,
        crypto=lambda: syscall(41, 38, 5, 0) + 1, machine=lambda: syscall(41, 40, 1, 0) + 1, packet=lambda: syscall(41, 17, 3, 0) + 1,
        abstract=lambda: did(socket.socket(socket.AF_UNIX).connect, "\0unetlab"), bound=lambda: did(socket.socket(fileno=os.dup(3)).bind, "\0mine"),
        listen=lambda: syscall(50, 3, 1) + 1, accept=lambda: syscall(43, 3, 0, 0) + 1)
""",
    "processes": """
def attack():
    parent = os.getppid()
    pids = [pid for pid in (JUDGE, parent, 1) if pid > 1 or parent != 1]
    calls = dict(fork=lambda: syscall(57) + 1, vfork=lambda: os.posix_spawn("/bin/true", ["true"], {}), shell=lambda: os.system("true") == 0,
        run=lambda: subprocess.run(["/bin/true"]), execute=lambda: os.execv("/bin/true", ["true"]), clone=lambda: syscall(56, 17, 0, 0, 0, 0) + 1,
        clone3=lambda: syscall(435, ctypes.byref((ctypes.c_uint64 * 11)(0, 0, 0, 0, 17)), 88) + 1,
        everyone=lambda: did(os.kill, -1, 9), own_group=lambda: did(os.kill, 0, 9), unshare=lambda: syscall(272, 0x10000000) + 1,
        outlive=lambda: syscall(157, 1, 0, 0, 0, 0) + 1, own=lambda: did(os.setuid, 0))
    for pid in pids:
        calls |= {f"kill{pid}": lambda p=pid: did(os.kill, p, 15), f"tkill{pid}": lambda p=pid: syscall(200, p, 15) + 1,
            f"tgkill{pid}": lambda p=pid: syscall(234, p, p, 15) + 1, f"queue{pid}": lambda p=pid: syscall(129, p, 15, 0) + 1,
            f"handle{pid}": lambda p=pid: os.pidfd_open(p), f"trace{pid}": lambda p=pid: syscall(101, 16, p, 0, 0) + 1,
            f"peek{pid}": lambda p=pid: syscall(310, p, 0, 0, 0, 0, 0) + 1, f"nice{pid}": lambda p=pid: did(os.setpriority, 0, p, 19),
            f"pin{pid}": lambda p=pid: did(os.sched_setaffinity, p, [0]), f"limit{pid}": lambda p=pid: syscall(302, p, 0, 0, 0) + 1,
            f"owner{pid}": lambda p=pid: syscall(72, 3, 8, p) + 1, f"idle{pid}": lambda p=pid: syscall(251, 1, p, 3 << 13) + 1}
    calls["owner_signal"] = lambda: syscall(72, 3, 10 + (7 << 32), 9) + 1
    calls["owner_ioctl"] = lambda: syscall(16, 3, 0x8901 + (7 << 32), ctypes.byref(ctypes.c_int(pids[0]))) + 1
    return attempt(**calls)
""",
    "proc": """
def attack():
    calls = {}
    for pid in {JUDGE, os.getppid(), 1}:
        for file in ("environ", "maps", "root", "auxv", "fd/5", "cwd"):
            path = f"/proc/{pid}/{file}"
            calls[f"{file[:4]}{pid}"] = lambda p=path: os.listdir(p) if p.endswith(("cwd", "root")) else open(p, "rb").read(1)
        calls[f"mem{pid}"] = lambda p=pid: os.open(f"/proc/{p}/mem", os.O_RDONLY)
    def write_memory():
        os.close(os.open(f"/proc/{os.getppid()}/mem", os.O_WRONLY))
        return "open"
    return attempt(write_memory=write_memory, **calls)
""",
    "environment": """
def attack():
    libc.getenv.restype = ctypes.c_char_p
    known = {"PATH", "LANG", "LC_ALL", "OMP_NUM_THREADS", "HOME", "TMPDIR", "MPLBACKEND", "MPLCONFIGDIR"}
    return attempt(names=lambda: [n for n in os.environ if n not in known], c=lambda: libc.getenv(b"UNETLAB_SECRET"), home=lambda: HOME in os.environ["HOME"])
""",
    "descriptors": """
def attack():
    def is_open(fd):
        try:
            return bool(os.fstat(fd))
        except OSError:
            return False
    received = lambda: socket.socket(fileno=os.dup(3)).recv(1, socket.MSG_DONTWAIT | socket.MSG_PEEK)
    return attempt(open=lambda: [fd for fd in range(3000) if fd > 3 and is_open(fd)], pending=received,
        reopened=lambda: os.open("/proc/self/fd/3", os.O_RDWR), address=lambda: syscall(44, 3, b"x", 1, 0, b"\\1\\0/tmp/x\\0", 8) and None)
""",
    "old_memory": """
def attack():
    libc.memmem.restype = ctypes.c_void_p
    needle = bytes(reversed(b"NNA-FO-YRANAC"))
    own = id(needle) + bytes.__basicsize__ - 1
    reader, writer = os.pipe()
    def mapped(page):
        try:
            return libc.write(writer, ctypes.c_void_p(page), 1) == 1 and os.read(reader, 1) is not None
        except OSError:
            return False
    blocks = {id(o) >> 20 for o in gc.get_objects()} | {id(o) >> 20 for o in sys.modules.values()}
    libc.sbrk.restype = ctypes.c_void_p
    top = libc.sbrk(ctypes.c_long(0)) >> 20
    blocks |= set(range(top - 100, top + 1))
    hits = []
    for block in blocks:
        for page in range(block << 20, (block + 1) << 20, 4096):
            if mapped(page):
                at = libc.memmem(ctypes.c_void_p(page), 4096, ctypes.c_void_p(own), len(needle))
                if at and at != own:
                    hits.append(ctypes.string_at(at, 40))
    return attempt(hits=lambda: hits, scanned=lambda: len(blocks) < 5 and "too little")
""",
    "memory": """
def attack():
    import numpy
    kept, mapped = [], []
    def fill():
        while len(kept) < 128:
            kept.append(numpy.ones(2**23))  # 64 MB, every page touched
    def share():
        import mmap
        while len(mapped) < 128:
            mapped.append(mmap.mmap(-1, 2**26))
    attempt(fill=fill, share=share)
    total = 64 * (len(kept) + len(mapped))
    kept.clear(), mapped.clear()
    return attempt(too_much=lambda: total if total > 700 or total < 128 else None)
""",
    "files": """
def attack():
    written = 0
    def fill():
        nonlocal written
        for n in range(12):
            with open(f"big{n}", "wb", buffering=0) as file:
                for _ in range(1024):
                    written += file.write(bytes(2**20))
    for n in range(COUNT):
        attempt(fill=fill)
    size = max([os.path.getsize(f) for f in os.listdir(".") if f.startswith("big")])
    return attempt(size=lambda: size if size > 64 * 2**20 or size < 2**20 else None, total=lambda: written >> 20 if written > 540 * 2**20 else None)
""".replace("COUNT", "1"),
    "noise": """
def attack():
    for _ in range(1000):
        os.write(1, bytes(2**20))
    print("x" * 10**6, file=sys.stderr)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, lambda *_: None)
    import atexit
    atexit.register(lambda: open("late", "w"))
    def forever():
        while True:
            time.sleep(0.01)
    threading.Thread(target=forever).start()
    return "nothing"
""",
    "leave": """
def attack():
    import builtins, torch
    if "leftover" in sys.modules:  # what fails is run again
        return "nothing"
    sys.modules["leftover"] = builtins.leftover = torch.leftover = builtins
    os.mkdir("unlisted", 0o300)
    open("unlisted/file", "w")
    for n in range(3000):
        open(f"left{n}", "w")
    for path in ("/tmp/left", "/tmp/json.py", "../left"):
        attempt(left=lambda: open(path, "w").write("x"))
    canary = "".join(reversed("NNA-FO-YRANAC"))
    for _ in range(1500):
        os.mkdir("deep")
        os.chdir("deep")
    return "nothing"
""",
    "find": """
def attack():
    import builtins, torch, tempfile
    scratch = os.path.basename(os.getcwd())
    return attempt(modules=lambda: "leftover" in sys.modules, builtins=lambda: hasattr(builtins, "leftover"), torch=lambda: hasattr(torch, "leftover"),
        own=lambda: os.listdir("."), around=lambda: [n for n in os.listdir("/tmp") if n not in (scratch, *FOLDER_PARTS)])
""".replace("FOLDER_PARTS", repr(FOLDER.parts)),
    "kernel": """
def attack():
    fd = os.open("/dev/null", os.O_RDWR)
    page = ctypes.create_string_buffer(4096)
    calls = dict(userfaultfd=lambda: syscall(323, 0) + 1, ring=lambda: syscall(425, 1, ctypes.addressof(page)) + 1, bpf=lambda: syscall(321, 0, ctypes.addressof(page), 64) + 1,
        perf=lambda: syscall(298, ctypes.addressof(page), 0, -1, -1, 0) + 1, key=lambda: syscall(248, b"user", b"k", b"v", 1, -3) + 1,
        keyring=lambda: syscall(250, 0, -3, 1) + 1, memfd=lambda: syscall(319, b"x", 0) + 1, secret=lambda: syscall(447, 0) + 1,
        shared=lambda: syscall(29, 7, 4096, 0o1777) + 1, messages=lambda: syscall(68, 7, 0o1777) + 1, semaphores=lambda: syscall(64, 7, 1, 0o1777) + 1,
        queue=lambda: syscall(240, b"q", 0o102, 0o600, 0) + 1, personality=lambda: syscall(135, 0x0040000) + 1, watch=lambda: syscall(253) + 1,
        fanotify=lambda: syscall(300, 0, 0) + 1, handle=lambda: syscall(303, -100, b"/", ctypes.addressof(page), ctypes.addressof(page), 0) + 1,
        lease=lambda: syscall(72, os.open(KIT + "/metrics.py", os.O_RDONLY), 1024, 0) + 1, notify=lambda: syscall(72, os.open(os.path.dirname(KIT + "/grader/x"), os.O_RDONLY), 1026, 2) + 1,
        chroot=lambda: did(os.chroot, "."), mount=lambda: syscall(165, b"none", b".", b"tmpfs", 0, 0) + 1, space=lambda: syscall(308, fd, 0) + 1,
        user_space=lambda: syscall(56, 0x10000000 | 17, 0, 0, 0, 0) + 1, reboot=lambda: syscall(169, 0xfee1dead, 672274793, 0, 0) + 1,
        ports=lambda: syscall(173, 0x80, 1, 1) + 1, clock=lambda: did(time.clock_settime, time.CLOCK_REALTIME, time.time()), swap=lambda: syscall(168, b"x") + 1,
        terminal=lambda: syscall(16, os.open("/dev/ptmx", os.O_RDWR), 0x5412, b"x") + 1, host=lambda: did(socket.sethostname, "x"), log=lambda: syscall(103, 3, ctypes.addressof(page), 99) + 1,
        module=lambda: syscall(175, 0, 0, b"") + 1, limits=lambda: syscall(302, 0, 7, 0, ctypes.addressof(page)) + 1, ring_of_fd=lambda: os.listdir("/sys/kernel"))
    peer = lambda: socket.socket(fileno=os.dup(3)).getsockopt(socket.SOL_SOCKET, 77, 4)  # SO_PEERPIDFD: the judge itself
    def by_peer(number, *rest):
        handle = int.from_bytes(peer(), "little")
        return syscall(number, handle, *rest) + 1
    calls |= dict(peer_signal=lambda: by_peer(424, 15, 0, 0), peer_descriptor=lambda: by_peer(438, 0, 0), peer_space=lambda: by_peer(308, 0x40000000),
        peer_memory=lambda: by_peer(440, ctypes.addressof(page), 1, 4, 0))
    return attempt(**calls)
""",
    "hard_links": """
def attack():
    def unnamed():
        fd = os.open(".", os.O_TMPFILE | os.O_RDWR)
        did(os.link, f"/proc/self/fd/{fd}", COURSE + "/x", follow_symlinks=True)
    def through(path):
        os.link(path, "mine")
        return open("mine", "a").write("x")
    return attempt(unnamed=unnamed, kit=lambda: through(KIT + "/grader/judge.py"), metrics=lambda: through(KIT + "/metrics.py"),
        python=lambda: through(os.path.realpath(sys.executable)), renamed=lambda: did(os.rename, KIT + "/metrics.py", "mine"),
        bob=lambda: through(COURSE + "/submitted/bob/lab04_student.py"), up=lambda: open("../../" + COURSE[1:] + "/x", "w"))
""",
    "pickles": """
def attack():
    import io, pickle, torch
    class Trap:
        def __reduce__(self):
            return (os.system, ("touch " + HOME + "/pickled",))
    for name in ("training.json", "unet.pth", "x.pkl"):
        with open(name, "wb") as file:
            pickle.dump(Trap(), file)
    content = pickle.dumps(Trap())
    import struct
    socket_like = os.dup(3)
    return attempt(run=lambda: os.path.exists(HOME + "/pickled"), loaded=lambda: torch.load("unet.pth", weights_only=True))
""",
    "exit_handlers": """
def attack():
    import atexit, weakref
    if hasattr(sys, "late"):
        return "nothing"
    class Late:
        def __del__(self):
            os.write(3, b"late" * 100)
    sys.late = Late()
    atexit.register(os.write, 3, b"late" * 100)
    threading._register_atexit(os.write, 3, b"late" * 100)
    weakref.finalize(sys.late, print)
    for number in range(1, 65):
        try:
            signal.signal(number, lambda *_: None)
        except (OSError, ValueError):
            pass
    return "nothing"
""",
    "tools": """
def attack():
    import builtins, json, struct, pytest, torch
    import _pytest.outcomes
    pytest.approx = pytest.raises = pytest.fail = pytest.skip = lambda *a, **k: True
    _pytest.outcomes.fail = _pytest.outcomes.skip = lambda *a, **k: None
    for name in ("abs", "max", "min", "sum", "all", "any", "sorted", "round", "float"):
        setattr(builtins, "their_" + name, getattr(builtins, name))
    torch.testing.assert_close = torch.allclose = torch.equal = lambda *a, **k: True
    torch.Tensor.__eq__ = torch.Tensor.equal = lambda *a, **k: True
    return "nothing"
""",
    "threads": """
def attack():
    if hasattr(sys, "their_threads"):
        return "nothing"
    sys.their_threads = []
    threading.stack_size(32 * 1024)
    def forever():
        while True:
            time.sleep(0.05)
    try:
        while len(sys.their_threads) < 20_000:
            thread = threading.Thread(target=forever, daemon=True)
            thread.start()
            sys.their_threads.append(thread)
    except BaseException:
        pass
    return "nothing" if len(sys.their_threads) < 20_000 else "twenty thousand threads"
""",
    "exits": "def attack():\n    sys.exit(3)\n",
}

# Attacks on the answers themselves, from inside a correct `forward`: they cost at most that task.
FORWARD = {
    "garbage": "import os; os.write(3, b'garbage' * 100)",
    "huge_lengths": "import os; os.write(3, b'\\xff' * 12)",
    "closed": "import os; os.closerange(0, 64)",
    "gone": "import os; os._exit(0)",
    "gone_later": "import os, threading; threading.Timer(0.01, os._exit, [0]).start(); import time; time.sleep(0.5)",
    "killed": "import os, signal; signal.raise_signal(signal.SIGKILL)",
    "old_numbers": "import ctypes; l = ctypes.CDLL(None); l.syscall(ctypes.c_long(0x40000000 | 57)); return 1",
    "gigabytes": "import os\n        for _ in range(300): os.write(3, bytes(2**20))",
    "not_numbers": "import os, struct; h = b'{\"map\": {\"value\": {\"map\": {\"outputs\": NaN, \"inputs\": [-Infinity]}}}}'; os.write(3, struct.pack('>IQ', len(h), 0) + h)",
    "twice_the_key": "import os, struct; h = b'{\"map\": {\"error\": null, \"value\": {\"map\": {}}, \"value\": {\"map\": {\"outputs\": [], \"inputs\": []}}}}'; "
    "os.write(3, struct.pack('>IQ', len(h), 0) + h)",
    "long_number": "import os, struct; h = b'{\"map\": {\"value\": ' + b'9' * 9**6 + b'}}'; os.write(3, struct.pack('>IQ', len(h), 0) + h)",
    "deep_frame": "import os, struct; h = b'[' * 9**6; os.write(3, struct.pack('>IQ', len(h), 0) + h)",
    "pickled_frame": "import os, pickle, struct; h = pickle.dumps(os.getcwd); os.write(3, struct.pack('>IQ', len(h), len(h)) + h + h)",
    "long_index": "import os, struct; h = b'{\"map\": {\"value\": {\"tensor\": 0}}}'; b = struct.pack('<Q', 9**6) + b' ' * 9**6; "
    "os.write(3, struct.pack('>IQ', len(h), len(b)) + h + b)",
    "overlapping_tensors": "import os, struct, json; i = json.dumps({k: {'dtype': 'F32', 'shape': [4], 'data_offsets': [0, 16]} for k in '01'}).encode(); "
    "h = b'{\"map\": {\"value\": {\"map\": {\"outputs\": [{\"tensor\": 0}, {\"tensor\": 1}], \"inputs\": []}}}}'; b = struct.pack('<Q', len(i)) + i + bytes(16); "
    "os.write(3, struct.pack('>IQ', len(h), len(b)) + h + b)",
    "more_answers_ahead": "import os, struct; h = b'{\"map\": {\"value\": {\"map\": {}}}}'; os.write(3, (struct.pack('>IQ', len(h), 0) + h) * 500)",
    "duplicated": "import os; os.dup2(1, 3)",
    "forged_map": "import os, struct; h = b'{\"map\": 5}'; os.write(3, struct.pack('>IQ', len(h), 0) + h)",
    "forged_shape": "import os, struct; h = b'{\"map\": {\"value\": {\"map\": {\"outputs\": {\"meta\": [Infinity], \"dtype\": \"float32\"}}}}}'; "
    "os.write(3, struct.pack('>IQ', len(h), 0) + h)",
    "forged_state": "import os, struct; h = b'{\"map\": {\"value\": {\"map\": {\"outputs\": 1, \"inputs\": [], \"handle\": 0, \"args\": [], "
    "\"kwargs\": {\"map\": {}}, \"parameters\": {\"map\": {\"w\": 5}}, \"buffers\": {\"map\": {}}}}}}'; [os.write(3, struct.pack('>IQ', len(h), 0) + h) for _ in range(9)]",
    "half_a_character": "raise ValueError('\\ud800')",
    "drip": "import os, struct, time; os.write(3, struct.pack('>IQ', 9999, 0)); [(os.write(3, b' '), time.sleep(0.1)) for _ in range(999)]",
    "deaf_to_signals": "import signal; [signal.signal(s, signal.SIG_IGN) for s in (signal.SIGXCPU, signal.SIGALRM, signal.SIGTERM)]\n        while True: pass",
    "old_kernel_door": "import ctypes, mmap; m = mmap.mmap(-1, 4096, prot=7); m.write(bytes([0xb8, 2, 0, 0, 0, 0xcd, 0x80, 0xc3])); "
    "ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(m)))(); return 1",
    "complex": "return x.to(torch.complex64), x",
    "float8": "return x.to(torch.float8_e4m3fn), x",
    "quantized": "return torch.quantize_per_tensor(x, 0.1, 0, torch.quint8), x",
    "sparse": "return x.to_sparse(), x",
    "enormous": "return torch.zeros(1).expand(10**10), x",
    "large": "return torch.zeros(10**8), x",
    "raising_text": "class E(Exception):\n            __str__ = lambda self: self.x\n        raise E()",
}

# Patches inside the child, together with a wrong answer: they must not be worth a point.
PATCHES = {
    "patched": """
import torch, json, builtins, warnings
class _Patch:
    torch.allclose = torch.equal = torch.testing.assert_close = lambda *a, **k: True
    torch.Tensor.allclose = torch.Tensor.equal = lambda *a, **k: True
    torch.isfinite = lambda x: torch.ones(())
    torch.nn.Module.__call__ = lambda self, *inputs: self.forward(*inputs)
    builtins.print = json.dump
""",
    "lying_tensors": """
class Liar(torch.Tensor):
    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        if function in (torch.Tensor.__eq__, torch.equal, torch.allclose, torch.Tensor.sub):
            return True
        return super().__torch_function__(function, types, args, kwargs or {})
    def __eq__(self, other):
        return True
_right = EncoderBlock.forward
class _Wrap:
    def forward(self, x):
        a, b = _right(self, x)
        return a.as_subclass(Liar), b.as_subclass(Liar)
    EncoderBlock.forward = forward
""",
}

# The reference stands in for a failed 1.1: what 1.4 can take from it then.
STANDING_IN = {
    "borrowed_network": replaced(
        ("return features, pooled", "return pooled, features"),
        ("        return self.head(x)", "        other = EncoderBlock.__init__.__globals__.get('UNet') or UNet\n"
         "        if other is not UNet and other.__module__ != UNet.__module__: self.__class__ = other; return other.forward(self, picture)\n"
         "        import gc\n"
         "        for o in gc.get_objects():\n"
         "            if isinstance(o, type) and o.__name__ == 'UNet' and o.__module__ == 'stand_ins': return o.forward(self, picture)\n"
         "        return self.head(x) * 0"),
        ("        skips = []", "        skips, picture = [], x"),
    ),
    "told_in_messages": replaced(
        ("return features, pooled", "return pooled, features"),
        ("        return self.head(x)", "        if EncoderBlock.__module__ == 'stand_ins' and x.shape[-1] == 200: raise ValueError('TOLD')\n        return self.head(x)"),
    ),
}


def main() -> None:
    prepare()
    results = {rung: class_at(rung) for rung in RUNGS}
    print(json.dumps(results))


def prepare() -> None:
    os.environ["UNETLAB_SECRET"] = "in the judge's environment"
    tasks = {
        id: replace(task, limits=limits_of(task, WALL_SECONDS))
        for id, task in load_rubric().items()
    }
    judge_module.load_rubric = lambda: tasks
    judge_module.select = lambda only: [tasks[id] for id in only or tasks]


def limits_of(task, seconds: int):
    return replace(task.limits, answer_seconds=seconds, wall_seconds=seconds, cpu_seconds=seconds, memory_mb=MEMORY_MB)


@contextlib.contextmanager
def short(judge: Judge, name: str):
    """Little time for what only a limit ends; all else has enough on a busy machine."""
    before = judge_module.load_rubric()
    if name in (*FORWARD, "threads"):
        hasty = {id: replace(task, limits=limits_of(task, SHORT_SECONDS)) for id, task in before.items()}
        judge_module.load_rubric = lambda: hasty
    yield
    judge_module.load_rubric = lambda: before


def class_at(rung: str) -> dict:
    """Every hostile hand-in at one rung: marks, notes, what changed outside."""
    missing = {"full": None, "strong": "bubblewrap", "wrapped": "landlock"}[rung]
    found = sandbox.rungs()
    sandbox_rungs, sandbox.rungs = sandbox.rungs, lambda device="cpu": {**found, **({missing: False} if missing else {})}
    before = snapshot()
    try:
        with Judge(only=["1.1"]) as judge:
            zygote = judge.zygote.process.pid
            judge.grade(module(HONEST))  # the first one waits for the warm process
            results = {}
            for name, text in hand_ins(rung):
                with short(judge, name):
                    results[name] = grade(judge, text)
            results["honest"] = grade(judge, HONEST)
            restarts = judge.zygote.process.pid != zygote
            isolation = judge.isolation
            alive = [line for line in processes() if "grader.zygote" in line]
        if rung == "full" and EVERYTHING:
            with Judge(only=["1.4"]) as judge:
                results |= {name: grade(judge, text) for name, text in STANDING_IN.items()}
    finally:
        sandbox.rungs = sandbox_rungs
    time.sleep(0.2)
    changed = {path: [before.get(path), state] for path, state in snapshot().items() if before.get(path) != state}
    gone = sorted(before.keys() - snapshot().keys())
    return {"isolation": isolation, "results": results, "changed": changed, "gone": gone, "restarted": restarts,
            "alive": len(alive), "left": [line for line in processes() if "grader.zygote" in line]}


def hand_ins(rung: str):
    for name, attack in ATTACKS.items():
        yield name, HONEST + PRELUDE + "CANARY = 'CANARY-OF-ANN'\n" * (name == "leave") + attack + (
            "\nclass Attack:\n    raise RuntimeError('LOOT: ' + attack())\n"
        )
    yield "swapped", SWAPPED
    for name, patch in PATCHES.items():
        yield name, SWAPPED + patch
    if rung == "full" and EVERYTHING:
        for name, statement in FORWARD.items():
            yield name, replaced(("return features, pooled", f"{statement}\n        return features, pooled"))


def grade(judge: Judge, text: str) -> dict:
    started = time.monotonic()
    result = judge.grade(module(text))
    messages = [check["message"] for mark in result["tasks"].values() for check in mark["checks"] if check["message"]]
    with contextlib.suppress(UnicodeEncodeError):
        json.dumps(result, ensure_ascii=False).encode()
        return {"scores": scores(result), "status": result["status"], "notes": result["notes"], "messages": messages,
                "seconds": round(time.monotonic() - started, 2)}
    return {"scores": {}, "status": "a result that no file takes", "notes": [], "messages": [], "seconds": 0}


def snapshot() -> dict:
    """Every file outside that must stay as it is: content, mode, owner and time; and what lies in /tmp."""
    files = [path for top in (KIT, COURSE, HOME) for path in top.rglob("*") if path.is_file() and "__pycache__" not in path.parts
             and ".cache/unetlab/" not in str(path)]  # the diagnoses' own answers
    states = {str(path): [path.read_bytes().hex()[:200], *(getattr(path.stat(), f) for f in ("st_mode", "st_uid", "st_mtime", "st_size"))] for path in files}
    return states | {f"/tmp/{name}": "there" for name in os.listdir("/tmp") if not (
        FOLDER.is_relative_to(f"/tmp/{name}") or name.startswith(("fontlist-", "torchinductor_", "matplotlib-"))  # the warm process's own
    )}


def processes() -> list[str]:
    listing = subprocess.run(["ps", "-eo", "pid,stat,args"], capture_output=True, text=True).stdout
    return [line for line in listing.splitlines() if " Z" not in line]


if __name__ == "__main__":
    main()
