"""The warm process: imports torch once, then forks the sandboxed children that submissions live in.

Started by the judge as `python -m grader.zygote FD RUNGS`. It holds no check and no solution, uses
one thread and never touches CUDA. Requests on the control socket: {"fork": {"limits"}} with the
child's socket as a descriptor, {"reap": pid}, {"waited": pid}. Sources and stand-ins go to the child itself, in the
first message on its own socket: what this process has held, every later child could find in its memory.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import importlib
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator

import torch

from . import sandbox, wire
from .definitions import Cell, Source, load
from .servant import Servant, StudentError

# What submissions import: before the fork it costs nothing, after it a file read each.
COMMON = ["numpy", "matplotlib.pyplot", "torchvision", "torchvision.transforms.v2", "PIL.Image", "tqdm.auto",
          "data_utils", "drawn_pets", "metrics", "viz", "torch.utils.data", "grader", "grader.mine", "grader.pack"]


def main() -> None:
    """Serve fork and reap requests until the judge closes the control socket."""
    control = socket.socket(fileno=int(sys.argv[1]))
    found = json.loads(sys.argv[2])
    torch.set_num_threads(1)  # before any computation: a child of a process with a thread pool hangs
    torch.set_num_interop_threads(1)
    # oneDNN compiles a kernel for each new shape, in each child anew; on the checks' small tensors that never pays
    torch.backends.mkldnn.set_flags(False)
    sys.path[:] = [path for path in sys.path if path not in ("", os.getcwd())]  # a folder that others may write
    sandbox.prepare(found)
    with _no_gpu():
        warm_up()
    gc.collect()
    gc.freeze()  # a collection in a child would write to, and so copy, every page that holds an object
    wire.send(control, {"ready": True})
    while True:
        try:
            request = wire.receive(control)
        except wire.Broken:
            return
        if "waited" in request:
            wire.send(control, {"seconds": waited(request["waited"])})
        elif "reap" in request:
            wire.send(control, reap(request["reap"], request["scratch"], found))
        else:
            _, descriptors, _, _ = socket.recv_fds(control, 1, 1)
            wire.send(control, spawn(request["fork"], descriptors[0], found))
            os.close(descriptors[0])


@contextlib.contextmanager
def _no_gpu() -> Iterator[None]:
    """No import and no optimizer finds a GPU: the children of a process that has only asked for one cannot use it."""
    asked, torch.cuda.is_available = torch.cuda.is_available, lambda: False
    try:
        yield
    finally:
        torch.cuda.is_available = asked


def warm_up() -> None:
    """Touch what children use, so that nothing is imported or allocated lazily behind the wall."""
    for name in COMMON:
        try:
            importlib.import_module(name)
        except ImportError as error:
            print(f"note: {name} is not importable here: {error}", file=sys.stderr)
    namespace = {"Block": _WarmBlock}
    servant = Servant(namespace)
    for device, dtype in (("meta", None), (None, "float64"), (None, None)):
        block = servant.make("Block", [], {}, device, dtype, 0)["handle"]
        x = torch.ones(1, 1, 8, 8, device=device, dtype=getattr(torch, dtype or "float32"))
        servant.call(block, [x], 0)
    servant.vjp(block, [x], 0)
    weights = [torch.nn.Parameter(torch.ones(2))]
    weights[0].grad = torch.ones(2)
    optimizer = torch.optim.Adam(weights)  # its first step imports torch._dynamo, seconds that every training child would pay
    optimizer.step()
    torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer).step(1.0)


class _WarmBlock(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.down = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3, padding=1), torch.nn.BatchNorm2d(2), torch.nn.MaxPool2d(2))
        self.up = torch.nn.ConvTranspose2d(2, 1, 2, stride=2)

    def forward(self, x):
        x = self.up(self.down(x))
        x = torch.nn.functional.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
        return torch.sigmoid(torch.nn.functional.pad(x, (0, 1, 0, 1)))


def spawn(config: dict, connection: int, found: dict) -> dict:
    """Fork a child that serves on `connection`; the reply names its process and its scratch folder."""
    scratch = tempfile.mkdtemp(prefix="unetlab-")
    child = os.fork()
    if child == 0:
        try:
            os.dup2(connection, 3)
            live(scratch, config, found)
        finally:
            os._exit(0)
    return {"pid": child, "scratch": scratch}


def live(scratch: str, config: dict, found: dict) -> None:
    """The child's whole life on the socket at descriptor 3; that the wall stands is said before any line of the submission runs."""
    connection = socket.socket(fileno=3)
    try:
        limits = config["limits"]
        last = [functools.partial(_start_cuda, limits["gpu_share"])] if limits["device"] == "cuda" else []
        sandbox.enter(scratch, limits, found, *last)
    except BaseException as error:
        wire.send(connection, {"fault": f"{type(error).__name__}: {error}"})
        return
    wire.send(connection, {"entered": True})
    serve(connection, {**config, **wire.receive(connection)})


def _start_cuda(share: float) -> None:
    """Open the GPU, before any line of the submission: where that fails, it is no fault of the submission's.

    And before the wall: NVIDIA's driver makes a socket and shared memory when it starts, which no child may.
    """
    torch.cuda.set_per_process_memory_fraction(share)  # beyond it, PyTorch raises OutOfMemoryError
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False  # float32 is compared with a CPU's
    x = torch.ones(1, 1, 8, 8, device="cuda")
    torch.nn.functional.conv2d(x, x[..., :3, :3], padding=1)  # loads cuDNN
    torch.mm(x[0, 0], x[0, 0])  # loads cuBLAS
    torch.cuda.synchronize()


def waited(pid: int) -> float:
    """Seconds that a process was ready to run and no core was free; 0 where this kernel does not count them."""
    try:
        with open(f"/proc/{pid}/schedstat") as file:
            return int(file.read().split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0


def reap(pid: int, scratch: str, found: dict) -> dict:
    """End a child, remove whatever files it leaves, and say how it ended, and for how long it had no core."""
    without_core = waited(pid)
    try:
        os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        ended = {"code": os.waitstatus_to_exitcode(status)}
    except (ProcessLookupError, ChildProcessError):
        ended = {"code": 0}
    ended["waited"] = without_core
    _remove(scratch)
    if found["bubblewrap"] and not found["landlock"]:  # then all of the private /tmp was open to it
        for left in os.scandir(tempfile.gettempdir()):
            _remove(left.path)
    return ended


def _remove(path: str) -> None:
    """Remove a file or folder, however deep, however many, and even if its owner may not list it."""
    try:
        os.rmdir(path)  # an empty folder, as nearly always
    except OSError:
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        subprocess.run(["chmod", "-R", "u+rwX", "--", path], **quiet)
        subprocess.run(["rm", "-rf", "--", path], **quiet)


def serve(connection: socket.socket, config: dict) -> None:
    """The child's life: load the submission, then answer requests until the socket closes."""
    sources = [
        Source(source["name"], [Cell(**cell) for cell in source["cells"]]) for source in config["sources"]
    ]
    gc.disable()  # syntax trees are many objects and no cycles
    loaded = load(sources, _stand_ins(**config["stand_ins"]))
    gc.enable()
    servant = Servant(loaded.namespace, config["limits"]["device"], loaded.missing)
    wire.send(connection, {"notes": loaded.notes})
    while True:
        request = wire.receive(connection)
        try:
            if request["operation"] == "forget":
                torch.backends.mkldnn.set_flags(False)  # as it was found
            reply = {"value": servant.answer(request["operation"], request["fields"])}
        except StudentError as error:
            reply = {"error": [error.type, error.message, error.where]}
        except BaseException as error:  # SystemExit, KeyboardInterrupt: raised by the submission, like any other
            reply = {"error": [type(error).__name__, str(error)[:400], ""]}
        try:
            wire.send(connection, reply)
        except wire.Broken:
            raise
        except Exception as error:  # before the first byte: a complex tensor, a sparse one, too large a copy
            wire.send(connection, {"error": [type(error).__name__, f"the answer cannot be handed over: {str(error)[:300]}", ""]})


def _stand_ins(names: list[str], source: str) -> dict:
    """The reference's definitions of the names that stand in for the submission's own."""
    namespace: dict = {"__name__": "stand_ins"}
    exec(compile(source, "<stand-in>", "exec"), namespace)
    return {name: namespace[name] for name in names}


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    main()
