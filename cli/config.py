"""Configuration: what a verb is told, by flags, environment, TOML file and defaults, in that order."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from cli.errors import ConfigError
from cli.layers import Layer, defaults, from_file, from_names
from cli.options import PREFIX
from cli.sections import DataSection, RegistrySection, ServerSection, TargetSection, TrafficSection
from models.source import bundled_target
from serving.rollout import RolloutSettings
from serving.settings import EngineSettings
from trainer.settings import TrainerSettings

FILE_VARIABLE = PREFIX + "CONFIG"
TEST_VARIABLES = PREFIX + "TEST_"
"""What the tests are told by the environment, and nobody else."""
OFF = "off"

_Section = TypeVar("_Section")


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """Checked and complete."""

    data: Path
    target: TargetSection
    server: ServerSection
    traffic: TrafficSection
    registry: RegistrySection
    engine: EngineSettings
    trainer: TrainerSettings
    settings: Layer
    """Each option as it was given, for showing."""

    @property
    def traffic_url(self) -> str | None:
        """None: no log is kept."""
        return None if self.traffic.url == OFF else self.traffic.url


def load(flags: Mapping[str, str], environ: Mapping[str, str], file: Path | None = None) -> Configuration:
    """The configuration that these add up to.

    flags: texts by `Option.name`. file: the TOML file; None: the one that the environment names, if it does.
    Raises ConfigError.
    """
    if file is None and FILE_VARIABLE in environ:
        file = Path(environ[FILE_VARIABLE])
    variables = {
        name.removeprefix(PREFIX).lower(): text
        for name, text in environ.items()
        if name.startswith(PREFIX) and name != FILE_VARIABLE and not name.startswith(TEST_VARIABLES)
    }
    return _assemble(
        {
            **defaults(),
            **(from_file(file) if file is not None else {}),
            **from_names(variables, lambda name: PREFIX + name.upper()),
            **from_names(flags, lambda name: "--" + name.replace("_", "-")),
        }
    )


def _assemble(settings: Layer) -> Configuration:
    data = _build(DataSection, "", settings).data
    target = _build(TargetSection, "target", settings)
    target = replace(target, path=target.path or str(bundled_target()))
    traffic = _build(TrafficSection, "traffic", settings)
    traffic = replace(traffic, url=traffic.url or _sqlite(data / "traffic.db"), spool=traffic.spool or str(data / "spool"))
    registry = _build(RegistrySection, "registry", settings)
    registry = RegistrySection(
        url=registry.url or _sqlite(data / "registry.db"),
        checkpoints=registry.checkpoints or str(data / "checkpoints"),
    )
    engine = _build(
        EngineSettings,
        "engine",
        settings,
        target=target.path,
        revision=target.revision,
        dtype=target.dtype,
        device=target.device,
        registry=registry.url,
        checkpoints=registry.checkpoints,
        rollout=_build(RolloutSettings, "rollout", settings),
    )
    return Configuration(
        data=data,
        target=target,
        server=_build(ServerSection, "server", settings),
        traffic=traffic,
        registry=registry,
        engine=engine,
        trainer=_build(
            TrainerSettings,
            "trainer",
            settings,
            target=target.path,
            revision=target.revision,
            served_dtype=target.dtype,
            traffic=traffic.url,
            registry=registry.url,
            checkpoints=registry.checkpoints,
            state=str(data / "trainer"),
            heads=engine.heads,
            draft=engine.draft,
            lookahead=engine.ssd_lookahead,
        ),
        settings=settings,
    )


def _sqlite(path: Path) -> str:
    return f"sqlite:///{path}"


def _build(owner: Callable[..., _Section], section: str, settings: Layer, **decided: object) -> _Section:
    """A section from its settings and from what other sections decide for it. Raises ConfigError."""
    own = {option: setting for option, setting in settings.items() if option.section == section}
    try:
        return owner(**{option.field: setting.value for option, setting in own.items()}, **decided)
    except ValueError as error:
        # it reads "field is value, expected …"
        wrong = str(error).partition(" ")[0]
        origins = [setting.origin for option, setting in own.items() if option.field == wrong]
        raise ConfigError(f"{section}.{error}" + "".join(f" (from {origin})" for origin in origins)) from None
