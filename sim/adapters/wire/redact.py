"""Reads keys, and keeps them out of everything that is written, in whatever form they come back."""

import base64
import functools
import importlib
import json
import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

SHORTEST = 8
"""Signs that a key has at least: a shorter one is part of ordinary answers, which must stay as they are."""


class Secrets:
    """Keys by the names of their variables: those of the environment, else those of a `.env` file.

    The file is read once, and never written; what is in it does not become part of the environment. Without the package
    `python-dotenv` it is not read. It is never printed, pickled or compared.

    Args:
        file: the `.env` file, which need not be there; None for none.
    """

    def __init__(self, file: Path | None = None):
        self.file = file
        self._filed, self._unread = _dot_env(file)

    def __repr__(self) -> str:
        return "Secrets(...)"

    def __reduce__(self) -> str:
        raise TypeError("Secrets cannot be pickled")

    @property
    def values(self) -> tuple[str, ...]:
        """Values of the file that are no shorter than keys: all are kept out of what is written."""
        return tuple(value for value in self._filed.values() if len(value) >= SHORTEST)

    def filed(self, variable: str) -> bool:
        """Whether the key of a variable is that of the file."""
        return bool(variable and not os.environ.get(variable) and self._filed.get(variable))

    def key(self, variable: str, where: str) -> str:
        """The key of a variable that the key `where` of a configuration names; empty where it names none.

        Raises:
            ValueError: there is no key, or it cannot be one.
        """
        if not variable:
            return ""
        key = os.environ.get(variable) or self._filed.get(variable, "")
        if not key:
            also = f" and neither does {self.file}" if self._filed else self._unread
            raise ValueError(f"the environment variable {variable} ({where}) holds no key{also}")
        if not key.isascii() or not key.isprintable() or " " in key:
            raise ValueError(
                f"the key in {variable} ({where}) holds a space, a line end or a sign that no HTTP header carries"
            )
        if len(key) < SHORTEST:
            raise ValueError(
                f"the key in {variable} ({where}) has fewer than {SHORTEST} signs, too few to tell it from ordinary "
                "text; for a server without keys make it empty"
            )
        return key


def _dot_env(file: Path | None) -> tuple[dict[str, str], str]:
    """Variables of a `.env` file, and why it was not read where it is there and was not."""
    if file is None or not os.path.isfile(file):
        return {}, ""
    try:
        dotenv: Any = importlib.import_module("dotenv")
    except ImportError:
        return {}, f"; {file} is not read without the package python-dotenv (install iapo-testbed[llm])"
    try:
        found = dotenv.dotenv_values(file, interpolate=False, encoding="utf-8-sig")
    except (OSError, ValueError):  # whose words may quote what the file holds
        raise ValueError(f"{file}: cannot be read as UTF-8 text") from None
    return {name: value for name, value in found.items() if value}, ""


_ESCAPE = re.compile(rb'\\+(?:u00([2-7][0-9a-fA-F])|([/"\\]))|%(?:25)*([2-7][0-9a-fA-F])')
"""A sign that JSON or a URL may escape, perhaps more than once (JSON in JSON)."""


class Redactor:
    """Replaces secrets, raw or encoded, by asterisks. It is never printed, pickled or compared."""

    def __init__(self, *secrets: str):
        forms = {form for secret in secrets if secret for form in _forms(secret)}
        self._forms = sorted(forms, key=len, reverse=True)

    @functools.cached_property
    def _escaped(self) -> re.Pattern[bytes]:
        """A pattern of all forms; compiled when one is met, for of many secrets that takes seconds."""
        return re.compile(b"|".join(map(_escapable, self._forms)))

    def __repr__(self) -> str:
        return "Redactor(...)"

    def __reduce__(self) -> str:
        raise TypeError("a Redactor holds secrets and cannot be pickled")

    def clean(self, content: bytes) -> bytes:
        """The content without the secrets, however JSON may spell it; the same object where it holds none."""
        if self._forms and not (encoding := json.detect_encoding(content)).startswith("utf-8"):  # read as JSON, too
            content = content.decode(encoding, "replace").encode("utf-8", "replace")
        return self._replaced(content)

    def text(self, text: str) -> str:
        """Text without the secrets."""
        return self._replaced(text.encode("utf-8", "surrogatepass")).decode("utf-8", "surrogatepass")

    def _replaced(self, content: bytes) -> bytes:
        for form in self._forms:
            if form in content:
                content = content.replace(form, b"***")
        if self._forms and (b"\\" in content or b"%" in content):
            spelt_out = _ESCAPE.sub(_sign, content)
            if any(form in spelt_out for form in self._forms):
                content = self._escaped.sub(b"***", content)
        return content


def _forms(secret: str) -> set[bytes]:
    """The spellings of a secret: raw, in URLs, in hexadecimal, in base64 after anything."""
    plain = secret.encode()
    spelt = (secret, quote(secret), quote(secret, safe=""), plain.hex(), plain.hex().upper())
    forms = {form.encode() for form in spelt}
    for before in (b"", b":", b"Bearer "):  # as headers have it, to the last sign
        whole = base64.b64encode(before + plain)
        forms |= {whole, whole.rstrip(b"="), base64.urlsafe_b64encode(before + plain)}
    for skipped in range(3):  # after anything, as in user:key; signs shared with others stay
        inner = slice(-(-8 * skipped // 6), 8 * (skipped + len(plain)) // 6)
        forms |= {encode(b"." * skipped + plain)[inner] for encode in (base64.b64encode, base64.urlsafe_b64encode)}
    return forms


def _sign(escape: re.Match[bytes]) -> bytes:
    code = escape[1] or escape[3]
    return bytes.fromhex(code.decode()) if code else escape[2]


def _escapable(form: bytes) -> bytes:
    """A pattern of some text, any sign of which may be escaped."""
    signs = ((re.escape(bytes([one])), one) for one in form)
    return b"".join(rb"(?:\\*%s|\\+(?i:u00%02x)|%%(?:25)*(?i:%02x))" % (sign, one, one) for sign, one in signs)
