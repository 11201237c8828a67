"""Keeps a key out of everything that is written, in whatever form it comes back."""

import base64
from urllib.parse import quote


class Redactor:
    """Replaces a secret, raw or encoded, by asterisks. It is never printed, pickled or compared."""

    def __init__(self, secret: str):
        forms = {secret, quote(secret, safe=""), quote(secret)} if secret else set()
        for text in (secret, f"Bearer {secret}", f":{secret}") if secret else ():
            encoded = base64.b64encode(text.encode())
            forms |= {encoded.decode(), encoded.decode().rstrip("="), base64.urlsafe_b64encode(text.encode()).decode()}
        self._forms = sorted((form.encode() for form in forms), key=len, reverse=True)

    def __repr__(self) -> str:
        return "Redactor(...)"

    def __reduce__(self) -> str:
        raise TypeError("a Redactor holds a secret and cannot be pickled")

    def clean(self, content: bytes) -> bytes:
        """The content without the secret; the same object where it holds none."""
        for form in self._forms:
            if form in content:
                content = content.replace(form, b"***")
        return content

    def text(self, text: str) -> str:
        """`clean` for text."""
        return self.clean(text.encode("utf-8", "surrogatepass")).decode("utf-8", "surrogatepass")
