"""`everdraft tenant`: hands out, or deletes for good, what is kept of one tenant."""

from __future__ import annotations

import sys
from contextlib import closing, suppress
from pathlib import Path

import msgspec

from cli.config import Configuration
from cli.errors import NotThere, UsageError
from cli.operate import by_hand
from cli.slots import opened
from pipelines.traffic_log import TrafficReader, is_kafka, open_reader, without_secrets
from speculator.datastore import forget
from speculator.suffix_files import file_of


def export(config: Configuration, tenant: str, out: Path | None) -> None:
    """Writes the tenant's traces, one JSON object a line, to `out` or to standard output.

    Raises NotThere where the log holds nothing of it.
    """
    with closing(_reader(config)) as reader:
        traces = reader.export(tenant)
    if not traces:
        raise NotThere(f"tenant {tenant!r} has no trace in {without_secrets(config.traffic.url)}")
    lines = b"".join(msgspec.json.encode(trace) + b"\n" for trace in traces)
    if out is None:
        sys.stdout.buffer.write(lines)
    else:
        out.write_bytes(lines)
        print(f"{len(traces)} traces of tenant {tenant} written to {out}")


def purge(config: Configuration, tenant: str, *, sure: bool) -> None:
    """Deletes the tenant's traces for good, and its texts in the datastore, and has servers forget what their sources remember.

    Raises UsageError unless the caller is `sure`, LogUnavailable, RegistryUnavailable, BadDatastore.
    """
    if not sure:
        raise UsageError(f"everything held of tenant {tenant!r} would be deleted for good; say --yes")
    if config.traffic_url is not None:
        with closing(_reader(config)) as reader:
            gone = reader.purge(tenant)
        print(f"{gone} traces of tenant {tenant} deleted from {without_secrets(config.traffic.url)}")
    if config.engine.rest:
        print(f"{forget(Path(config.engine.rest), tenant)} tokens of tenant {tenant} deleted from {config.engine.rest}")
    if config.engine.suffix_folder:
        file_of(Path(config.engine.suffix_folder), tenant).unlink(missing_ok=True)
    with suppress(NotThere), opened(config) as registry:  # where nobody made one nobody serves
        by_hand(registry).purge(tenant)
        print("Servers forget it within seconds.")
    if is_kafka(config.traffic.url):
        print("No reader hands them out any more; their bytes go when the topic's retention comes round.")


def _reader(config: Configuration) -> TrafficReader:
    if config.traffic_url is None:
        raise UsageError("traffic.url is off: no log is kept")
    return open_reader(config.traffic_url)
