"""Config flags: those that every option of the configuration has, on every verb."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Mapping
from pathlib import Path

from cli.options import NO_FLAG, SECTIONS, Option, options
from cli.values import to_text


def add_config_flags(parser: argparse.ArgumentParser, sections: Collection[str]) -> None:
    """`--config FILE` and a flag for every option; help shows those of `sections`.

    The others are taken too, so that one set of flags does for all verbs, as one file and one environment do.
    """
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="TOML file with a section for each group below (EVERDRAFT_CONFIG)",
    )
    for section in SECTIONS:
        group = parser.add_argument_group(f"[{section}]" if section else "where everything is kept")
        for option in options():
            if option.section == section:
                _add_option(group, option, shown=section in sections)


def _add_option(group: argparse._ArgumentGroup, option: Option, *, shown: bool) -> None:
    default = to_text(option.default)
    text = f"{option.help} (default: {default})" if default else option.help
    text = text.replace("%", "%%") if shown else argparse.SUPPRESS
    metavar = option.field.upper()
    if option.key not in NO_FLAG:
        group.add_argument(option.flag, dest=_dest(option.name), metavar=metavar, help=text)
        text = f"file that holds {option.flag}" if shown else text
    if option.secret:
        group.add_argument(f"{option.flag}-file", dest=_dest(f"{option.name}_file"), metavar="FILE", help=text)


def given_config_flags(args: argparse.Namespace) -> dict[str, str]:
    """What of the configuration was given as flags, by `Option.name`."""
    found = {name.removeprefix(_DEST): text for name, text in vars(args).items() if name.startswith(_DEST)}
    return {name: text for name, text in found.items() if text is not None}


_DEST = "option "


def _dest(name: str) -> str:
    """Where argparse keeps an option's text: apart from the verbs' own flags, whatever these are called."""
    return _DEST + name


def as_words(file: Path | None, flags: Mapping[str, str]) -> tuple[str, ...]:
    """The same flags as words of a command line."""
    words = ["--config", str(file)] if file is not None else []
    return (*words, *(f"--{name.replace('_', '-')}={text}" for name, text in flags.items()))
