"""`everdraft config`: the configuration in effect, and where each value came from."""

from __future__ import annotations

from cli.config import Configuration
from cli.show import as_json, table


def show_config(config: Configuration, *, as_data: bool) -> None:
    """Prints every option; secrets are not shown."""
    rows = [(option.key, setting.shown(option), setting.origin, option.variable) for option, setting in config.settings.items()]
    if as_data:
        print(as_json({key: {"value": value, "from": origin} for key, value, origin, _ in rows}))
    else:
        print(table(("key", "value", "from", "variable"), rows))
