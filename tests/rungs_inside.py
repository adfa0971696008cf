"""Tries small attacks with one rung of the sandbox in force at a time, or none, and prints as JSON which got through.

Run by test_rungs.py, always inside an outer wall: `python rungs_inside.py FOLDER RUNG...`.
"""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

IS_SCRIPT = __name__ == "__main__"  # test_rungs.py takes the names of the attacks from here
FOLDER = Path(sys.argv[1] if IS_SCRIPT else "")
KIT, COURSE, HOME = FOLDER / "kit", FOLDER / "course", FOLDER / "home"
sys.path[:0] = [str(KIT)] * IS_SCRIPT

from grader import sandbox  # noqa: E402

LIMITS = {"memory_mb": 256, "file_mb": 1, "device": "cpu"}

# Runs beyond the rung, as a child of the warm process would: what it says goes to descriptor 3.
BEYOND = """
import ctypes, fcntl, json, mmap, os, signal, socket, sys, tempfile, threading, time
from grader import sandbox
given = json.loads(sys.argv[1])
found, victim, port = given["found"], given["victim"], given["port"]
libc = ctypes.CDLL(None, use_errno=True)

def syscall(*arguments):
    if libc.syscall(*map(ctypes.c_long, arguments)) < 0:
        raise OSError(ctypes.get_errno(), "refused")
    return True

def holds(function, *arguments):
    function(*arguments)
    return True

def connect(family, address):
    with socket.socket(family) as connection:
        connection.settimeout(2)
        connection.connect(address)
    return True

def fork():
    child = os.fork()
    if child == 0:
        os._exit(0)
    return os.waitpid(child, 0)[0] == child

def fill():
    for number in range(24):
        with open(f"part{number}", "wb") as file:
            file.write(bytes(2**20 - 1))
    return True

def many_threads():
    stop = threading.Event()
    threading.stack_size(64 * 1024)
    threads = [threading.Thread(target=stop.wait) for _ in range(2000)]
    started = []
    try:
        for thread in threads:
            thread.start()
            started.append(thread)
    finally:
        stop.set()
        for thread in started:
            thread.join()
    return True

def large():
    with open("large", "wb", buffering=0) as file:
        file.seek(2**21)
        return file.write(b"x") == 1

def spin():
    end = max(given["limits"]["cpu_seconds"], time.process_time()) + 0.6  # the start alone may have taken the limit
    while time.process_time() < end:
        pass
    return True

def lease():
    with open(given["kit"] + "/metrics.py", "rb") as file:  # which a child may read
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    return True

course, home, neighbour = given["course"], given["home"], tempfile.mkdtemp(prefix="unetlab-neighbour-")
with open(neighbour + "/secret", "w") as file:
    file.write("secret")
PROBES = {
    "read the solutions": lambda: open(given["kit"] + "/solutions/reference.py").read(9) != "",
    "read another hand-in": lambda: open(course + "/submitted/bob/lab04_student.py").read() != "",
    "read a neighbour's scratch": lambda: open(neighbour + "/secret").read() != "",
    "write into the home": lambda: open(home + "/.ssh/id_rsa", "a").write("x") == 1,
    "empty the gradebook": lambda: holds(os.truncate, course + "/gradebook.db", 2),
    "open the gradebook to all": lambda: holds(os.chmod, course + "/gradebook.db", 0o666),
    "learn a file's size": lambda: os.stat(course + "/gradebook.db").st_size > 0,
    "see the processes": lambda: str(victim) in os.listdir("/proc"),
    "find a process by its number": lambda: holds(os.getpriority, os.PRIO_PROCESS, victim),
    "signal a process": lambda: holds(os.kill, victim, 0),
    "start a process": fork,
    "reach a port": lambda: connect(socket.AF_INET, ("127.0.0.1", port)),
    "reach an abstract socket": lambda: connect(socket.AF_UNIX, given["abstract"].encode("latin-1")),
    "open a netlink socket": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW).fileno() >= 0,
    "make a key": lambda: syscall(250, 0, -3, 1),
    "map a file of memory alone": lambda: os.memfd_create("x") >= 0,
    "outlive the warm process": lambda: syscall(157, 1, 0, 0, 0, 0),
    "hold up who opens a file": lease,
    "start two thousand threads": many_threads,
    "map a gigabyte": lambda: mmap.mmap(-1, 2**30).close() is None,
    "write a large file": large,
    "fill the scratch folder": fill,
    "compute for longer": spin,
}

scratch = tempfile.mkdtemp(prefix="unetlab-")
if not found["rlimits"]:
    sandbox._limit = lambda limits: None
sandbox._drop_capabilities()
sandbox.enter(scratch, given["limits"], found)
os.set_inheritable(3, False)
for probe in given["probes"]:
    try:
        got = PROBES[probe]()
    except BaseException:
        got = False
    os.write(3, (json.dumps([probe, bool(got)]) + "\\n").encode())
"""
PROBES = [line.split('"')[1] for line in BEYOND.splitlines() if line.startswith('    "')]
ALONE = {"compute for longer"}  # ends the process where it is stopped
CPU_SECONDS, AMPLE_CPU_SECONDS = 1, 120  # for that one, and for all others together on however slow a machine


def main() -> None:
    sandbox.SCRATCH_MB = 16
    victim = subprocess.Popen(["sleep", "1000"])
    try:
        with socket.create_server(("127.0.0.1", 0)) as server:
            print(json.dumps({rung: through(rung, server.getsockname()[1], victim.pid) for rung in sys.argv[2:]}))
    finally:
        victim.kill()


def through(rung: str, port: int, victim: int) -> dict[str, bool]:
    """Probe → whether it got through with this rung alone."""
    together = [probe for probe in PROBES if probe not in ALONE]
    with socket.socket(socket.AF_UNIX) as abstract:
        abstract.bind("")  # a name of the kernel's choice
        abstract.listen()
        given = {"abstract": abstract.getsockname().decode("latin-1"), "port": port, "victim": victim}
        got = tried(rung, given | {"probes": together}, AMPLE_CPU_SECONDS)
        if list(got) != together:
            raise SystemExit(f"with {rung} alone the process ended before it had tried {together[len(got)]!r}")
        for probe in ALONE:
            got[probe] = tried(rung, given | {"probes": [probe]}, CPU_SECONDS).get(probe, False)
    return {probe: got[probe] for probe in PROBES}


def tried(rung: str, given: dict, cpu_seconds: int) -> dict[str, bool]:
    """Probe → whether it got through, of those that the process lived to try."""
    found = {name: name == rung for name in ("bubblewrap", "landlock", "seccomp", "rlimits")}
    given |= {"found": found, "limits": LIMITS | {"cpu_seconds": cpu_seconds}, "kit": str(KIT), "course": str(COURSE), "home": str(HOME)}
    command = sandbox.wrapped([sys.executable, "-c", BEYOND, json.dumps(given)], found)
    reader, writer = os.pipe()
    process = subprocess.Popen(["sh", "-c", f'exec "$@" 3>&{writer}', "sh", *command], pass_fds=[writer], cwd="/",
                               env={"PATH": os.environ["PATH"], "PYTHONPATH": str(KIT), "PYTHONDONTWRITEBYTECODE": "1"})
    os.close(writer)
    with open(reader) as lines:
        return dict(map(json.loads, lines))


if IS_SCRIPT:
    main()
