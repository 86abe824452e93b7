"""Argument types: what the words behind flags are read as; argparse shows what they expected."""

from __future__ import annotations

import argparse
import math
from datetime import datetime

from speculator.ssd.address import Address


def count(text: str) -> int:
    """A number of things, of which there is at least one."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} given, expected at least 1")
    return number


def layers(text: str) -> tuple[int, ...]:
    """Layers of a model, counted from 0."""
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} given, expected numbers such as 0,5") from None


def quantity(text: str) -> float:
    """A temperature, or a number of seconds."""
    number = float(text)
    if not (math.isfinite(number) and number >= 0):
        raise argparse.ArgumentTypeError(f"{text} given, expected 0 or more")
    return number


def rate(text: str) -> float:
    """A number of things a second."""
    number = float(text)
    if not (math.isfinite(number) and number > 0):
        raise argparse.ArgumentTypeError(f"{text} given, expected more than 0")
    return number


def share(text: str) -> float:
    """A part of the whole."""
    number = float(text)
    if not 0 < number < 1:
        raise argparse.ArgumentTypeError(f"{text} given, expected more than 0 and less than 1")
    return number


def moment(text: str) -> float:
    """A date, a time of a date, or Unix seconds; as Unix seconds."""
    try:
        return quantity(text)
    except ValueError:
        pass
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text} given, expected a time such as 2026-01-31T18:00, or Unix seconds") from None


def offsets(text: str) -> dict[int, int]:
    """Offsets by partition: `7`, of the only one, or `0:7,1:9`."""
    try:
        pairs = [part.split(":") for part in text.split(",")]
        found = {int(pair[0]) if len(pair) == 2 else 0: int(pair[-1]) for pair in pairs}
    except ValueError:
        found = {}
    if not found or len(found) < len(pairs) or min(min(found), *found.values()) < 0:
        raise argparse.ArgumentTypeError(f"{text} given, expected an offset, or partition:offset,…")
    return found


def address(text: str) -> Address:
    """An argument that is an address of a server of ours."""
    try:
        return Address.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r}, expected {error}") from None
