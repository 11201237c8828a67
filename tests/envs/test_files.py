"""The open format: what is saved comes back bit for bit, and what is broken is named."""

import dataclasses
import hashlib
import io
import json
import struct
import warnings
import zipfile
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from made_worlds import world

from sim import envs
from sim.envs import archives, files
from sim.envs.dataset import Dataset
from sim.envs.released import read_released


def assert_same(one: Dataset, two: Dataset) -> None:
    """Equal fields with equal bits, and equal environments."""
    for field in dataclasses.fields(Dataset):
        a, b = getattr(one, field.name), getattr(two, field.name)
        if isinstance(a, np.ndarray):
            assert (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes()), field.name
        else:
            assert a == b, field.name
    environments = one.environment(), two.environment()
    leaves, others = (jax.tree_util.tree_leaves(environment) for environment in environments)
    assert str(jax.tree_util.tree_structure(environments[0])) == str(jax.tree_util.tree_structure(environments[1]))
    for a, b in zip(leaves, others, strict=True):
        assert np.asarray(a).dtype == np.asarray(b).dtype
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("aggregate", [("mv",), ("bon", "bon"), ("mv", "bon", "mean")])
def test_what_is_saved_is_loaded_bit_for_bit(tmp_path: Path, aggregate: tuple[str, ...], full: bool) -> None:
    data = world(aggregate, full)
    files.save(data, tmp_path / "a.npz")
    files.save(data, tmp_path / "b.npz")
    assert_same(data, files.load(tmp_path / "a.npz"))
    assert_same(data, files.read(str(tmp_path / "a.npz")))
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_math_survives_the_open_format(tmp_path: Path, math_path: Path) -> None:
    data = files.read(math_path)
    assert_same(data, read_released(math_path))
    files.save(data, tmp_path / "MATH.npz")
    again = files.read(tmp_path / "MATH.npz")
    assert_same(data, again)
    assert again.provenance["git_blob"] == "50a3f35a26c689c611f92a32248624c7e9bcc302"


def test_a_file_written_without_numpy(tmp_path: Path) -> None:
    """The recipe for other languages: a zip of .npy files, each a text header and raw numbers."""

    def npy(descr: str, shape: tuple[int, ...], raw: bytes) -> bytes:
        text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}"
        text = text.ljust(117) + "\n"
        return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode() + raw

    header = b'{"schema": "iapo-environment", "version": 1, "name": "R", "aggregate": ["mv"], "max_scale": 4}'
    path = tmp_path / "foreign.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("header.npy", npy("|u1", (len(header),), header))
        archive.writestr("probs.npy", npy(">f8", (1, 2, 2), struct.pack(">4d", 0.25, 0.75, 0.5, 0.5)))
        archive.writestr("answers.npy", npy("|u1", (2,), bytes([0, 1])))
        archive.writestr("objective_weights.npy", npy("<f8", (1, 1), struct.pack("<d", 1.0)))
        archive.writestr("cost_weights.npy", npy("<f8", (1,), struct.pack("<d", 0.0)))
        archive.writestr("costs.npy", npy("<f8", (1,), struct.pack("<d", 0.0)))
    data = files.load(path)
    np.testing.assert_array_equal(data.probs, [[[0.25, 0.75], [0.5, 0.5]]])
    assert data.probs.dtype == np.float64
    assert (data.name, data.tie, data.max_scale) == ("R", "uniform", 4)
    data.environment()


def entries(data: Dataset) -> dict[str, Any]:
    """What a file of `data` holds: arrays, and the header as a dict."""
    names = ("probs", "values", "answers", "objective_weights", "cost_weights", "costs", "test", "query_weights")
    names = (*names, "context_probs", "completions", "pair_costs")
    found = {name: getattr(data, name) for name in names if getattr(data, name) is not None}
    fields = ("name", "aggregate", "max_scale", "tie", "prompt_names", "context_names", "provenance")
    return found | {"header": {"schema": files.SCHEMA, "version": 1} | {name: getattr(data, name) for name in fields}}


def written(path: Path, held: dict[str, Any]) -> Path:
    """Write entries as they are, right or wrong."""
    if isinstance(held.get("header"), dict):
        held = held | {"header": np.frombuffer(json.dumps(held["header"]).encode(), np.uint8)}
    np.savez(path, **held)
    return path


def complaint(path: Path) -> str:
    with pytest.raises(ValueError, match=path.name) as caught:
        files.read(path)
    message = str(caught.value)
    assert "\n" not in message
    assert "tiny world" not in message
    return message


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("schema", "other", "names the schema 'other'; expected 'iapo-environment'"),
        ("schema", None, "names the schema None"),
        ("version", 4, "has version 4 of the format; this program reads versions 1 to 3"),
        ("version", 3, "header lacks 'checksums'"),
        ("version", 2, "header lacks 'checksums'"),
        ("version", True, "'version' that is not a whole number"),
        ("name", 3, "'name' that is not a string"),
        ("aggregate", "mv", "'aggregate' that is not a list of strings"),
        ("aggregate", ["vote"], "aggregate holds 'vote'; allowed are mv, bon, mean"),
        ("aggregate", [1], "'aggregate' that is not a list of strings"),
        ("max_scale", 2.0, "'max_scale' that is not a whole number"),
        ("max_scale", True, "'max_scale' that is not a whole number"),
        ("max_scale", 0, "max_scale is 0"),
        ("tie", "coin", "tie is 'coin'"),
        ("prompt_names", ["a"], "prompt_names holds 1 names; expected 3"),
        ("provenance", [], "'provenance' that is not an object"),
        ("colour", "red", "unknown key 'colour'"),
    ],
)
def test_wrong_headers_are_named(tmp_path: Path, key: str, value: object, problem: str) -> None:
    held = entries(world())
    held["header"][key] = value
    assert problem in complaint(written(tmp_path / "w.npz", held))


@pytest.mark.parametrize(
    ("name", "array", "problem"),
    [
        ("probs", np.full((3, 5, 4), 0.3), "probs sums to 1.2 at prompt 0, query 0; it must sum to 1"),
        ("probs", np.full((3, 5, 4), np.nan), "probs holds a NaN"),
        ("probs", np.full((3, 5, 4), 0.25, np.float32), "probs has dtype float32; expected float64"),
        ("probs", np.full((3, 5, 4), "a"), "probs has dtype <U1; expected float64"),
        ("probs", np.full((3, 5, 4), None), "no complete .npz archive of plain arrays (probs.npy: Object arrays"),
        ("probs", np.full((15, 4), 0.25), "probs has 2 axes; expected (prompt, query, outcome)"),
        ("costs", np.full(4, 0.25), "costs has shape (4,); expected (3,)"),
        ("costs", np.full(3, -1.0), "costs is negative"),
        ("cost_weights", np.array([0.0, np.inf]), "cost_weights holds a NaN or an infinity"),
        ("answers", np.zeros(5), "answers has dtype float64; expected whole numbers"),
        ("answers", np.full(5, 4), "answers leaves 0..3"),
        ("test", np.zeros(5, np.int64), "test has dtype int64; expected bool"),
        ("test", np.zeros(5, bool), "test leaves a split empty"),
        ("completions", np.ones((3, 5)), "completions has dtype float64; expected whole numbers"),
        ("completions", np.ones((5, 3), int), "completions has shape (5, 3); expected (3, 5)"),
        ("completions", np.zeros((3, 5), int), "completions holds 0; a pair has at least one completion"),
        ("pair_costs", np.ones((5, 3)), "pair_costs has shape (5, 3); expected (3, 5)"),
        ("pair_costs", np.full((3, 5), -1.0), "pair_costs is negative somewhere"),
        ("pair_costs", np.full((3, 5), np.inf), "pair_costs reach inf"),
        ("pair_costs", np.ones((3, 5), int), "pair_costs has dtype int64; expected float64"),
        ("query_weights", np.zeros(5), "query_weights is not positive"),
        ("values", np.zeros((3, 5, 4, 2)), "values has shape (3, 5, 4, 2); expected (3, 5, 4, 1)"),
        ("extra", np.zeros(1), "unknown array 'extra'"),
        ("header", np.array("{}"), "header has dtype <U2"),
        ("header", np.frombuffer(b"\xff\xfe", np.uint8), "header is not JSON text"),
        ("header", np.frombuffer(b"[1, 2", np.uint8), "header is not JSON text"),
        ("header", np.frombuffer(b"[" * 10**5, np.uint8), "header is not JSON text"),
        ("header", np.frombuffer(b"[1, 2]", np.uint8), "header must be a JSON object"),
    ],
)
def test_wrong_arrays_are_named(tmp_path: Path, name: str, array: np.ndarray, problem: str) -> None:
    assert problem in complaint(written(tmp_path / "w.npz", entries(world()) | {name: array}))


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"values": 1e39}, "values reach 1e+39; at most 1e+30"),
        ({"values": -1e31}, "values reach 1e+31; at most 1e+30"),
        ({"costs": 1e40}, "costs reach 1e+40; at most 1e+30"),
        ({"cost_weights": 1e300}, "cost_weights reach 1e+300; at most 1e+30"),
        ({"objective_weights": 1e38}, "objective_weights reach 1e+38; at most 1e+30"),
        ({"query_weights": 1e308}, "query_weights reach 1e+308; at most 1e+30"),
        ({"values": 1e20, "objective_weights": 1e20}, "objective_weights times values reach 1e+40; at most 1e+30"),
        ({"values": 1e30, "objective_weights": 1.1}, "objective_weights times values reach 1.1e+30; at most 1e+30"),
        ({"costs": 1e15, "cost_weights": 1e15}, "cost_weights times costs times max_scale reach 6e+30; at most 1e+30"),
    ],
)
def test_numbers_beyond_single_precision_are_refused(tmp_path: Path, changes: dict, problem: str) -> None:
    """Refused with the field and the limit, before any table overflows (warnings are errors here)."""
    held = entries(world(("bon",)))
    arrays = {name: np.full_like(held[name], number) for name, number in changes.items()}
    assert problem in complaint(written(tmp_path / "w.npz", held | arrays))


def test_the_largest_numbers_stay_finite(tmp_path: Path) -> None:
    held = entries(world(("bon",)))
    arrays = {name: np.full_like(held[name], 1e30) for name in ("values", "query_weights")}
    ones = {"objective_weights": np.ones_like(held["objective_weights"]), "costs": np.full(3, 1e-3)}
    limit = {"cost_weights": np.full(2, 1e30)}
    made = files.read(written(tmp_path / "w.npz", held | arrays | ones | limit))
    for leaf in jax.tree_util.tree_leaves(made.environment()):
        assert np.isfinite(np.asarray(leaf)).all()
    labels = entries(world(("mv", "bon")))
    labels["values"][..., 0] = 2.0**20
    assert "labels must be whole numbers in 0..1048575" in complaint(written(tmp_path / "w.npz", labels))


def test_missing_entries_are_named(tmp_path: Path) -> None:
    held = entries(world())
    for name, problem in (
        ("header", "lacks the entry 'header'"),
        ("probs", "lacks the array 'probs'"),
        ("costs", "lacks the array 'costs'"),
        ("answers", "answers is missing"),
    ):
        assert problem in complaint(written(tmp_path / "w.npz", {key: held[key] for key in held if key != name}))
    for key in ("name", "aggregate", "max_scale"):
        header = {other: held["header"][other] for other in held["header"] if other != key}
        assert f"header lacks '{key}'" in complaint(written(tmp_path / "w.npz", held | {"header": header}))


def test_damaged_archives_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "w.npz"
    files.save(world(), path)
    content = path.read_bytes()
    for length in (0, 10, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        assert "no complete .npz archive" in complaint(path)
    middle = content.index(b"probs.npy") + 60
    path.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
    assert "probs.npy" in complaint(path)
    np.save(tmp_path / "bare.npy", np.zeros(3))
    (tmp_path / "bare.npy").rename(path)
    assert "not a zip file" in complaint(path)
    assert "no such file" in complaint(tmp_path / "absent.npz")
    np.savez_compressed(path, probs=np.zeros(10**5))  # small, but large when unpacked
    monkeypatch.setattr(archives, "MAX_UNPACKED", 100)
    assert "at most 100 are read" in complaint(path)
    monkeypatch.setattr(archives, "MAX_UNPACKED", 10_000)
    assert "unpacks to 800128 bytes; at most 10000 are read" in complaint(path)


def npy(array: np.ndarray) -> bytes:
    """The .npy file of an array."""
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def test_checksums_are_those_of_the_npy_files(tmp_path: Path) -> None:
    """As another program would work them out: unpack the entries, and take the SHA-256 of each."""
    path = tmp_path / "w.npz"
    files.save(world(), path)
    with zipfile.ZipFile(path) as archive:
        raw = {name.removesuffix(".npy"): archive.read(name) for name in archive.namelist()}
    header = json.loads(np.load(io.BytesIO(raw.pop("header"))).tobytes())
    assert header["version"] == 3
    assert header["checksums"] == {name: hashlib.sha256(content).hexdigest() for name, content in raw.items()}
    assert {"completions", "pair_costs", "test", "query_weights", "context_probs", "answers"} < set(raw)


def test_an_optional_entry_that_a_file_lost_or_changed_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "w.npz"
    files.save(world(), path)
    with zipfile.ZipFile(path) as archive:
        raw = {name: archive.read(name) for name in archive.namelist()}
    for name in ("context_probs", "query_weights", "test", "completions", "pair_costs"):
        for replaced, problem in (
            (None, f"lacks the entry '{name}', which its header names; the file is damaged"),
            (npy(np.ones_like(getattr(world(), name))), f"{name} is not what was written"),
        ):
            held = {entry: content for entry, content in raw.items() if entry != f"{name}.npy"}
            held |= {} if replaced is None else {f"{name}.npy": replaced}
            with zipfile.ZipFile(path, "w") as archive:
                for entry, content in held.items():
                    archive.writestr(entry, content)
            assert problem in complaint(path)
    files.save(world(full=False), path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("test.npy", raw["test.npy"])
    assert "holds the entry 'test', which its header does not name" in complaint(path)


def test_files_of_earlier_versions_are_read(tmp_path: Path) -> None:
    """Version 2 had no pair_costs, version 1 no checksums either. Seen to fail with `_READ = (1, 3)`."""
    data = dataclasses.replace(world(), pair_costs=None)
    held = entries(data)
    assert_same(data, files.load(written(tmp_path / "one.npz", held)))
    sums = {name: hashlib.sha256(npy(array)).hexdigest() for name, array in held.items() if name != "header"}
    held["header"] |= {"version": 2, "checksums": sums}
    assert_same(data, files.load(written(tmp_path / "two.npz", held)))


def test_counts_and_costs_of_pairs_survive_a_subset(tmp_path: Path) -> None:
    """By hand, through a file too. Seen to fail with a subset that left completions as they were."""
    data = dataclasses.replace(world(("mv", "bon")), provenance={"queries": list("abcde")})
    ids = np.array([4, 1])
    files.save(data.subset(ids), tmp_path / "part.npz")
    part = files.load(tmp_path / "part.npz")
    for name in ("probs", "values", "completions", "pair_costs"):
        np.testing.assert_array_equal(getattr(part, name), getattr(data, name)[:, [4, 1]])
    np.testing.assert_array_equal(part.answers, np.asarray(data.answers)[ids])
    np.testing.assert_array_equal(part.query_weights, np.asarray(data.query_weights)[ids])
    assert (part.test, part.provenance["queries"]) == (None, ["e", "b"])
    for wrong in ([], [5], [-1]):
        with pytest.raises(ValueError, match="tiny world: ids must hold at least one query, each from 0 to 4"):
            data.subset(np.array(wrong, int))


def test_a_split_into_train_and_test_keeps_counts(tmp_path: Path) -> None:
    """Trials draw from a source beside the data, of which they touch nothing."""
    data = world()
    files.save(data, tmp_path / "w.npz")
    named = envs.get(str(tmp_path / "w.npz"))
    assert named.source.num_train == 4
    assert_same(data, named.data)


@pytest.mark.parametrize("version", [1, 2])
def test_an_entry_that_the_directory_swallows_is_noticed(version: int, tmp_path: Path) -> None:
    """The last entry becomes the comment of the one before it: one flipped number, and Python sees no damage."""
    path = tmp_path / "w.npz"
    if version == 1:
        written(path, entries(world()))
    else:
        files.save(world(), path)
    content = bytearray(path.read_bytes())
    last = content.rindex(b"PK\x01\x02")
    before = content.rindex(b"PK\x01\x02", 0, last)
    content[before + 32 : before + 34] = struct.pack("<H", content.rindex(b"PK\x05\x06") - last)
    path.write_bytes(content)
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
    assert "entries and says that they are" in complaint(path)


def test_two_entries_of_one_name_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "w.npz", entries(world()))
    for second in ("probs.npy", "probs"):
        with zipfile.ZipFile(path) as archive:
            raw = {name: archive.read(name) for name in archive.namelist()}
        copy = tmp_path / f"copy-{second}.npz"
        with zipfile.ZipFile(copy, "w") as archive, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for name, content in [*raw.items(), (second, raw["probs.npy"])]:
                archive.writestr(name, content)
        assert "holds the entry 'probs' twice" in complaint(copy)


def test_archives_are_stored_or_deflated_and_hold_an_array_an_entry(tmp_path: Path) -> None:
    path = tmp_path / "w.npz"
    for method in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        with zipfile.ZipFile(path, "w", method) as archive:
            archive.writestr("probs.npy", npy(np.zeros(10**6)))
        assert f"probs.npy is compressed by method {method}; deflate or store it" in complaint(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("probs.npy", npy(np.zeros(3)) + b"more")
    assert "probs.npy: holds more than one array" in complaint(path)


def test_endings_of_names(tmp_path: Path) -> None:
    assert "ends in .npz or .pkl, not in '.csv'" in complaint(tmp_path / "log.csv")
    with pytest.raises(ValueError, match=r"must end in \.npz"):
        files.save(world(), tmp_path / "w.pkl")


def test_nothing_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "w.npz"
    files.save(world(), path)
    content = path.read_bytes()

    def interrupted(file: Any, **_: Any) -> None:
        file.write(b"half")
        raise KeyboardInterrupt

    def full(file: Any, **_: Any) -> None:
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", interrupted)
    with pytest.raises(KeyboardInterrupt):
        files.save(world(full=False), path)
    monkeypatch.setattr(np, "savez_compressed", full)
    with pytest.raises(ValueError, match=r"w\.npz: cannot be written \(No space left on device\)"):
        files.save(world(full=False), path)
    with pytest.raises(ValueError, match="does not exist"):
        files.save(world(), tmp_path / "no" / "w.npz")
    assert [entry.name for entry in tmp_path.iterdir()] == ["w.npz"]
    assert path.read_bytes() == content


def test_what_cannot_be_saved_is_named(tmp_path: Path) -> None:
    path = tmp_path / "w.npz"
    for provenance in ({"array": np.zeros(2)}, {"number": float("nan")}):
        with pytest.raises(ValueError, match=r"w\.npz: the header .* cannot be written as JSON"):
            files.save(dataclasses.replace(world(), provenance=provenance), path)
    narrow = dataclasses.replace(world(), costs=np.ones(3, np.float32))
    with pytest.raises(ValueError, match=r"w\.npz: costs has dtype float32; expected float64"):
        files.save(narrow, path)
    assert not path.exists()


@pytest.mark.parametrize("name", ["nowhere.npz", "nowhere.pkl", "nowhere.txt", "nowhere"])
@pytest.mark.parametrize("options", ["", ":tie=half"])
def test_names_and_paths_are_told_apart_before_anything_is_read(name: str, options: str) -> None:
    """By the ending, with options and without. Seen to fail with one ending left out, and with options kept on."""
    if Path(name).suffix in (".npz", ".pkl"):
        envs.check_name(name + options)
        expected = f"{name}: no such file"
    else:
        expected = f"no environment is called '{name}'"
        with pytest.raises(ValueError, match=expected):
            envs.check_name(name + options)
    with pytest.raises(ValueError, match=expected):
        envs.get(name + options)
