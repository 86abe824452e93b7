"""The server's metrics, read over HTTP."""

from __future__ import annotations

import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

from cli.demo.stack import Acceptance
from cli.errors import CliError

_TIMEOUT = 10.0


@dataclass(frozen=True, slots=True)
class Metrics:
    """One look at `/metrics`."""

    values: Mapping[tuple[str, str], float]
    """By name and `source` label (empty: none)."""
    versions: Mapping[str, str]
    """Version in service, by source."""

    @classmethod
    def read(cls, url: str) -> Metrics:
        """Raises CliError when the server does not answer."""
        try:
            with urllib.request.urlopen(f"{url}/metrics", timeout=_TIMEOUT) as response:
                return cls.parsed(response.read().decode())
        except OSError as error:
            raise CliError(f"{url}/metrics does not answer: {error}") from error

    @classmethod
    def parsed(cls, text: str) -> Metrics:
        """From the text format of Prometheus."""
        samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
        values = {(sample.name, sample.labels.get("source", "")): sample.value for sample in samples}
        infos = [sample.labels for sample in samples if sample.name == "everdraft_speculator_info"]
        return cls(values, {labels["source"]: labels["version"] for labels in infos})

    def count(self, name: str, source: str = "") -> float:
        """A counter's value; 0 for one that has not counted yet."""
        return self.values.get((f"{name}_total", source), 0.0)

    def shadow(self, source: str) -> Acceptance:
        """What `source` would have had accepted on the served text."""
        steps = self.count("everdraft_engine_shadow_steps", source)
        return Acceptance(steps, self.count("everdraft_engine_shadow_tokens", source))

    def served(self) -> Acceptance:
        """What was really accepted, all sources together."""
        steps = self.count("everdraft_engine_decode_steps")
        return Acceptance(steps, self.count("everdraft_engine_decode_tokens"))
