"""Frames across the wall: every message comes through as it was, everything else is Broken, in time."""

import contextlib
import json
import math
import socket
import struct
import threading
import time

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from grader import wire

DTYPES = sorted(wire.DTYPES)
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
plain = st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats() | text


@st.composite
def tensors(draw):
    shape = draw(st.lists(st.integers(0, 4), max_size=4))
    dtype = wire.DTYPES[draw(st.sampled_from(DTYPES))]
    if draw(st.booleans()):
        return torch.empty(shape, dtype=dtype, device="meta")
    return torch.randint(0, 2, shape, generator=torch.Generator().manual_seed(draw(st.integers(0, 99)))).to(dtype)


values = st.recursive(plain | tensors(), lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4))


@contextlib.contextmanager
def pair():
    left, right = socket.socketpair()
    with left, right:
        yield left, right


def read(content: bytes, seconds: float = 60) -> dict:
    """What `receive` makes of these bytes, after which the other side hangs up."""
    with pair() as (left, right):
        sender = threading.Thread(target=_send_and_close, args=(left, content))
        sender.start()
        try:
            return wire.receive(right, time.monotonic() + seconds)
        finally:
            right.close()
            sender.join()


def _send_and_close(connection: socket.socket, content: bytes) -> None:
    with contextlib.suppress(OSError):
        connection.sendall(content)
        connection.shutdown(socket.SHUT_WR)


def frame(head, blob: bytes = b"") -> bytes:
    head = head if isinstance(head, bytes) else json.dumps(head).encode()
    return wire.HEADER.pack(len(head), len(blob)) + head + blob


def same(came, sent) -> bool:
    if isinstance(sent, torch.Tensor):
        alike = came.dtype == sent.dtype and came.shape == sent.shape and came.is_meta == sent.is_meta
        return alike and (sent.is_meta or torch.equal(came, sent))
    if isinstance(sent, dict):
        return came.keys() == sent.keys() and all(same(came[key], sent[key]) for key in sent)
    if isinstance(sent, list):
        return isinstance(came, list) and len(came) == len(sent) and all(map(same, came, sent))
    return type(came) is type(sent) and (came == sent or (sent != sent and came != came))


@settings(deadline=None, max_examples=150)
@given(st.dictionaries(text, values, max_size=5))
def test_a_message_comes_through_as_it_was(message):
    with pair() as (left, right):
        sender = threading.Thread(target=wire.send, args=(left, message))
        sender.start()
        came = wire.receive(right, time.monotonic() + 5)
        sender.join()
    assert same(came, message)


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=200), st.binary(max_size=200))
def test_any_bytes_are_a_message_or_broken(head, blob):
    for content in (head + blob, frame(head, blob)):
        with contextlib.suppress(wire.Broken):
            assert isinstance(read(content), dict)


json_values = st.recursive(
    plain, lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["map", "tensor", "meta", "dtype", "x"]), inner, max_size=3),
)


@settings(deadline=None, max_examples=300)
@given(json_values)
def test_any_json_is_a_message_or_broken(value):
    blob = safetensors.torch.save({"0": torch.ones(2)})
    with contextlib.suppress(wire.Broken):
        assert isinstance(read(frame(value, blob)), dict)


@pytest.mark.parametrize(
    "head",
    [
        {}, [], 5, "text", None, {"map": 5}, {"map": None}, {"map": {}, "more": 1}, {"pickle": "x"},
        {"map": {"x": {"tensor": 0}}}, {"map": {"x": {"tensor": True}}}, {"map": {"x": {"tensor": "0"}}},
        {"map": {"x": {"meta": 5, "dtype": "float32"}}}, {"map": {"x": {"meta": "12", "dtype": "float32"}}},
        {"map": {"x": {"meta": [-1], "dtype": "float32"}}}, {"map": {"x": {"meta": [math.inf], "dtype": "float32"}}},
        {"map": {"x": {"meta": [2**70], "dtype": "float32"}}}, {"map": {"x": {"meta": [1] * 100, "dtype": "float32"}}},
        {"map": {"x": {"meta": [1.5], "dtype": "float32"}}}, {"map": {"x": {"meta": [1], "dtype": "complex64"}}},
        {"map": {"x": {"meta": [1], "dtype": ["float32"]}}},
        b"[" * 100_000, b'{"map":' * 20_000, b"\xff\xfe", b"", b"9" * 100_000, b'{"map": {"x": 1}} trailing',
    ],
    ids=lambda head: repr(head)[:40],
)
def test_what_is_no_message_is_broken(head):
    with pytest.raises(wire.Broken):
        read(frame(head))


@pytest.mark.parametrize("dtype", [torch.complex64, torch.float8_e4m3fn])
def test_other_dtypes_do_not_cross(dtype):
    name = {torch.complex64: "C64", torch.float8_e4m3fn: "F8_E4M3"}[dtype]
    size = torch.zeros(1, dtype=dtype).element_size()
    index = json.dumps({"0": {"dtype": name, "shape": [1], "data_offsets": [0, size]}}).encode()
    blob = struct.pack("<Q", len(index)) + index + bytes(size)
    with pytest.raises(wire.Broken):
        read(frame({"map": {"x": {"tensor": 0}}}, blob))


@pytest.mark.parametrize("cut", [1, 11, 12, 20, -1])
def test_a_truncated_frame_is_broken(cut):
    whole = frame({"map": {"x": {"tensor": 0}}}, safetensors.torch.save({"0": torch.ones(9)}))
    with pytest.raises(wire.Broken, match="the connection closed"):
        read(whole[:cut])


@pytest.mark.parametrize("lengths", [(wire.JSON_LIMIT + 1, 0), (2, wire.BLOB_LIMIT + 1), (2**32 - 1, 2**64 - 1)])
def test_too_long_is_broken_before_it_is_read(lengths):
    with pytest.raises(wire.Broken, match="too large"):
        read(wire.HEADER.pack(*lengths))


def test_a_million_tensors_are_not_even_counted():
    index = json.dumps({str(n): {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for n in range(300_000)}).encode()
    with pytest.raises(wire.Broken, match="cannot be read"):
        read(frame({"map": {}}, struct.pack("<Q", len(index)) + index))


def test_numbers_that_are_none_come_through_as_numbers():
    assert math.isnan(read(frame(b'{"map": {"x": NaN}}'))["x"])


def test_half_a_character_becomes_a_question_mark():
    message = read(frame(b'{"map": {"\\ud800": "\\udfff!"}}'))
    assert message == {"?": "?!"}
    json.dumps(message, ensure_ascii=False).encode()


def test_a_slow_drip_does_not_outlast_the_deadline():
    with pair() as (left, right):
        stop = threading.Event()

        def drip():
            for byte in frame({"map": {"x": "y" * 1000}}):
                if stop.wait(0.02):
                    return
                left.send(bytes([byte]))

        dripping = threading.Thread(target=drip)
        dripping.start()
        started = time.monotonic()
        with pytest.raises(wire.Broken, match="no answer in time"):
            wire.receive(right, started + 0.5)
        assert time.monotonic() - started < 10, "the whole of it takes twenty seconds"
        stop.set()
        dripping.join()


def test_who_does_not_listen_does_not_hold_the_sender():
    with pair() as (left, _):
        started = time.monotonic()
        with pytest.raises(wire.Broken, match="no answer in time"):
            wire.send(left, {"x": torch.zeros(4_000_000)}, started + 0.3)


@pytest.mark.parametrize(
    "value", [object(), torch.ones(2, dtype=torch.complex64), torch.ones(2, 2).to_sparse(), {1, 2}], ids=lambda v: type(v).__name__
)
def test_what_cannot_cross_is_refused_before_the_first_byte(value):
    with pair() as (left, right):
        with pytest.raises(TypeError, match="cannot cross the wall"):
            wire.send(left, {"x": value})
        right.setblocking(False)
        with pytest.raises(BlockingIOError):
            right.recv(1)
