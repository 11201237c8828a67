"""Files from outside, zip archives among them: refused where they are too large or their directory lies."""

import os
import struct
import zipfile
from pathlib import Path

MAX_UNPACKED = 2**30
"""Archives that unpack to more bytes are refused."""
_END = struct.Struct("<4s4H2LH")  # the end of an archive's directory: fifth field, the number of its entries


def readable_file(path: Path, max_bytes: int) -> None:
    """Complain in one sentence unless `path` is a file of at most `max_bytes` bytes."""
    if not path.is_file():
        raise ValueError(f"{path}: {'is a folder' if path.is_dir() else 'no such file'}; give the path of a file")
    if path.stat().st_size > max_bytes:
        raise ValueError(f"{path}: has {path.stat().st_size} bytes; at most {max_bytes} are read")


def check_directory(path: Path, archive: zipfile.ZipFile) -> None:
    """Complain about entries that are not as many as the directory says, of one name, or unpack to too much."""
    entries = archive.infolist()
    with path.open("rb") as file:
        file.seek(-_END.size - len(archive.comment), os.SEEK_END)
        *_, said, _, _, _ = _END.unpack(file.read(_END.size))
    if min(len(entries), 0xFFFF) != said:  # of more than that a longer directory tells
        raise ValueError(f"names {len(entries)} entries and says that they are {said}")
    names = [info.filename.removesuffix(".npy") for info in entries]
    if len(set(names)) < len(names):
        raise ValueError(f"holds the entry {max(names, key=names.count)!r} twice")
    total = sum(info.file_size for info in entries)
    if total > MAX_UNPACKED:
        raise ValueError(f"unpacks to {total} bytes; at most {MAX_UNPACKED} are read")
    for info in entries:  # what older methods unpack to is not bounded while it is read
        if info.compress_type in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
            raise ValueError(f"{info.filename} is compressed by method {info.compress_type}; deflate or store it")
