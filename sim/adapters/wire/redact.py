"""Reads a key, and keeps it out of everything that is written, in whatever form it comes back."""

import base64
import json
import os
import re
from urllib.parse import quote

SHORTEST = 8
"""Signs that a key has at least: a shorter one is part of ordinary answers, which must stay as they are."""


def read_key(variable: str, where: str) -> str:
    """The key in an environment variable that the key `where` of a configuration names; empty where it names none."""
    if not variable:
        return ""
    key = os.environ.get(variable, "")
    if not key:
        raise ValueError(f"the environment variable {variable} ({where}) holds no key")
    if not key.isascii() or not key.isprintable() or " " in key:
        raise ValueError(
            f"the key in {variable} ({where}) holds a space, a line end or a sign that no HTTP header carries"
        )
    if len(key) < SHORTEST:
        raise ValueError(
            f"the key in {variable} ({where}) has fewer than {SHORTEST} signs, too few to tell it from ordinary text; "
            "for a server without keys make it empty"
        )
    return key


_ESCAPE = re.compile(rb'\\+(?:u00([2-7][0-9a-fA-F])|([/"\\]))|%(?:25)*([2-7][0-9a-fA-F])')
"""A sign that JSON or a URL may escape, perhaps more than once (JSON in JSON)."""


class Redactor:
    """Replaces a secret, raw or encoded, by asterisks. It is never printed, pickled or compared."""

    def __init__(self, secret: str):
        plain = secret.encode()
        spelt = (secret, quote(secret), quote(secret, safe=""), plain.hex(), plain.hex().upper())
        forms = {form.encode() for form in spelt} if secret else set()
        for before in (b"", b":", b"Bearer ") if secret else ():  # as headers have it, to the last sign
            whole = base64.b64encode(before + plain)
            forms |= {whole, whole.rstrip(b"="), base64.urlsafe_b64encode(before + plain)}
        for skipped in range(3) if secret else ():  # after anything, as in user:key; signs shared with others stay
            inner = slice(-(-8 * skipped // 6), 8 * (skipped + len(plain)) // 6)
            forms |= {encode(b"." * skipped + plain)[inner] for encode in (base64.b64encode, base64.urlsafe_b64encode)}
        self._forms = sorted(forms, key=len, reverse=True)
        self._escaped = re.compile(b"|".join(map(_escapable, self._forms)))

    def __repr__(self) -> str:
        return "Redactor(...)"

    def __reduce__(self) -> str:
        raise TypeError("a Redactor holds a secret and cannot be pickled")

    def clean(self, content: bytes) -> bytes:
        """The content without the secret, however JSON may spell it; the same object where it holds none."""
        if self._forms and not (encoding := json.detect_encoding(content)).startswith("utf-8"):  # read as JSON, too
            content = content.decode(encoding, "replace").encode("utf-8", "replace")
        return self._replaced(content)

    def text(self, text: str) -> str:
        """Text without the secret."""
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


def _sign(escape: re.Match[bytes]) -> bytes:
    code = escape[1] or escape[3]
    return bytes.fromhex(code.decode()) if code else escape[2]


def _escapable(form: bytes) -> bytes:
    """A pattern of some text, any sign of which may be escaped."""
    signs = ((re.escape(bytes([one])), one) for one in form)
    return b"".join(rb"(?:\\*%s|\\+(?i:u00%02x)|%%(?:25)*(?i:%02x))" % (sign, one, one) for sign, one in signs)
