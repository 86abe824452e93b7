"""Stack: the embedded back ends in a folder, a trainer beside this process, and the log that feeds it."""

from __future__ import annotations

import os
import sys
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.rig import Answer
from cli.config import Configuration, load
from cli.config_flags import as_words
from cli.live.process import VerbProcess
from pipelines.registry import Presence, Registry, Slot, SlotState, open_registry
from pipelines.store import open_store
from pipelines.traffic_log import open_writer
from serving.traffic import Outcome, TenantPolicy, TrafficRecorder, conversation_id
from speculator.static_heads import KIND


class Stack:
    """Everything but the engine, which runs in this process; configured as the command line configures it."""

    def __init__(self, folder: Path, flags: dict[str, str], logs: Path) -> None:
        """flags: options of the command line, by name. logs: a folder for the words of processes."""
        self.folder = folder
        self.logs = logs
        self.flags = flags
        self._flags = {**flags, "data": str(folder)}
        self.configuration: Configuration = load(self._flags, os.environ)
        assert self.configuration.traffic_url is not None
        folder.mkdir(parents=True)
        self._writer = open_writer(self.configuration.traffic_url)
        self._recorder: TrafficRecorder | None = None
        self._slot: Slot | None = None
        self._trainer: VerbProcess | None = None
        self.registry: Registry = open_registry(self.configuration.registry.url)
        self.store = open_store(self.configuration.registry.checkpoints)

    def serves(self, target: str, tokenizer: str) -> None:
        """Told once which target the traffic is for, by fingerprint."""
        self._recorder = TrafficRecorder(self._writer, TenantPolicy(), target, tokenizer)
        self._slot = Slot(target=target, kind=KIND)

    def record(self, answers: Iterable[Answer]) -> None:
        """Logs answers as the server does."""
        assert self._recorder is not None
        for answer in answers:
            self._recorder.record(_outcome(answer))

    @property
    def slot(self) -> Slot:
        assert self._slot is not None
        return self._slot

    def state(self) -> SlotState:
        return self.registry.state(self.slot)

    def start_trainer(self, kind: str = KIND) -> None:
        """Does nothing while there is one."""
        if self._trainer is not None:
            return
        self._trainer = self.child("train", {**self._flags, "trainer_kind": kind}, f"trainer-{kind}")

    def child(self, verb: str, flags: dict[str, str], name: str) -> VerbProcess:
        """A verb of the command line in a process of its own."""
        command = (sys.executable, "-m", "everdraft", verb, *as_words(None, flags))
        return VerbProcess(verb, command, self.logs / f"{name}.log")

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Tells the trainer that the server is busy: so it is while its rival is measured, of whom no trainer knows."""
        self.registry.announce(_presence(busy=True))
        try:
            yield
        finally:
            self.registry.announce(_presence(busy=False))

    def check_trainer(self) -> None:
        """Raises CliError if the trainer was started and has ended by itself."""
        if self._trainer is not None:
            self._trainer.check()

    def stop_trainer(self) -> None:
        if self._trainer is not None:
            self._trainer.stop()
            self._trainer = None

    def trainer_presence(self) -> Presence | None:
        """What the trainer last said of itself."""
        found = [each for each in self.registry.presences(time.time()) if each.name.startswith("trainer:")]
        return found[0] if found else None

    def close(self) -> None:
        self.stop_trainer()
        self._writer.close()
        self.registry.close()


def _presence(busy: bool) -> Presence:
    return Presence(name="serving:bench", at=time.time(), ttl=3600.0 * busy, figures={"busy": float(busy)}, state="measuring")


def _outcome(answer: Answer) -> Outcome:
    reason = answer.moves[-1].finish_reason
    assert reason is not None, "only finished answers are logged"
    now = time.time()
    return Outcome(
        trace_id=uuid.uuid4().hex,
        request=answer.ask.request(answer.ask.id),
        consent="shared",
        conversation=conversation_id(None, None, answer.ask.prompt_ids),
        domain=answer.ask.domain,
        started_at=now - answer.seconds,
        finished_at=now,
        output_ids=tuple(answer.token_ids),
        num_cut=0,
        finish_reason=reason,
        moves=tuple(answer.moves),
    )
