"""`everdraft serve`: the engine in a process of its own, the HTTP side and the traffic log in this one."""

from __future__ import annotations

import asyncio
import logging
import socket
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

from cli.admin_key import admin_key
from cli.config import Configuration
from cli.errors import CliError, UsageError
from models.config import DecoderConfig
from models.fields import Fields
from models.source import locate, target_name
from models.tokenizer_files import load_tokenizer
from pipelines.registry import Registry, open_registry
from pipelines.traffic_log import TrafficWriter, open_writer
from serving.api.app import create_app
from serving.api.server import ApiServer, listen, url_of
from serving.api.settings import ApiSettings
from serving.engine_process import EngineProcess
from serving.link import EngineDead
from serving.traffic import TenantPolicy, TrafficRecorder

log = logging.getLogger(__name__)

_LOOPBACK = ("127.0.0.1", "::1", "localhost")


def serve(config: Configuration) -> None:
    """Serves until SIGINT or SIGTERM, then drains: answers finish, traces become durable.

    Raises UsageError for an address that cannot be had, ModelError for a target that cannot be served,
    CliError when the engine dies.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s server %(levelname)s %(message)s")
    settings = _api_settings(config)
    if not settings.keys and config.server.host not in _LOOPBACK:
        log.warning("no API keys: whoever reaches %s may call", config.server.host)
    if settings.lossy.allowed:
        log.warning("lossy_acceptance is %s: %s", settings.lossy.lossy_acceptance, settings.lossy)
    with ExitStack() as stack:
        bound = stack.enter_context(_listen(config.server.host, config.server.port))
        writer = _writer(config)
        if writer is not None:
            stack.enter_context(closing(writer))
        registry = stack.enter_context(closing(open_registry(config.registry.url)))
        asyncio.run(_serve(config, settings, bound, writer, registry))


async def _serve(
    config: Configuration, settings: ApiSettings, bound: socket.socket, writer: TrafficWriter | None, registry: Registry
) -> None:
    # stable across restarts, so that a restarted server does not show as a second one
    name = f"{socket.gethostname()}:{bound.getsockname()[1]}"
    deaths: list[str] = []
    server: ApiServer | None = None

    def on_death(why: str) -> None:
        deaths.append(why)
        if server is not None:
            server.should_exit = True

    engine = EngineProcess(replace(config.engine, name=name), on_death)
    try:
        await _started(engine, config)
        snapshot = engine.snapshot()
        assert snapshot is not None, "an engine that is ready has said so"
        tokenizer = load_tokenizer(config.target.path, revision=config.target.revision)
        policy = TenantPolicy(config.traffic.policy, config.traffic.tenants)
        traffic = TrafficRecorder(writer, policy, snapshot.target, tokenizer.fingerprint)
        app = create_app(engine, tokenizer, settings, traffic, registry)
        url = url_of(bound)
        server = ApiServer(
            app,
            config.server.drain_seconds,
            on_listening=lambda: log.info("%s is served at %s/v1", settings.model, url),
        )
        await server.serve(sockets=[bound])
    finally:
        # an engine that is still loading listens to nobody: no use in waiting
        await engine.stop(config.server.drain_seconds if server is not None else 0)
    if deaths:
        raise CliError(f"the engine died: {deaths[0]}")


async def _started(engine: EngineProcess, config: Configuration) -> None:
    log.info("loading %s", config.target.path)
    try:
        await engine.start()
    except EngineDead as error:
        raise CliError(f"the engine did not start: {error}") from None


def _api_settings(config: Configuration) -> ApiSettings:
    server, target = config.server, config.target
    folder = locate(target.path, target.revision, weights=False)
    longest = min(
        DecoderConfig.from_hf(Fields.read(folder / "config.json").values).max_positions,
        config.engine.max_cached_tokens,
    )
    if server.max_model_len > longest:
        raise UsageError(
            f"server.max_model_len is {server.max_model_len}, expected at most {longest}: "
            "what the model and engine.max_cached_tokens hold"
        )
    return ApiSettings(
        model=server.served_model_name or target_name(target.path),
        max_model_len=server.max_model_len or longest,
        keys=server.api_keys,
        lossy=server.lossy,
        admin_key=server.admin_key or admin_key(config.data),
        cors_origins=server.cors_origins,
        max_in_flight=server.max_in_flight,
        max_body_bytes=server.max_body_bytes,
    )


def _listen(host: str, port: int) -> socket.socket:
    try:
        return listen(host, port)
    except OSError as error:
        raise UsageError(f"cannot listen on {host}, port {port}: {error.strerror}") from None


def _writer(config: Configuration) -> TrafficWriter | None:
    if config.traffic_url is None:
        return None
    traffic = config.traffic
    return open_writer(
        config.traffic_url,
        spool=Path(traffic.spool),
        max_queue=traffic.max_queue,
        max_bytes=traffic.max_bytes,
        max_age=traffic.max_age,
    )
