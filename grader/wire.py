"""Frames between the judge and a sandboxed child: JSON and safetensors, never pickle, parsed strictly.

A frame is two big-endian lengths (4 bytes of JSON, 8 bytes of tensors), then both parts. In the
JSON, a tensor is {"tensor": n} (the n-th of the blob) or {"meta": [shape], "dtype": name}.
"""

from __future__ import annotations

import json
import socket
import struct
import time
from collections.abc import Callable

import safetensors.torch
import torch

HEADER = struct.Struct(">IQ")
JSON_LIMIT = 1 << 20  # bytes
BLOB_LIMIT = 1 << 28  # bytes
INDEX_LIMIT = 1 << 20  # bytes of the blob that name its tensors
RANK_LIMIT = 64
CODES = {  # as safetensors calls what may cross
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64",
    torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL",
}
DTYPES = {str(dtype).removeprefix("torch."): dtype for dtype in CODES}
PLAIN = {int, float, bool, type(None)}


class Broken(Exception):
    """The other side is gone, silent, or sends what is no frame; the text says which."""


class Deadline:
    """A moment of time.monotonic, put off by the seconds that do not count: what `waited()` says, asked when time seems to be up.

    `within` is another one that ends it as well.
    """

    def __init__(self, at: float, waited: Callable[[], float] = lambda: 0.0, within: Deadline | None = None):
        self.at, self.waited, self.within = at, waited, within

    def left(self) -> float:
        """Seconds until then."""
        left = self.at - time.monotonic()
        if left <= 0:
            left += self.waited()
        return min(left, self.within.left()) if self.within else left


def send(connection: socket.socket, message: dict, deadline: Deadline | float | None = None) -> None:
    """Send one message of plain values and tensors; Broken when the other side does not take it in time."""
    tensors: list[torch.Tensor] = []
    head = json.dumps(_encode(message, tensors)).encode()
    blob = _saved(tensors) if tensors else b""
    left = memoryview(HEADER.pack(len(head), len(blob)) + head + blob)
    while left:
        _set_deadline(connection, deadline)
        try:
            left = left[connection.send(left) :]
        except TimeoutError:
            continue  # the deadline may have been put off; if not, it says so
        except OSError as error:
            raise Broken(f"the connection closed ({error.strerror})") from None


def receive(connection: socket.socket, deadline: Deadline | float | None = None) -> dict:
    """Receive one message; Broken when none comes before the deadline, or it is malformed or too large."""
    head_length, blob_length = HEADER.unpack(_read(connection, HEADER.size, deadline))
    if head_length > JSON_LIMIT or blob_length > BLOB_LIMIT:
        raise Broken(f"an answer of {head_length + blob_length:,} bytes is too large")
    head = _read(connection, head_length, deadline)
    blob = _read(connection, blob_length, deadline)
    try:
        message = _decode(json.loads(bytes(head)), _tensors(blob))
    except Exception as error:  # whatever it was that did not fit, the sender is at fault
        raise Broken(f"an answer that cannot be read ({type(error).__name__})") from None
    if not isinstance(message, dict):
        raise Broken("an answer that is no message")
    return message


def _saved(tensors: list[torch.Tensor]) -> bytes:
    """Tensors as a safetensors file, named by number; its own writer takes longer than most of a check's calls."""
    index, parts, end = {}, [], 0
    for number, tensor in enumerate(tensors):
        part = tensor.reshape(-1).view(torch.uint8).numpy()
        offsets = [end, end := end + part.nbytes]
        index[str(number)] = {"dtype": CODES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": offsets}
        parts.append(part)
    head = json.dumps(index).encode()
    return b"".join([len(head).to_bytes(8, "little"), head, *parts])


def _tensors(blob: bytearray) -> dict[str, torch.Tensor]:
    if not blob:
        return {}
    if int.from_bytes(blob[:8], "little") > INDEX_LIMIT:
        raise ValueError("too many tensors")
    return safetensors.torch.load(bytes(blob))


def _read(connection: socket.socket, count: int, deadline: Deadline | float | None) -> bytearray:
    buffer = bytearray(count)
    view, received = memoryview(buffer), 0
    while received < count:
        _set_deadline(connection, deadline)  # for every piece: a slow drip must not outlast it
        try:
            size = connection.recv_into(view[received:])
        except TimeoutError:
            continue  # the deadline may have been put off; if not, it says so
        except OSError as error:
            raise Broken(f"the connection closed ({error.strerror})") from None
        if size == 0:
            raise Broken("the connection closed")
        received += size
    return buffer


def _set_deadline(connection: socket.socket, deadline: Deadline | float | None) -> None:
    if deadline is None:
        connection.settimeout(None)
        return
    left = deadline.left() if isinstance(deadline, Deadline) else deadline - time.monotonic()
    if left <= 0:
        raise Broken("no answer in time")
    connection.settimeout(left)


def _encode(value, tensors: list[torch.Tensor]):
    if type(value) in PLAIN or type(value) is str:
        return value
    if isinstance(value, dict):
        return {"map": {str(key): _encode(item, tensors) for key, item in value.items()}}
    if isinstance(value, (list, tuple)):
        return [item if type(item) in PLAIN else _encode(item, tensors) for item in value]
    if isinstance(value, torch.Tensor):
        return _encode_tensor(value, tensors)
    if isinstance(value, (int, float, str)):  # subclasses, such as an enum's member
        return value
    raise TypeError(f"a {type(value).__name__} cannot cross the wall")


def _encode_tensor(value: torch.Tensor, tensors: list[torch.Tensor]) -> dict:
    if value.dtype not in CODES or value.layout != torch.strided:
        raise TypeError(f"a tensor of {value.dtype} and {value.layout} cannot cross the wall")
    if value.is_meta:
        return {"meta": list(value.shape), "dtype": str(value.dtype).removeprefix("torch.")}
    tensors.append(value.detach().cpu().resolve_neg().contiguous())
    return {"tensor": len(tensors) - 1}


def _decode(value, tensors: dict[str, torch.Tensor]):
    if isinstance(value, str):
        return _clean(value)
    if isinstance(value, list):
        return [item if type(item) in PLAIN else _decode(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1 and "tensor" in value and type(value["tensor"]) is int:
        return _known_dtype(tensors[str(value["tensor"])])
    if len(value) == 1 and "map" in value and isinstance(value["map"], dict):
        return {_clean(key): _decode(item, tensors) for key, item in value["map"].items()}
    if value.keys() == {"meta", "dtype"}:
        return _meta(value["meta"], DTYPES[value["dtype"]])
    raise ValueError("unknown value")


def _clean(text: str) -> str:
    """Without lone surrogates, which no file or gradebook takes."""
    return text if text.isascii() else text.encode(errors="replace").decode()


def _meta(shape, dtype: torch.dtype) -> torch.Tensor:
    if not isinstance(shape, list) or len(shape) > RANK_LIMIT or not all(type(size) is int and size >= 0 for size in shape):
        raise ValueError("no shape")
    return torch.empty(shape, dtype=dtype, device="meta")


def _known_dtype(tensor: torch.Tensor) -> torch.Tensor:
    if tensor.dtype not in CODES or tensor.ndim > RANK_LIMIT:
        raise ValueError(f"a tensor of {tensor.dtype}")
    return tensor
