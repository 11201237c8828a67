"""Addresses of servers, checked so that no secret in one is accepted, kept or repeated."""

import re
from urllib.parse import urlsplit

from sim.adapters.run_file.toml_table import TomlTable

_SECRET = re.compile("[@?#]")
"""Signs of a user, a password, a query or a fragment; an address that has one is not repeated."""


def address(table: TomlTable, key: str) -> str:
    """The http or https address that a key of the configuration holds.

    Raises:
        ValueError: it is none, or holds what may be a secret; the sentence names file and key.
    """
    url = table.text(key)
    shown = "cannot be shown here" if _SECRET.search(url) else f"is {url!r}"
    try:
        parts = urlsplit(url)
        port_is_right = parts.port is None or parts.port > 0
    except ValueError:
        raise table.wrong(key, f"{shown}, which is no URL; its host or port makes no sense") from None
    if "@" in parts.netloc or "?" in url or "#" in url:
        raise table.wrong(key, "holds a user, a password or a query; name the key's variable in key_variable")
    if parts.scheme not in ("http", "https") or not parts.hostname or not port_is_right or re.search(r"\s", url):
        raise table.wrong(key, f"{shown}; expected http://... or https://...")
    return url
