"""GlooWire: a transport over torch.distributed, for a worker on another host.

Engine and worker are the two ranks of a process group of gloo. A message is sent as tensors of bytes: a block that begins with
the message's length, and pieces with what the block has no room for. Gloo has no way to ask whether something has come, and a
wait that runs out of time breaks the whole group; so a thread waits, and hands over whole messages. Another says something every
few seconds, so that a host that is gone without a word is told from one that is silent.

Why gloo where there are GPUs too: a message is some hundred bytes that begin and end in this program, on the CPU. NCCL would have
them copied to a GPU and back, by kernels that wait for those of the model; it pays for tensors that are on a GPU already, and of
these there are none: the pages of target and draft each stay where they are.

Nothing is encrypted or authenticated. What comes is taken for numbers only (msgpack of fixed types, safetensors), never for code.
"""

from __future__ import annotations

import logging
import struct
import threading
from collections import deque
from collections.abc import Iterator
from datetime import timedelta
from queue import Empty, SimpleQueue
from typing import Generic, Protocol, TypeVar

import msgspec
import torch
from torch import Tensor
from torch.distributed import Work

from pipelines.wire import WireClosed

log = logging.getLogger(__name__)

T = TypeVar("T")

_LENGTH = struct.Struct("<Q")
_BLOCK = 4096
"""Bytes of the first tensor of a message: what a round says fits, so that it takes one."""
_PIECE = 4 << 20
"""Bytes of the further ones, each of which has the whole time of `silence` for itself."""
_TALK, _SEVER = 0, 1
"""Tags: of what is said, and of what is only waited for in vain."""


class Group(Protocol):
    """What is needed of a process group of two."""

    def rank(self) -> int: ...

    def send(self, tensors: list[Tensor], rank: int, tag: int, /) -> Work: ...

    def recv(self, tensors: list[Tensor], rank: int, tag: int, /) -> Work: ...


class GlooWire(Generic[T]):
    """One end (`speculator.ssd.transport.Transport`): messages of type T come in, any msgspec struct goes out.

    most_bytes: of a message that comes in. beat, silence: seconds after which it says that it is still there, and after which it
    takes the other end for gone.
    """

    def __init__(
        self, group: Group, incoming: type[T], *, most_bytes: int, beat: float = 2.0, silence: float = 20.0
    ) -> None:
        self._group = group
        self._peer = 1 - group.rank()
        self._most_bytes = most_bytes
        self._beat = beat
        self._silence = timedelta(seconds=silence)
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(incoming)
        self._inbox: SimpleQueue[bytearray | None] = SimpleQueue()
        """None: nothing comes any more."""
        self._posted: deque[Work] = deque()
        """What was sent and may not have gone out yet."""
        self._sending = threading.Lock()
        self._ended = threading.Event()
        self._why = ""
        self._threads = [
            threading.Thread(target=self._hear, name="ssd-hear", daemon=True),
            threading.Thread(target=self._tick, name="ssd-tick", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def send(self, message: msgspec.Struct) -> None:
        """Hands a message over to gloo. Raises WireClosed."""
        buffer = bytearray(_LENGTH.size)
        self._encoder.encode_into(message, buffer, _LENGTH.size)
        self._post(buffer)

    def receive(self, timeout: float) -> list[T]:
        """What has arrived, waiting up to `timeout` seconds for the first. Raises WireClosed."""
        messages: list[T] = []
        try:
            data = self._inbox.get(timeout=timeout) if timeout > 0 else self._inbox.get_nowait()
            while data is not None:
                messages.append(self._decoder.decode(data))
                data = self._inbox.get_nowait()
        except Empty:
            return messages
        self._inbox.put(None)  # for whoever asks again
        if not messages:
            raise WireClosed(self._why)
        return messages

    def close(self) -> None:
        """Breaks the group, so that the other end hears of it, and lets go of all that it holds."""
        self._end("closed at this end")
        self._sever()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(self._silence.total_seconds())
        with self._sending:
            self._posted.clear()
            self._group = _NOBODY

    def _post(self, buffer: bytearray) -> None:
        """Sends what stands in `buffer` behind the room for its length."""
        if self._ended.is_set():
            raise WireClosed(self._why)
        _LENGTH.pack_into(buffer, 0, len(buffer) - _LENGTH.size)
        buffer.extend(bytes(max(0, _BLOCK - len(buffer))))
        try:
            with self._sending:  # the parts of a message stay together
                for start, stop in ((0, _BLOCK), *_pieces(_BLOCK, len(buffer))):
                    self._posted.append(self._group.send([_tensor(buffer, start, stop)], self._peer, _TALK))
        except RuntimeError as error:
            self._end(str(error))
            raise WireClosed(self._why) from error

    def _hear(self) -> None:
        """Takes what comes, until nothing can any more."""
        block = torch.empty(_BLOCK, dtype=torch.uint8)
        view = block.numpy().data
        try:
            while True:
                self._take(block)
                (length,) = _LENGTH.unpack_from(view)
                if length > self._most_bytes:
                    raise RuntimeError(f"a message of {length} bytes, where at most {self._most_bytes} are taken")
                if length:
                    data = bytearray(length)
                    inside = min(length, _BLOCK - _LENGTH.size)
                    data[:inside] = view[_LENGTH.size : _LENGTH.size + inside]
                    for start, stop in _pieces(inside, length):
                        self._take(_tensor(data, start, stop))
                    self._inbox.put(data)
        except (RuntimeError, MemoryError) as error:
            self._end(str(error) or "no memory for what is said")
            self._sever()

    def _take(self, tensor: Tensor) -> None:
        if not self._group.recv([tensor], self._peer, _TALK).wait(self._silence):
            raise RuntimeError("given up")

    def _tick(self) -> None:
        """Forgets what has gone out, and says something where nobody else did."""
        try:
            while not self._ended.wait(self._beat):
                silent = not self._posted
                while self._posted:
                    self._posted.popleft().wait(self._silence)
                if silent:
                    self._post(bytearray(_LENGTH.size))
        except (RuntimeError, WireClosed) as error:
            self._end(str(error))

    def _end(self, why: str) -> None:
        """The first reason is the one that is told."""
        if not self._ended.is_set():
            self._why = why
            self._ended.set()
            self._inbox.put(None)

    def _sever(self) -> None:
        """A wait that runs out of time breaks the group: every other wait of it ends, here and over there."""
        try:
            self._group.recv([torch.empty(1, dtype=torch.uint8)], self._peer, _SEVER).wait(timedelta(milliseconds=1))
        except RuntimeError as error:
            log.debug("severed: %s", error)


class _Nobody:
    """In place of a group that is closed, so that nothing holds on to it."""

    def rank(self) -> int:
        return 0

    def send(self, tensors: list[Tensor], rank: int, tag: int, /) -> Work:
        raise RuntimeError("closed")

    def recv(self, tensors: list[Tensor], rank: int, tag: int, /) -> Work:
        raise RuntimeError("closed")


_NOBODY = _Nobody()


def _tensor(buffer: bytearray, start: int, stop: int) -> Tensor:
    """Those bytes of the buffer, not a copy of them."""
    return torch.frombuffer(buffer, dtype=torch.uint8, offset=start, count=stop - start)


def _pieces(start: int, stop: int) -> Iterator[tuple[int, int]]:
    for at in range(start, stop, _PIECE):
        yield at, min(at + _PIECE, stop)
