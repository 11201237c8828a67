"""Released environments by the git blob id of each file, to know them by before they are read."""

import hashlib
from pathlib import Path

RELEASED = {
    "MATH": "50a3f35a26c689c611f92a32248624c7e9bcc302",
    "CQA": "18307bad4f8d71098546fe887e064436015ef3dc",
    "HH": "d6043f39466a98048c31f75654c84f4c0bf47fa5",
    "SB": "50b002e6334eab0b1cb6c4bb721bda1b493fbf79",
    "Summarization": "cfea635c99b5665f3d68aa0d89e91d4a67aa6481",
}
"""The released environments and the git blob id of each file, NAME_final.pkl."""


def git_blob_id(path: Path) -> str:
    """The id under which git stores a file: sha1 of "blob <size>", a zero byte and the content."""
    digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(2**20):
            digest.update(chunk)
    return digest.hexdigest()
