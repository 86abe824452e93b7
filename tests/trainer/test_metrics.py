"""What the trainer says to Prometheus."""

from __future__ import annotations

import time
from urllib.request import urlopen

from prometheus_client.parser import text_string_to_metric_families

from pipelines.registry import Presence
from tests.trainer.scripted import House, trace
from trainer.metrics import MetricsServer, TrainerCollector
from trainer.presence import presence_of
from trainer.slices import Used


def scraped(server: MetricsServer) -> dict[str, float]:
    with urlopen(f"http://127.0.0.1:{server.port}/metrics") as answer:
        text = answer.read().decode()
    return {sample.name: sample.value for family in text_string_to_metric_families(text) for sample in family.samples}


def test_prometheus_is_told_what_the_registry_is_told(house: House) -> None:
    house.write([trace(1), trace(1), trace(2, target="another")])
    trainer = house.trainer()
    work = trainer.work()
    for _ in range(5):
        next(work)
    collector = TrainerCollector()
    server = MetricsServer(collector, "127.0.0.1", 0)
    try:
        assert scraped(server) == {}, "nothing is said before the trainer spoke"
        collector.says(presence_of(trainer, "trainer", Used(idle=1.5), time.time()))
        found = scraped(server)
        assert found["everdraft_trainer_up"] == 1.0
        assert found["everdraft_trainer_traces_read_total"] == 2.0
        assert found["everdraft_trainer_traces_foreign_total"] == 1.0
        assert found["everdraft_trainer_seconds_idle_total"] == 1.5
        collector.says(Presence(name="trainer:trainer", at=time.time() - 60.0, ttl=10.0))
        assert scraped(server)["everdraft_trainer_up"] == 0.0, "long silence"
    finally:
        server.close()


def test_every_figure_has_a_metric_and_every_metric_a_figure(house: House) -> None:
    from trainer.metrics import _COUNTERS, _GAUGES

    presence = presence_of(house.trainer(), "trainer", Used(), time.time())
    assert set(presence.figures) == set(_COUNTERS) | set(_GAUGES)
