"""Addresses of servers, checked so that no secret in one is accepted, kept or repeated."""

import re
from typing import Any
from urllib.parse import urlsplit

from sim.adapters.run_file.kinds import TEXT, ValueKind

_SECRET = re.compile("[@?#]")
"""Signs of a user, a password, a query or a fragment; an address that has one is not repeated."""


def _address(value: Any) -> str:
    url = TEXT.check(value)
    shown = "cannot be shown here" if _SECRET.search(url) else f"is {url!r}"
    try:
        parts = urlsplit(url)
        port_is_right = parts.port is None or parts.port > 0
    except ValueError:
        raise ValueError(f"{shown}, which is no URL; its host or port makes no sense") from None
    if "@" in parts.netloc or "?" in url or "#" in url:
        raise ValueError("holds a user, a password or a query; name the key's variable in key_variable")
    if parts.scheme not in ("http", "https") or not parts.hostname or not port_is_right or re.search(r"\s", url):
        raise ValueError(f"{shown}; expected http://... or https://...")
    return url


ADDRESS = ValueKind(_address, {"type": "string", "pattern": "^https?://"})
"""An http or https address; what may be a secret is neither accepted nor told."""
