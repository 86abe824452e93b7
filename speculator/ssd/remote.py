"""Workers of other hosts, as the engine sees them: whoever dials in is told everything and drafts, until it is gone."""

from __future__ import annotations

from pipelines.wire import WireClosed
from speculator.ssd.address import Address
from speculator.ssd.gloo import GlooWire
from speculator.ssd.messages import Birth, FromWorker
from speculator.ssd.rendezvous import Rendezvous
from speculator.ssd.transport import MOST_FROM_WORKER, Link


class RemoteWorkers:
    """Raises OSError where `address` cannot be listened on."""

    def __init__(self, address: Address, birth: Birth) -> None:
        self._rendezvous = Rendezvous(address)
        self._birth = birth

    @property
    def address(self) -> Address:
        """Where they dial in."""
        return self._rendezvous.address

    def start(self) -> Link:
        """The next worker that dials in, told what it is to be; waits for it."""
        link: Link = GlooWire(self._rendezvous.accept(), FromWorker, most_bytes=MOST_FROM_WORKER)  # type: ignore[arg-type]
        try:
            link.send(self._birth)
        except WireClosed:
            link.close()
            raise
        return link

    def close(self) -> None:
        """Waits for nobody any more."""
        self._rendezvous.close()
