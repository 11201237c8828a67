"""Ways to damage a file: bytes, and what only one kind of file has, chosen by seeded random numbers."""

import hashlib
import io
import itertools
import json
import pickletools
import random
import sqlite3
import zipfile
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import pandas as pd

ODD: tuple[Any, ...] = (
    *(None, True, 0, -1, 1.5, 2**31, 2**63, 10**400, -(10**30), 1e308, float("nan"), float("inf")),
    *("", "\ud83d", "\x00", "=1+1", "\x1b[2J", "x" * 5000, "9" * 5000, "NaN", "1e999", "None", "../x", "os:system"),
    *([], {}, [None], {"": {}}, [[]] * 50),
)
BITS = (
    b"\x00",
    b"\xff",
    b"\x7f",
    b"\x80",
    b"-",
    b"9",
    b'"',
    b"\n",
    b"\r",
    b",",
    b"{",
    b"[",
    b"\\ud83d",
    b"1e999",
    b"PK",
)


def flipped(content: bytes, rng: random.Random) -> bytes:
    """A few bytes changed, put in, taken out, doubled, or the end cut off."""
    made = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 5, 20))):
        at, size = rng.randrange(len(made) + 1), rng.choice((1, 1, 2, 8, 100))
        match rng.randrange(6):
            case 0 if at < len(made):
                made[at] ^= 1 << rng.randrange(8)
            case 1:
                made[at : at + 1] = bytes([rng.randrange(256)])
            case 2:
                made[at:at] = rng.choice(BITS)
            case 3:
                del made[at : at + size]
            case 4:
                made[at:at] = made[at : at + size] * rng.choice((1, 1, 30))
            case _ if rng.random() < 0.2:
                del made[at:]
    return bytes(made)


def odd(value: Any, rng: random.Random) -> Any:
    """A JSON value with one part replaced, taken out or nested deeply."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = rng.choice(list(value))
        rest = {name: one for name, one in value.items() if name != key}
        kind = rng.random()
        if kind < 0.1:
            return rest
        return rest | ({rng.choice(("", "\ud83d", "x")): value[key]} if kind < 0.2 else {key: odd(value[key], rng)})
    if isinstance(value, list) and value and rng.random() < 0.9:
        at = rng.randrange(len(value))
        new = rng.choice(([], [value[at]] * 2, [odd(value[at], rng)], [odd(value[at], rng)]))
        return [*value[:at], *new, *value[at + 1 :]]
    return rng.choice(ODD)


def dumped(value: Any, rng: random.Random) -> bytes:
    """JSON; now and then with a value nested more deeply than any reader follows."""
    sentinel = "\x01deep\x01"
    value = sentinel if rng.random() < 0.01 else value
    text = json.dumps(value, ensure_ascii=rng.random() < 0.9)
    deep = rng.choice(("[" * 9000 + "]" * 9000, '{"a":' * 9000 + "1" + "}" * 9000))
    return text.replace(json.dumps(sentinel), deep).encode("utf-8", "surrogatepass")


def json_odd(content: bytes, rng: random.Random) -> bytes:
    return dumped(odd(json.loads(content), rng), rng)


def lines_odd(content: bytes, rng: random.Random) -> bytes:
    made = [line for line in content.split(b"\n") if line.strip()]
    for _ in range(rng.choice((1, 1, 3))):
        at = rng.randrange(len(made))
        made[at] = json_odd(made[at], rng)
    return b"\n".join(made)


def text_odd(content: bytes, rng: random.Random) -> bytes:
    """A word or number of a text file replaced."""
    between = rng.choice((b" ", b"\n", b",", b'"'))
    words = content.split(between)
    at = rng.randrange(len(words))
    words[at] = rng.choice((b"", b"9" * 5000, repr(rng.choice(ODD[3:])).encode(), rng.choice(words)))
    return between.join(words)


def zip_odd(content: bytes, rng: random.Random, inner: Callable[[str, bytes, random.Random], bytes]) -> bytes:
    """An archive with an entry changed, doubled, renamed, left out or of another method, and a right checksum."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        held = [(name, archive.read(name)) for name in archive.namelist()]
    at = rng.randrange(len(held))
    name, part = held[at]
    match rng.randrange(8):
        case 0:
            del held[at]
        case 1:
            held.append(held[at])
        case 2:
            held[at] = (rng.choice(("x.npy", "../x", name + "x", "samples/9.json")), part)
        case _:
            held[at] = (name, inner(name, part, rng))
    stream = io.BytesIO()
    method = rng.choice((zipfile.ZIP_DEFLATED,) * 6 + (zipfile.ZIP_STORED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA))
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, part in held:
            archive.writestr(zipfile.ZipInfo(name), part, method)
    return stream.getvalue()


def npz_odd(content: bytes, rng: random.Random) -> bytes:
    """An environment with a header or an array changed; mostly with the checksums that fit."""
    with np.load(io.BytesIO(content)) as held:
        arrays = dict(held)
    header = json.loads(arrays.pop("header").tobytes())
    name = rng.choice(list(arrays))
    one = arrays[name]
    match rng.randrange(8):
        case 0:
            del arrays[name]
        case 1 | 2:
            one = one.copy()
            at = rng.randrange(one.size)
            numbers = (0, 1, 2, 100) if one.dtype.kind in "biu" else (np.nan, np.inf, -1, 1e30, 0)
            one.flat[at] = rng.choice(numbers)
            arrays[name] = one
        case 3:
            arrays[name] = rng.choice((one[..., :1], one[:0], one[None], one.ravel(), np.zeros((0, 3)), np.float64(1)))
        case 4:
            arrays[name] = one.astype(rng.choice(("f4", "i8", "u1", "c16", ">f8", "U3", "?", "f2", "S2", "M8[s]")))
        case 5:
            arrays[rng.choice(("extra", "header.npy", "values", "test", "completions"))] = one
        case _:
            header = odd(header, rng)
    if isinstance(header, dict) and rng.random() < 0.8 and "checksums" in header:
        header["checksums"] = {key: checksum(array) for key, array in arrays.items()}
    stream = io.BytesIO()
    np.savez_compressed(stream, header=np.frombuffer(dumped(header, rng), np.uint8), **arrays)  # type: ignore[arg-type]
    return stream.getvalue()


def checksum(array: np.ndarray) -> str:
    stream = io.BytesIO()
    np.save(stream, array)
    return hashlib.sha256(stream.getvalue()).hexdigest()


def npz_change(content: bytes, rng: random.Random) -> bytes:
    return npz_odd(content, rng) if rng.random() < 0.6 else zip_change(content, rng)


def zip_change(content: bytes, rng: random.Random) -> bytes:
    return zip_odd(content, rng, lambda _, part, rng: flipped(part, rng))


def eval_change(content: bytes, rng: random.Random) -> bytes:
    def inner(name: str, part: bytes, rng: random.Random) -> bytes:
        return json_odd(part, rng) if rng.random() < 0.7 else flipped(part, rng)

    return zip_odd(content, rng, inner)


def pickle_change(content: bytes, rng: random.Random) -> bytes:
    """Instructions put in, taken out, doubled or changed."""
    starts = [position for _, _, position in pickletools.genops(content)] + [len(content)]
    parts = [content[a:b] for a, b in itertools.pairwise(starts)]
    for _ in range(rng.choice((1, 1, 2, 5))):
        at = rng.randrange(len(parts))
        match rng.randrange(5):
            case 0:
                del parts[at]
            case 1:
                parts.insert(at, rng.choice(parts))
            case 2:
                parts.insert(at, rng.choice([*(bytes([code]) for code in b"N(t}])Rbsuae\x81\x93\x94")]))
            case 3:
                parts[at] = parts[at] * rng.choice((2, 100))
            case _:
                parts[at] = flipped(parts[at], rng) if parts[at] else b""
    return b"".join(parts)


def parquet_change(content: bytes, rng: random.Random) -> bytes:
    """Other columns and cells, or what the file says about itself changed."""
    frame = pd.read_parquet(io.BytesIO(content))
    column = rng.choice(list(frame.columns))
    cells: list[Any] = list(frame[column])
    cells[rng.randrange(len(cells))] = rng.choice((None, "", "x" * 5000, "=1", "9" * 400))
    other = rng.choice((1, [1], {"a": 1}, b"x", True, 1e308))
    made = frame.assign(**{column: [other] * len(cells) if rng.random() < 0.5 else cells})
    stream = io.BytesIO()
    made.to_parquet(stream, index=rng.random() < 0.5)
    return stream.getvalue() if rng.random() < 0.5 else flipped(stream.getvalue(), rng)


def sqlite_change(content: bytes, rng: random.Random) -> bytes:
    """A cell of a table replaced, a row or a table taken out."""
    base = sqlite3.connect(":memory:")
    base.deserialize(content)
    table = rng.choice([name for (name,) in base.execute("SELECT name FROM sqlite_master WHERE type = 'table'")])
    column = rng.choice([row[1] for row in base.execute(f"PRAGMA table_info({table})")])
    value = rng.choice((None, "", "x" * 5000, 1.5, -1, 2**62, b"\xff\xfe", b"", b"[]", "1e999", 0))
    with suppress(sqlite3.IntegrityError, sqlite3.OperationalError):
        match rng.randrange(5):
            case 0:
                base.execute(f"DELETE FROM {table} WHERE rowid = (SELECT max(rowid) FROM {table})")
            case 1 if rng.random() < 0.3:
                base.execute(f"DROP TABLE {table}")
            case _:
                base.execute(f"UPDATE {table} SET {column} = ?", (value,))
        base.commit()
    made = base.serialize()
    base.close()
    return made
