"""What every transport between engine and worker must do, the socket pair and gloo alike."""

from __future__ import annotations

import gc
import os
import random
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest
import torch

from pipelines.wire import Wire, WireClosed
from speculator.ssd.address import Address
from speculator.ssd.gloo import _BLOCK, _TALK, GlooWire
from speculator.ssd.messages import End, FromWorker, Ready, ToWorker, Weights
from speculator.ssd.rendezvous import Rendezvous, dial
from speculator.ssd.transport import Link, WorkerLink
from tests.speculator.ssd.echo import started

MOST = 32 << 20
HERE = Address("127.0.0.1", 0)


@dataclass
class Ends:
    """Both ends of one transport, and their raw halves."""

    ours: Any
    theirs: Any
    ours_raw: Any
    close: Callable[[], None]


def sockets() -> Ends:
    one, other = socket.socketpair()
    ours: Link = Wire(one, FromWorker, most_bytes=MOST)  # type: ignore[arg-type]
    theirs: WorkerLink = Wire(other, ToWorker, most_bytes=MOST)  # type: ignore[arg-type]

    def close() -> None:
        ours.close()
        theirs.close()

    return Ends(ours, theirs, one, close)


def gloo(**options: float) -> Ends:
    meeting = Rendezvous(HERE)
    with ThreadPoolExecutor(1) as pool:
        dialled = pool.submit(dial, meeting.address)
        group = meeting.accept()
    ours: Link = GlooWire(group, FromWorker, most_bytes=MOST, **options)  # type: ignore[arg-type]
    theirs: WorkerLink = GlooWire(dialled.result(), ToWorker, most_bytes=MOST, **options)  # type: ignore[arg-type]

    def close() -> None:
        ours.close()
        theirs.close()
        meeting.close()

    return Ends(ours, theirs, group, close)


KINDS: dict[str, Callable[[], Ends]] = {"socket": sockets, "gloo": gloo}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture
def ends(kind: str) -> Iterator[Ends]:
    made = KINDS[kind]()
    yield made
    made.close()


def heard(end: Any, number: int, other: Any = None, seconds: float = 30.0) -> list[Any]:
    """So many messages; the `other` end sends on meanwhile."""
    messages: list[Any] = []
    deadline = time.monotonic() + seconds
    while len(messages) < number:
        assert time.monotonic() < deadline, f"{len(messages)} of {number} messages"
        messages += end.receive(0.02)
        if other is not None:
            other.receive(0.0)
    return messages


def ends_within(end: Any, seconds: float = 30.0) -> str:
    """Why nothing comes any more."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            end.receive(0.05)
        except WireClosed as error:
            return str(error)
    raise AssertionError("nobody noticed")


def weights(size: int) -> Weights:
    return Weights(version=str(size), data=random.Random(size).randbytes(size), at=0, total=size)


def test_what_is_said_arrives_whole_and_in_order(ends: Ends) -> None:
    inside = _BLOCK - 8
    sizes = [0, 1, *range(inside - 40, inside + 2), _BLOCK, 5000, (4 << 20) + inside - 20, 9_000_001, 3]
    said: list[ToWorker] = [weights(size) for size in sizes]
    for message in said:
        ends.ours.send(message)
    assert heard(ends.theirs, len(said), ends.ours) == said


def test_both_may_talk_at_once(ends: Ends) -> None:
    for n in range(200):
        ends.ours.send(End(n))
        ends.theirs.send(Ready(str(n)))
    ours, theirs = heard(ends.ours, 200), heard(ends.theirs, 200)
    assert ours == [Ready(str(n)) for n in range(200)]
    assert theirs == [End(n) for n in range(200)]


def test_who_waits_in_vain_waits_no_longer_than_asked_and_has_lost_nothing(ends: Ends) -> None:
    assert ends.theirs.receive(0.0) == []
    started_at = time.monotonic()
    assert ends.theirs.receive(0.05) == []
    assert time.monotonic() - started_at >= 0.045
    ends.ours.send(End(7))
    assert heard(ends.theirs, 1) == [End(7)]


def test_a_message_of_which_a_part_has_come_is_none_yet_and_comes_whole_later(kind: str, ends: Ends) -> None:
    message = weights(6000)
    data = msgspec.msgpack.encode(message)
    if kind == "socket":
        frame = struct.pack("<I", len(data)) + data
        cuts = (frame[:3], frame[3:2000], frame[2000:])
        parts = [lambda cut=cut: ends.ours_raw.send(cut) for cut in cuts]  # type: ignore[misc]
    else:
        frame = struct.pack("<Q", len(data)) + data
        parts = [lambda cut=cut: pushed(ends.ours_raw, cut) for cut in (frame[:_BLOCK], frame[_BLOCK:])]  # type: ignore[misc]
    for part in parts:
        assert ends.theirs.receive(0.05) == []
        part()
    assert heard(ends.theirs, 1) == [message]


def pushed(group: Any, data: bytes) -> None:
    group.send([torch.frombuffer(bytearray(data), dtype=torch.uint8)], 1, _TALK).wait()


def test_garbage_is_said_to_be(ends: Ends) -> None:
    ends.ours.send(Ready("what only workers say"))
    with pytest.raises(msgspec.DecodeError):
        heard(ends.theirs, 1)


def test_more_than_is_taken_ends_it_for_both(ends: Ends) -> None:
    ends.ours.send(weights(MOST))
    with pytest.raises(WireClosed, match=f"at most {MOST} are taken"):
        heard(ends.theirs, 1, ends.ours)
    ends.theirs.close()
    ends_within(ends.ours)


def test_who_closes_is_heard_of_and_nothing_goes_out_any_more(ends: Ends) -> None:
    ends.theirs.close()
    assert ends_within(ends.ours)
    for _ in range(2):
        with pytest.raises(WireClosed):
            ends.ours.receive(0.0)
    with pytest.raises(WireClosed):
        ends.ours.send(End(1))
    ends.ours.close()
    ends.ours.close()  # twice is once


def test_sending_waits_for_nobody(kind: str) -> None:
    """An end that takes nothing: what is sent waits, and who sends does not."""
    if kind == "socket":
        ends = sockets()
        ends.ours.send(weights(MOST // 2))
        assert ends.ours.receive(0.0) == []
        ends.close()
        return
    with closing(Rendezvous(HERE)) as meeting, ThreadPoolExecutor(1) as pool:
        dialled = pool.submit(dial, meeting.address)
        ours = GlooWire(meeting.accept(), FromWorker, most_bytes=MOST, silence=60.0)  # type: ignore[arg-type]
        group = dialled.result()
        ours.send(weights(MOST // 2))  # would take a minute to fail
        assert ours.receive(0.0) == []
        ours.close()
        assert group.rank() == 1


def test_two_at_once_never_hear_each_other(kind: str) -> None:
    one, other = KINDS[kind](), KINDS[kind]()
    for n in range(20):
        one.ours.send(End(n))
        other.ours.send(End(1000 + n))
    assert heard(one.theirs, 20, one.ours) == [End(n) for n in range(20)]
    one.close()
    assert heard(other.theirs, 20, other.ours) == [End(1000 + n) for n in range(20)]
    other.theirs.send(Ready("still there"))
    assert heard(other.ours, 1) == [Ready("still there")]
    other.close()


def test_closing_leaves_nothing_behind(kind: str) -> None:
    def held() -> tuple[int, int]:
        gc.collect()
        return len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))

    KINDS[kind]().close()  # what is made once and kept
    before = held()
    for n in range(4):
        made = KINDS[kind]()
        made.ours.send(weights(100_000))
        if n % 2:
            heard(made.theirs, 1, made.ours)
        started_at = time.monotonic()
        made.close()
        assert time.monotonic() - started_at < 10, "it waits for no word of the other end, which may take 20 s"
        del made
    deadline = time.monotonic() + 20
    while any(now > then for now, then in zip(held(), before, strict=True)):
        assert time.monotonic() < deadline, (before, held())
        time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_the_death_of_the_other_end_is_noticed(kind: str, end: signal.Signals) -> None:
    link: Any
    process: subprocess.Popen[bytes]
    if kind == "socket":
        one, other = socket.socketpair()
        process = started(str(other.fileno()), other.fileno())
        other.close()
        link = Wire(one, FromWorker)  # type: ignore[arg-type]
    else:
        with closing(Rendezvous(HERE)) as meeting:
            process = started(str(meeting.address))
            link = GlooWire(meeting.accept(), FromWorker, most_bytes=MOST)  # type: ignore[arg-type]
    try:
        assert heard(link, 1, seconds=60) == [Ready("echo")]
        link.send(End(5))
        assert heard(link, 1) == [Ready("5")]
        process.send_signal(end)
        process.wait(10)
        assert ends_within(link, 10.0)
        with pytest.raises(WireClosed):
            link.send(End(1))
    finally:
        process.kill()
        process.wait()
        link.close()


# Of gloo alone.


@pytest.mark.slow
def test_a_host_that_says_nothing_is_gone_and_one_that_has_nothing_to_say_is_not() -> None:
    talking = gloo(beat=0.1, silence=2.0)
    mute = gloo(beat=60.0, silence=2.0)
    assert "imed out" in ends_within(mute.ours, 20.0)
    ends_within(mute.theirs, 20.0)
    talking.ours.send(End(3))  # by now it was silent for as long
    assert heard(talking.theirs, 1) == [End(3)]
    talking.close()
    mute.close()


def test_only_the_address_that_is_asked_for_is_listened_on() -> None:
    before = listening()
    made = gloo()
    found = listening() - before
    made.close()
    assert found, "nothing listens: nothing was looked at"
    assert {host for host, _ in found} == {"0100007F"}, "127.0.0.1"


def listening() -> set[tuple[str, str]]:
    """Address and port, as the kernel writes them, of this process' listening sockets."""
    own = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            own.add(os.readlink(f"/proc/self/fd/{name}"))
        except FileNotFoundError:  # the listing's own
            continue
    found = set()
    for table in ("tcp", "tcp6"):
        with open(f"/proc/self/net/{table}") as file:
            for line in list(file)[1:]:
                fields = line.split()
                if fields[3] == "0A" and f"socket:[{fields[9]}]" in own:
                    host, port = fields[1].split(":")
                    found.add((host, port))
    return found


def test_several_workers_wait_and_are_called_one_by_one() -> None:
    with closing(Rendezvous(HERE)) as meeting, ThreadPoolExecutor(2) as pool:
        dialled = [pool.submit(dial, meeting.address) for _ in range(2)]
        links = [GlooWire(meeting.accept(), FromWorker, most_bytes=MOST) for _ in dialled]  # type: ignore[arg-type]
        workers = [GlooWire(each.result(), ToWorker, most_bytes=MOST) for each in dialled]  # type: ignore[arg-type]
        for n, link in enumerate(links):
            link.send(End(n))
        assert sorted(heard(worker, 1)[0].sequence for worker in workers) == [0, 1]
        for each in (*links, *workers):
            each.close()


def test_a_port_that_is_taken_is_told_with_its_setting() -> None:
    with closing(Rendezvous(HERE)) as first, pytest.raises(OSError, match=rf"{first.address} \(ssd_listen\): Address already"):
        Rendezvous(first.address)


def test_who_waits_for_a_worker_stops_when_told() -> None:
    meeting = Rendezvous(HERE)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(meeting.accept)
        time.sleep(0.05)
        meeting.close()
        with pytest.raises(WireClosed):
            waiting.result(10)
    with pytest.raises(WireClosed):
        meeting.accept()


def test_other_messages_are_another_release(monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(Rendezvous(HERE)) as meeting:
        monkeypatch.setattr("speculator.ssd.rendezvous._SPOKEN", "of another release")
        with pytest.raises(ConnectionError, match="another release"):
            dial(meeting.address)


def test_where_nobody_is_nobody_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(ConnectionError, match=f"no engine at 127.0.0.1:{port}"):
        dial(Address("127.0.0.1", port))


@pytest.mark.parametrize(("text", "address"), [
    ("10.0.0.5:7000", Address("10.0.0.5", 7000)),
    ("trainer-box:1", Address("trainer-box", 1)),
    ("[fd00::5]:65535", Address("fd00::5", 65535)),
])  # fmt: skip
def test_an_address_is_read_and_written(text: str, address: Address) -> None:
    assert Address.parse(text) == address
    assert str(address) == text


@pytest.mark.parametrize(
    "text", ["7000", ":7000", "host", "host:", "host:0", "host:65536", "host:7x", "a b:1", "::1:7000", "host:-1"]
)
def test_what_is_no_address_is_refused_and_what_is_one_is_told(text: str) -> None:
    with pytest.raises(ValueError, match="HOST:PORT"):
        Address.parse(text)


@pytest.mark.parametrize("text", ["0.0.0.0:7000", "[::]:7000", "*:7000"])
def test_all_interfaces_are_not_one(text: str) -> None:
    with pytest.raises(ValueError, match="is all of them"):
        Address.parse(text)
