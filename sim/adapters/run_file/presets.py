"""Presets of providers: address, key variable and field names by a name, and what is known of n, seeds and errors.

The tables are data, in `presets.toml`: a further provider is a table there. A run file may override every key.
"""

import functools
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from importlib import resources
from typing import Any

from sim.adapters.run_file.kinds import word
from sim.adapters.run_file.toml_table import TomlTable


@dataclass(frozen=True)
class Preset:
    """A provider.

    Attributes:
        settings: keys of [endpoint] with their values.
        known: what was read about the provider, in words, by subject.
        sources: where that was read.
        read: when.
    """

    settings: Mapping[str, Any]
    known: Mapping[str, str]
    sources: tuple[str, ...]
    read: date


@functools.cache
def presets() -> dict[str, Preset]:
    """All presets by their names.

    Example:
        >>> from sim.adapters.run_file.presets import presets
        >>> presets()["mistral"].settings["seed_field"]
        'random_seed'
    """
    text = (resources.files("sim.adapters.run_file") / "presets.toml").read_text(encoding="utf-8")
    made = {}
    for name, table in tomllib.loads(text).items():
        known = dict(table["known"])
        made[name] = Preset(table["settings"], known, tuple(known.pop("sources")), known.pop("read"))
    return made


def expanded(top: TomlTable) -> dict[str, Any]:
    """The content of a run file with the presets' settings in its endpoints, but for those that it gives itself.

    Raises:
        ValueError: there is no such preset; or it has no address of its own, and the file gives none.
    """
    content = dict(top.content)
    if "endpoint" in content:
        content["endpoint"] = _expanded(top, "endpoint", content["endpoint"])
    if isinstance(several := content.get("endpoints"), dict):
        content["endpoints"] = {name: _expanded(top, f"endpoints.{name}", one) for name, one in several.items()}
    return content


def _expanded(top: TomlTable, place: str, given: Any) -> Any:
    """The content of an endpoint's table with its preset's settings."""
    if not isinstance(given, dict) or "preset" not in given:
        return given
    name = TomlTable(top.file, place, given).value("preset", word(*presets()))
    preset = presets()[name]
    endpoint = {**preset.settings, **given}
    if "base_url" not in endpoint:
        address = preset.known["address"]
        raise top.wrong(f"{place}.base_url", f"is missing; the preset {name!r} needs it: {address}")
    return endpoint
