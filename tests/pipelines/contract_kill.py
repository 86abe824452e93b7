"""What a traffic log keeps of a server that is killed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.traffic_log import TrafficReader, open_reader

ROOT = Path(__file__).parents[2]
NUM_FLUSHED = 20
GRACE = 1.0
"""Seconds of traffic that a killed server may lose."""


class KillContract:
    @pytest.mark.slow
    def test_a_killed_writer_loses_nothing_flushed_and_nothing_older_than_a_second(self, url: str) -> None:
        reader = open_reader(url)
        command = [sys.executable, "-m", "tests.pipelines.appending_process", url, str(NUM_FLUSHED)]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            appended = [process.stdout.readline().split() for _ in range(NUM_FLUSHED)]
            looked_at = started_at = float(appended[-1][1])
            while looked_at < started_at + 2.5 * GRACE:
                appended.append(process.stdout.readline().split())
                now = float(appended[-1][1])
                if now > looked_at + 0.05:
                    # what a reader finds at any moment is what a kill at that moment would have left
                    assert _ids(reader) >= {name for name, at in appended if float(at) < now - GRACE}
                    looked_at = now
            process.kill()
        found = _ids(reader)
        assert found >= {name for name, _ in appended[:NUM_FLUSHED]}
        assert found >= {name for name, at in appended if float(at) < looked_at - GRACE}
        assert len(found) > NUM_FLUSHED, "nothing was written without a flush: the test proves little"
        assert reader.num_skipped() == 0
        reader.close()


def _ids(reader: TrafficReader) -> set[str]:
    return {logged.trace.trace_id for logged in reader.read({}, 1_000_000)}
