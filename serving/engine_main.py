"""The engine process: messages in, steps, messages out."""

from __future__ import annotations

import logging
import signal
import socket
import time
import traceback

from pipelines.wire import Wire, WireClosed
from serving.assemble import build_engine
from serving.engine import Engine
from serving.messages import Abort, Command, FromEngine, Progress, Refused, Snapshot, Stopped, Submit, ToEngine
from serving.settings import EngineSettings

SNAPSHOT_SECONDS = 0.25
IDLE_SECONDS = 0.05


def engine_main(settings: EngineSettings, sock: socket.socket) -> None:
    """Runs until told to stop or until the other end is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the HTTP side decides
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s engine %(levelname)s %(message)s")
    wire: Wire[ToEngine] = Wire(sock, ToEngine)  # type: ignore[arg-type]
    try:
        engine = build_engine(settings)
    except Exception as error:
        wire.send(Stopped(f"{type(error).__name__}: {error}"))
        raise
    try:
        _Loop(engine, wire).run()
    except WireClosed:
        logging.info("the HTTP side is gone")
    except Exception as error:
        wire.send(Stopped(f"{type(error).__name__}: {error}"))
        traceback.print_exc()
        raise
    finally:
        engine.close()


class _Loop:
    def __init__(self, engine: Engine, wire: Wire[ToEngine]) -> None:
        self._engine = engine
        self._wire = wire
        self._draining = False
        self._stopping = False
        self._audited = True
        self._snapshot_at = 0.0

    def run(self) -> None:
        engine = self._engine
        while not self._stopping:
            for message in self._wire.receive(0.0 if engine.has_work else IDLE_SECONDS):
                self._handle(message)
            if engine.has_work:
                self._audited = False
                moved = engine.step()
                for refused in engine.take_refused():
                    self._send(refused)
                if moved:
                    self._send(Progress(moved))
            else:
                self._idle()
            if time.monotonic() - self._snapshot_at >= SNAPSHOT_SECONDS:
                self._show()
        self._send(Stopped())

    def _handle(self, message: ToEngine) -> None:
        if isinstance(message, Submit):
            refused = self._refusal(message) or self._engine.submit(message.request)
            if refused is not None:
                self._send(refused)
        elif isinstance(message, Abort):
            moved = self._engine.abort(message.id)
            if moved is not None:
                self._send(Progress((moved,)))
        else:
            self._command(message)

    def _refusal(self, message: Submit) -> Refused | None:
        return Refused(message.request.id, "draining", "the server is shutting down") if self._draining else None

    def _command(self, command: Command) -> None:
        if command.action == "speculation":
            self._engine.speculation = command.value == "on"
        elif command.action == "drain":
            self._draining = True
        elif command.action == "stop":
            self._stopping = True
        self._show()

    def _idle(self) -> None:
        """Between requests: take a waiting swap at once, audit the pages once, and finish a drain."""
        self._engine.take_newer()
        if not self._audited:
            self._engine.audit()
            self._audited = True
            self._show()
        self._stopping = self._stopping or self._draining

    def _show(self) -> None:
        self._snapshot_at = time.monotonic()
        self._send(snapshot(self._engine))

    def _send(self, message: FromEngine) -> None:
        self._wire.send(message)


def snapshot(engine: Engine) -> Snapshot:
    """The engine's state now."""
    stats, swap, scheduler = engine.stats, engine.swap, engine.scheduler
    return Snapshot(
        at=time.time(),
        num_running=scheduler.num_running,
        num_waiting=engine.num_waiting,
        pages_used=scheduler.num_pages_held,
        pages_total=scheduler.pool.num_pages,
        num_steps=stats.num_steps,
        step_seconds=stats.step_seconds,
        busy=engine.has_work,
        versions=dict(engine.speculator.versions),
        generation=swap.generation,
        num_swaps=swap.num_swaps,
        num_swap_failures=swap.num_failures,
        last_swap_at=swap.last_swap_at,
        last_swap_error=swap.last_error,
        speculation=engine.speculating,
        counters={
            **stats.counters,
            **scheduler.counters,
            **engine.speculator.counters(),
            **engine.speculator.shadow.counters(),
            "audits": stats.num_audits,
        },
        gauges={**engine.controller.gauges(), **engine.trial.gauges(), **engine.speculator.gauges()},
        target=swap.slot.target,
        kind=swap.slot.kind,
    )
