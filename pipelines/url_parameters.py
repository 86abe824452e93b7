"""Parameters of a URL: known by name, and files among them that are there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import parse_qsl

from pipelines.errors import BadUrl


def parameters(query: str, known: Sequence[str], setting: str) -> dict[str, str]:
    """What stands behind the question mark. Raises BadUrl, naming the setting and the parameter, for one that is not `known`."""
    given = dict(parse_qsl(query, keep_blank_values=True))
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise BadUrl(f"{setting}: unknown parameter {unknown[0]!r}, expected among {', '.join(known)}")
    return given


def tls_files(given: Mapping[str, str], options: Mapping[str, str], setting: str, *, no_tls: str = "") -> dict[str, str]:
    """Files for TLS as a client's options: `options` has its name for each parameter.

    no_tls: why there is no TLS, where there is none; files are of no use then. Raises BadUrl for them, or where one is not there.
    """
    found = {}
    for name, option in options.items():
        if name in given:
            if no_tls:
                raise BadUrl(f"{setting}: {name} is given, {no_tls}")
            if not Path(given[name]).is_file():
                raise BadUrl(f"{setting}: {name}: there is no file {given[name]!r}")
            found[option] = given[name]
    return found


def password(given: Mapping[str, str], otherwise: str | None, setting: str) -> str | None:
    """What `password_file` holds, space around it stripped; `otherwise`, where there is no such parameter. Raises BadUrl."""
    if "password_file" not in given:
        return otherwise
    try:
        return Path(given["password_file"]).read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise BadUrl(f"{setting}: password_file cannot be read: {error}") from None
