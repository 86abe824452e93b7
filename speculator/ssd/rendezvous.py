"""Rendezvous: how an engine and a worker of another host find each other, at a TCPStore of torch.distributed.

The engine holds the store and calls one turn after another; whoever waits for work claims the turn, and the two make a process
group under its number. So a worker may come, go and come again, several may wait, and who died waiting is never called.
"""

from __future__ import annotations

import hashlib
import json
import logging
import socket
import threading
import time
import uuid
from datetime import timedelta
from typing import cast

import msgspec
import torch.distributed as dist
from torch.distributed import PrefixStore, Store, TCPStore  # type: ignore[attr-defined]

from pipelines.wire import WireClosed
from speculator.ssd.address import Address
from speculator.ssd.gloo import Group
from speculator.ssd.messages import FromWorker, ToWorker

log = logging.getLogger(__name__)

_KIND = "everdraft-ssd"
_SPOKEN = hashlib.sha256(json.dumps(msgspec.json.schema(ToWorker | FromWorker), sort_keys=True).encode()).hexdigest()
"""What is kept at the store under that key: both sides must know the same messages."""
_TURN = "turn"
_LOOK = 0.1
"""Seconds between two looks at the store."""
_JOIN = timedelta(seconds=15)
"""For both to make the group, and for any answer of the store."""


class Rendezvous:
    """The engine's side. Raises OSError where `address` cannot be had."""

    def __init__(self, address: Address) -> None:
        self._closed = threading.Event()
        self._waiting = threading.Lock()
        self._num_turns = 0
        bound = _bound(address)
        host, port = bound.getsockname()[:2]
        self.address = Address(host, port)
        # the store is given our own socket: by itself it would listen on every interface
        self._store: Store | None = TCPStore(
            host, port, is_master=True, wait_for_workers=False, master_listen_fd=bound.detach(), timeout=_JOIN
        )
        self._store.set(_KIND, _SPOKEN)
        log.info("drafting workers are waited for at %s", self.address)

    def accept(self) -> Group:
        """Waits for the next worker, for as long as it takes. Raises WireClosed once this is closed, RuntimeError where the
        worker that came did not stay.
        """
        with self._waiting:
            if self._store is None:
                raise WireClosed("nobody is waited for any more")
            self._num_turns += 1
            turn = str(self._num_turns)
            self._store.set(_TURN, turn)
            while not self._store.check([_claim(turn)]):
                if self._closed.wait(_LOOK):
                    raise WireClosed("nobody is waited for any more")
            return _group(PrefixStore(turn, self._store), 0, self.address.host)

    def close(self) -> None:
        """Waits no more, and gives the port back once the groups made here are gone."""
        self._closed.set()
        with self._waiting:
            self._store = None


def dial(address: Address) -> Group:
    """The worker's side: waits for its turn at the engine that listens there, for as long as it takes.

    Raises ConnectionError where no engine answers, or one with which there is nothing to talk about.
    """
    try:
        # first: the store's own client tries for long, and says so at every try
        socket.create_connection((address.host, address.port), _JOIN.total_seconds()).close()
        store = TCPStore(address.host, address.port, is_master=False, wait_for_workers=False, timeout=_JOIN)
        if store.check([_KIND]) and store.get(_KIND) == _SPOKEN.encode():
            return _group(PrefixStore(_claimed(store), store), 1, _facing(address))
    except (RuntimeError, OSError) as error:  # the first is all that torch.distributed raises
        raise ConnectionError(f"no engine at {address}: {error}") from error
    raise ConnectionError(f"what answers at {address} is no engine that says what is understood here: another release?")


def _claimed(store: Store) -> str:
    """The number of a turn that is ours alone."""
    own = uuid.uuid4().hex
    while True:
        if store.check([_TURN]):
            turn = store.get(_TURN).decode()
            if not store.check([_claim(turn)]) and store.compare_set(_claim(turn), "", own) == own.encode():
                return turn
        time.sleep(_LOOK)


def _bound(address: Address) -> socket.socket:
    try:
        family, _, _, _, place = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(place[:2], family=family)
    except OSError as error:
        raise OSError(error.errno, f"cannot wait for drafting workers at {address} (ssd_listen): {error.strerror}") from None


def _claim(turn: str) -> str:
    return f"{turn}/claim"


def _group(store: Store, rank: int, host: str) -> Group:
    """A group of two, which is not the default one of the process: there may be several. host: of this end."""
    gloo = dist.ProcessGroupGloo
    options = gloo._Options()  # type: ignore[attr-defined]
    options._devices = [gloo.create_device(hostname=host)]
    options._timeout = _JOIN
    options._threads = 1
    return cast(Group, gloo(store, rank, 2, options))


def _facing(address: Address) -> str:
    """The address of this host that the other is reached from."""
    family, kind, _, _, place = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, kind) as probe:  # no packet is sent: connecting a datagram socket only chooses a route
        probe.connect(place)
        return str(probe.getsockname()[0])
