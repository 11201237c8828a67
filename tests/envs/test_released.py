"""The authors' files: what is read from them, and that nothing in them runs."""

import contextlib
import os
import pickle
import pickletools
import struct
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from released_files import Authors

from sim.envs.blobs import RELEASED, git_blob_id
from sim.envs.released import read_released


@pytest.fixture
def authors(monkeypatch: pytest.MonkeyPatch) -> Authors:
    return Authors(monkeypatch)


def respelled(content: bytes) -> bytes:
    """The same program with the module names of NumPy before version 2."""
    program = list(pickletools.genops(content))
    ends = [position for _, _, position in program[1:]] + [len(content)]
    parts = []
    for (instruction, argument, start), end in zip(program, ends, strict=True):
        if instruction.name == "FRAME":
            continue
        if instruction.name == "SHORT_BINUNICODE" and str(argument).startswith("numpy._core"):
            name = str(argument).replace("numpy._core", "numpy.core").encode()
            parts.append(b"\x8c" + bytes([len(name)]) + name)
        else:
            parts.append(content[start:end])
    return b"".join(parts)


def write(folder: Path, content: bytes, name: str = "XYZ_final.pkl") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def complaint(path: Path) -> str:
    """The one sentence with which a file is refused; it names the file."""
    with pytest.raises(ValueError, match=path.name) as caught:
        read_released(path)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_math_is_read_as_published(math_path: Path) -> None:
    data = read_released(math_path)
    assert data.name == "MATH"
    assert data.aggregate == ("mv",)
    assert data.probs.shape == (25, 316, 5)
    assert data.max_scale == 32
    assert data.test is not None
    assert (data.test.sum(), data.test[:252].any()) == (64, False)
    assert data.context_names == ("low", "mid", "high")
    np.testing.assert_array_equal(data.cost_weights, [0.0, 0.2, 1.0])
    np.testing.assert_array_equal(data.objective_weights, np.ones((3, 1)))
    assert 0.0048 < data.costs.min() < data.costs.max() <= 0.01
    assert data.provenance["git_blob"] == "50a3f35a26c689c611f92a32248624c7e9bcc302"
    assert data.answers is not None
    single_shot = np.take_along_axis(data.probs, data.answers[None, :, None], axis=2)[..., 0].mean(axis=1)
    assert (round(single_shot.min(), 3), round(single_shot.max(), 3), single_shot.argmax()) == (0.196, 0.775, 1)


@pytest.mark.parametrize("protocol", [3, 4, 5])
@pytest.mark.parametrize("old_numpy", [False, True])
@pytest.mark.parametrize("bare", [False, True])
def test_voting_environment(tmp_path: Path, authors: Authors, protocol: int, old_numpy: bool, bare: bool) -> None:
    env = authors.voting()
    content = authors.dumps(env if bare else [env], protocol)
    if protocol > 3:
        assert b"numpy._core" in content
        content = respelled(content) if old_numpy else content
        assert (b"numpy._core" in content) != old_numpy
    data = read_released(write(tmp_path, content))
    known = vars(env)
    np.testing.assert_array_equal(data.probs, np.concatenate([known["cat_probs"], known["cat_probs_te"]], axis=1))
    np.testing.assert_array_equal(data.answers, np.concatenate([known["answers"], known["answers_te"]]))
    np.testing.assert_array_equal(data.test, [False] * 5 + [True] * 2)
    np.testing.assert_array_equal(data.costs, known["cost_per_prompt"])
    np.testing.assert_array_equal(data.cost_weights, [0.0, 0.25, 1.0])
    np.testing.assert_array_equal(data.context_distribution, [0.5, 0.25, 0.25])
    assert (data.name, data.max_scale, data.tie, data.values) == ("XYZ", 8, "uniform", None)
    assert data.provenance["class"] == "CategoricalMVEnv"
    assert not any(module.startswith("Envs") for module in sys.modules)


@pytest.mark.parametrize("protocol", [4, 5])
def test_best_of_n_environment(tmp_path: Path, authors: Authors, protocol: int) -> None:
    env = authors.best_of_n()
    data = read_released(write(tmp_path, authors.dumps([env], protocol), "HS_final.pkl"))
    known = vars(env)
    vectors = np.concatenate([known["outcome_vectors_train"], known["outcome_vectors_test"]], axis=1)
    probs = np.concatenate([known["outcome_probs_train"], known["outcome_probs_test"]], axis=1)
    np.testing.assert_array_equal(data.values, vectors)
    np.testing.assert_array_equal(data.probs, probs)
    np.testing.assert_array_equal(data.objective_weights, [[0.25, 0.75], [0.5, 0.5]] * 2)
    np.testing.assert_array_equal(data.cost_weights, [0.0, 0.0, 0.25, 0.25])
    assert not np.signbit(data.cost_weights).any()
    assert data.context_names[3] == "0.5/0.5 cost 0.25"
    assert (data.name, data.aggregate, data.answers) == ("HS", ("bon", "bon"), None)
    np.testing.assert_array_equal(data.test, [False] * 5 + [True] * 2)


def test_bernoulli_environment(tmp_path: Path, authors: Authors) -> None:
    env = authors.bernoulli()
    data = read_released(write(tmp_path, authors.dumps([env])))
    known = vars(env)
    tables = [known[split][tier] for split in ("success_probs", "success_probs_test") for tier in known[split]]
    np.testing.assert_array_equal(data.probs[..., 0], np.concatenate(tables, axis=1))
    np.testing.assert_array_equal(data.answers, np.zeros(21))
    assert data.query_weights is not None
    np.testing.assert_array_equal(data.test, np.arange(21) >= 15)
    for part, sizes in ((data.query_weights[:15], (4, 6, 5)), (data.query_weights[15:], (2, 2, 2))):
        law = part / part.sum()
        by_tier = [tier.sum() for tier in np.split(law, np.cumsum(sizes)[:-1])]
        np.testing.assert_allclose(by_tier, [0.5, 0.2, 0.3], rtol=1e-14)
        assert np.mean(part) == pytest.approx(1.0, rel=1e-14)


def test_bernoulli_tiers_in_proportion_are_a_uniform_law(tmp_path: Path, authors: Authors) -> None:
    env = authors.bernoulli((5, 5, 5), tier_distribution=np.full(3, 1 / 3))
    assert read_released(write(tmp_path, authors.dumps([env]))).query_weights is None


def test_memory_layout_and_byte_order_do_not_matter(tmp_path: Path, authors: Authors) -> None:
    plain = authors.voting()
    probs = vars(plain)["cat_probs"]
    expected = read_released(write(tmp_path, authors.dumps([plain])))
    strided = np.repeat(probs, 2, axis=2)[..., ::2]
    turned = np.ascontiguousarray(probs.transpose(2, 0, 1)).transpose(1, 2, 0)
    for form in (np.asfortranarray(probs), probs.astype(">f8"), strided, turned):
        for protocol in (4, 5):
            content = authors.dumps([authors.voting(cat_probs=form)], protocol)
            np.testing.assert_array_equal(read_released(write(tmp_path, content)).probs, expected.probs)


def test_several_environments_need_a_choice(tmp_path: Path, authors: Authors) -> None:
    path = write(tmp_path, authors.dumps([authors.voting(), authors.voting(N_max=4)]))
    assert "holds 2 environments" in complaint(path)
    chosen = read_released(path, instance=1)
    assert (chosen.name, chosen.max_scale, chosen.provenance["instance"]) == ("XYZ-1", 4, 1)
    with pytest.raises(ValueError, match="has no environment 2"):
        read_released(path, instance=2)
    assert "holds 0 environments" in complaint(write(tmp_path, authors.dumps([])))


class Call:
    """Pickles as a call of `function`."""

    def __init__(self, function: object, *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple:
        return self.call


def test_calls_are_refused_and_never_made(tmp_path: Path, authors: Authors) -> None:
    marker = tmp_path / "marker"
    touch = f"touch {marker}"
    for call in (
        Call(os.system, touch),
        Call(eval, f"__import__('os').system({touch!r})"),
        Call(getattr, Call(__import__, "os"), "system"),
        Call(np.fromfile, str(marker)),
        Call(np._core.multiarray.dot, 1, 2),
        Call(np.load, str(marker)),
        Call(pickle.loads, pickle.dumps(Call(os.system, touch))),
    ):
        for content in (call, [authors.voting(rng=call)], [authors.voting(answers=[call])]):
            path = write(tmp_path, authors.dumps(content))
            assert "refused as unsafe" in complaint(path)
            assert "refused as unsafe" in complaint(write(tmp_path, respelled(path.read_bytes())))
    assert not marker.exists()


def named(module: str, name: str) -> bytes:
    """A program that looks up one name and calls it with nothing."""
    text = b"".join(b"\x8c" + bytes([len(part)]) + part.encode() for part in (module, name))
    return b"\x80\x04" + text + b"\x93)R."


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("os", "system"),
        ("builtins", "exec"),
        ("numpy.core.multiarray", "fromstring"),
        ("numpy.core", "multiarray._reconstruct"),
        ("numpy", "ndarray.__init__"),
        ("numpy", "load"),
        ("numpy.testing._private.utils", "runstring"),
        ("numpy.random._pickle", "BitGenerators"),
        ("Envs.catMV.catMV", "CategoricalMVEnv.pull"),
        ("Envs.catMV.catMV", "np"),
        ("Envs", "CategoricalMVEnv"),
        ("sim.envs.unpickle", "Array"),
        ("a\nb", "c"),
    ],
)
def test_names_outside_the_list_are_refused(tmp_path: Path, module: str, name: str) -> None:
    message = complaint(write(tmp_path, named(module, name)))
    assert "refused as unsafe" in message
    assert repr(f"{module}.{name}") in message


class Persistent(pickle.Pickler):
    def persistent_id(self, obj: object) -> str | None:
        return "elsewhere" if obj == "here" else None


def test_persistent_ids_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "persistent.pkl"
    with path.open("wb") as file:
        Persistent(file, 4).dump(["here"])
    assert "BINPERSID" in complaint(path)


@pytest.mark.parametrize(
    ("array", "problem"),
    [
        (np.array([None, 1], object), "array type 'O8'"),
        (np.zeros(2, [("a", "f8")]), "array type 'V8'"),
        (np.zeros(2, "datetime64[s]"), "array type 'M8'"),
    ],
)
@pytest.mark.parametrize("protocol", [4, 5])
def test_arrays_of_other_things_than_numbers_are_refused(
    tmp_path: Path, authors: Authors, array: np.ndarray, problem: str, protocol: int
) -> None:
    assert problem in complaint(write(tmp_path, authors.dumps([authors.voting(extra=array)], protocol)))


def test_bombs_are_refused(tmp_path: Path, authors: Authors, monkeypatch: pytest.MonkeyPatch) -> None:
    build = np._core.multiarray._reconstruct
    frombuffer = np._core.numeric._frombuffer
    for call, problem in (
        (Call(build, np.dtype, (0,), b"b"), "a class other than numpy.ndarray"),
        (Call(frombuffer, b"8 bytes.", np.dtype("f8"), (2**30, 2**30), "C"), "of 8 bytes the shape"),
        (Call(frombuffer, b"8 bytes.", np.dtype("f8"), (-1,), "C"), "cannot be read"),
        (Call(frombuffer, b"8 bytes.", np.dtype("f8"), (1,) * 40, "C"), "cannot be read"),
        (Call(frombuffer, b"8 bytes.", "f8", (1,), "C"), "cannot be read"),
    ):
        assert problem in complaint(write(tmp_path, authors.dumps(call)))
    monkeypatch.setattr("sim.envs.unpickle._MAX_INSTRUCTIONS", 1000)
    assert "longer program" in complaint(write(tmp_path, b"\x80\x04" + b")" * 1000 + b"."))
    assert "holds a NoneType where" in complaint(write(tmp_path, b"\x80\x04Nr\xff\xff\xff\xff."))  # memo 2**32 - 1
    assert "cut short" in complaint(write(tmp_path, b"\x80\x04\x8e" + b"\xff" * 7 + b"\x7f" + b"x."))


DAG = b"\x80\x04})\x94" + b"".join(b"h" + bytes([k]) + b"\x86\x94" for k in range(80)) + b"Ns."
"""A dict whose key is a pair of twice the pair before, 80 times over: hashing it takes 2**80 steps."""


@pytest.mark.parametrize(
    ("key", "program"),
    [
        ("the nested pairs", DAG),
        ("a deep tuple", b"\x80\x04})" + b"\x85" * 5000 + b"Ns."),
        ("a long tuple", b"\x80\x04}(" + b"N" * 9 + b"tNs."),
        (
            "many whole numbers",
            b"\x80\x04}(" + b"".join(b"J" + struct.pack("<i", k) + b"N" for k in range(1001)) + b"u.",
        ),
    ],
)
def test_keys_that_take_long_to_hash_are_refused(key: str, program: bytes, tmp_path: Path) -> None:
    """Seen to hang with Python's own unpickler: nothing can interrupt a hash."""
    started = time.process_time()
    assert "holds a dict with keys other than text, numbers and short tuples" in complaint(write(tmp_path, program)), (
        key
    )
    assert time.process_time() - started < 1


def test_things_nested_without_end_are_read_as_they_are(tmp_path: Path, authors: Authors) -> None:
    """Wide and deep things that nothing asks for cost no more than their instructions."""
    env = authors.voting()
    deep: list[object] = []
    for _ in range(300):
        deep = [deep, deep]
    env.__dict__["unread"] = [deep, env]
    assert read_released(write(tmp_path, authors.dumps([env]))).num_prompts == 3
    for dag in (b"\x80\x04])" + b"\x85" * 20_000 + b"a.", b"\x80\x04" + b"]" * 10_000 + b"a" * 9_999 + b"."):
        assert "where an environment" in complaint(write(tmp_path, dag))


def text(*words: str) -> bytes:
    return b"".join(b"\x8c" + bytes([len(word)]) + word.encode() for word in words)


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("numpy._core.numeric", "_frombuffer"),
        ("numpy._core.multiarray", "_reconstruct"),
        ("numpy", "dtype"),
        ("numpy", "ndarray"),
        ("numpy.random._pcg64", "PCG64"),
        ("Envs.catMV.catMV", "CategoricalMVEnv"),
    ],
)
@pytest.mark.parametrize("slots", [b"N", b""])
def test_nothing_in_a_file_alters_the_reader(
    module: str, name: str, slots: bytes, tmp_path: Path, authors: Authors
) -> None:
    """A program that sets the state of a name: the defaults of a function of the reader, once.

    Seen with Python's own unpickler to spoil every protocol-5 file read afterwards.
    """
    defaults = b"}" + text("__defaults__") + b"K\x02K\x00K\x01\x87\x85s"  # {"__defaults__": ((2, 0, 1),)}
    state = slots + defaults + b"\x86" * len(slots)  # (None, defaults), or they alone
    program = b"\x80\x04" + text(module, name) + b"\x93" + state + b"b."
    assert f"tries to change {name!r}, which it may only use" in complaint(write(tmp_path, program))
    assert "sets the state of a list" in complaint(write(tmp_path, b"\x80\x04]}b."))
    for setting in (b"]a", b"K\x01K\x01s", b"](K\x01K\x01u", b"(K\x01e"):  # items of what is no container of the file
        complaint(write(tmp_path, b"\x80\x04" + text(module, name) + b"\x93" + setting + b"."))
    honest = write(tmp_path, authors.dumps([authors.voting()], 5))
    array = np.asfortranarray(np.arange(6.0).reshape(2, 3) + 1)
    again = write(tmp_path, authors.dumps([authors.voting(other=array)], 5), "again.pkl")
    for path in (honest, again):
        expected = authors.voting().__dict__
        data = read_released(path)
        np.testing.assert_array_equal(data.probs[:, :5], expected["cat_probs"])
        np.testing.assert_array_equal(data.probs[:, 5:], expected["cat_probs_te"])


def test_one_stretch_of_a_file_cannot_stand_for_any_number_of_arrays(
    tmp_path: Path, authors: Authors, monkeypatch: pytest.MonkeyPatch
) -> None:
    env = authors.best_of_n()
    monkeypatch.setattr("sim.envs.released._MOST_NUMBERS", 200)
    assert "holds more than 200 numbers up to outcome_vectors_test" in complaint(write(tmp_path, authors.dumps([env])))
    few = authors.make("Context", weights=(0.5, 0.5, -1.0))
    monkeypatch.setattr("sim.envs.released._MOST_CONTEXTS", 4)
    env = authors.best_of_n(_contexts=[few] * 5, context_distribution=np.full(5, 0.2))
    monkeypatch.setattr("sim.envs.released._MOST_NUMBERS", 2000)
    assert "_contexts holds 5 contexts; at most 4 are read" in complaint(write(tmp_path, authors.dumps([env])))


@pytest.mark.parametrize("name", ["MATH_final.pkl", "HH_final.pkl", "SB.pkl"])
def test_another_file_under_the_name_of_a_released_one_is_refused(name: str, tmp_path: Path, authors: Authors) -> None:
    content = authors.dumps([authors.voting()])
    message = complaint(write(tmp_path, content, name))
    stem = name.removesuffix(".pkl").removesuffix("_final")
    assert f"is not the file {stem} that the authors released" in message
    assert f"expected {RELEASED[stem]}" in message
    assert read_released(write(tmp_path, content, f"my-{name}")).name == f"my-{stem}"


def test_files_that_are_no_pickles(tmp_path: Path, authors: Authors, monkeypatch: pytest.MonkeyPatch) -> None:
    content = authors.dumps([authors.voting()])
    for length in (0, 1, 2, 40, len(content) // 2, len(content) - 1):
        assert "cut short" in complaint(write(tmp_path, content[:length]))
    assert "cut short" in complaint(write(tmp_path, b"PK\x03\x04 and so on"))
    assert "keys other than" in complaint(write(tmp_path, b"\x80\x04}]Ns."))  # a list as a key
    assert "where an environment" in complaint(write(tmp_path, pickle.dumps([{"cat_probs": 1}])))
    assert "no such file" in complaint(tmp_path / "absent.pkl")
    assert "is a folder" in complaint(tmp_path)
    monkeypatch.setattr("sim.envs.unpickle.MAX_BYTES", 100)
    assert "at most 100 are read" in complaint(write(tmp_path, content))


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"answers": [1, 2, 3, 0, 1]}, "answers must be an array of whole numbers"),
        ({"answers": np.array([1.0, 2.0, 3.0, 0.0, 1.0])}, "answers must be an array of whole numbers"),
        ({"answers": np.array([1, 2, 3, 0, 9])}, "answers leaves 0..3"),
        ({"answers": np.array([1, 2, 3, 0])}, "answers has shape (6,); expected (7,)"),
        ({"cat_probs": np.zeros((3, 5))}, "expected the axes (prompt, query, answer)"),
        ({"cat_probs": np.full((3, 5, 4), 0.3)}, "probs sums to 1.2 at prompt 0, query 0"),
        ({"cat_probs": np.full((3, 5, 4), np.nan)}, "probs holds a NaN"),
        ({"cat_probs": np.full((3, 5, 2), 0.5)}, "they may differ in queries only"),
        ({"cat_probs": np.full((3, 5, 4), "a")}, "cat_probs must be an array of numbers"),
        ({"cost_per_prompt": np.ones(4)}, "costs has shape (4,); expected (3,)"),
        ({"cost_coeffs": {"low": 0.0, "mid": 0.25}}, "lacks the attribute cost_coeffs.high"),
        ({"cost_coeffs": {"low": 0.0, "mid": 0.5, "high": 1.0}}, "not minus the cost_coeffs"),
        ({"cost_coeffs": {"low": 0.0, "mid": "much", "high": 1.0}}, "cost_coeffs.mid must be a finite number"),
        ({"N_max": 2.5}, "N_max is 2.5"),
        ({"N_max": float("inf")}, "N_max must be a finite number"),
        ({"N_max": 10**400}, "N_max must be a finite number"),
        ({"N_max": 0}, "max_scale is 0"),
        ({"_contexts": [1]}, "must be a list of contexts"),
        ({"context_distribution": np.array([0.5, 0.4, 0.3])}, "context_probs sums to 1.2"),
    ],
)
def test_wrong_attributes_are_named(tmp_path: Path, authors: Authors, changes: dict[str, object], problem: str) -> None:
    assert problem in complaint(write(tmp_path, authors.dumps([authors.voting(**changes)])))


def test_missing_attributes_are_named(tmp_path: Path, authors: Authors) -> None:
    makers = (authors.voting, authors.best_of_n, authors.bernoulli)
    unused = {"rng", "prompts", "prompt_text", "_contexts"}
    for make in makers:
        for attribute in set(vars(make())) - unused:
            env = make()
            del env.__dict__[attribute]
            message = complaint(write(tmp_path, authors.dumps([env])))
            assert f"{type(env).__name__} lacks the attribute {attribute}" in message
    env = authors.voting()
    del env.__dict__["_contexts"]
    np.testing.assert_array_equal(
        read_released(write(tmp_path, authors.dumps([env]))).objective_weights, np.ones((3, 1))
    )


def test_wrong_contexts_of_best_of_n_are_named(tmp_path: Path, authors: Authors) -> None:
    for weights, problem in (
        ((0.5, -1.0), "must hold 2 objective weights"),
        ((0.5, 0.5, 1.0), "cost_weights is negative"),
        ([0.5, 0.5, -1.0], "without a tuple of weights"),
        ((0.5, "half", -1.0), "without a tuple of weights"),
    ):
        env = authors.best_of_n(_contexts=[authors.make("Context", weights=weights)], context_distribution=np.ones(1))
        assert problem in complaint(write(tmp_path, authors.dumps([env])))


def test_damaged_files_are_read_or_refused(tmp_path: Path, authors: Authors) -> None:
    rng = np.random.default_rng(0)
    for make in (authors.voting, authors.best_of_n, authors.bernoulli):
        content = authors.dumps([make()])
        program = [position for _, _, position in pickletools.genops(content)]
        for _ in range(100):
            damaged = bytearray(content)
            for _ in range(rng.integers(1, 4)):
                place = rng.choice(program) + rng.integers(4) if rng.random() < 0.8 else rng.integers(len(content))
                damaged[min(place, len(content) - 1)] = rng.integers(256)
            path = write(tmp_path, bytes(damaged))
            with contextlib.suppress(ValueError):
                read_released(path)


def test_git_blob_id(tmp_path: Path) -> None:
    path = write(tmp_path, b"hello\n")
    assert git_blob_id(path) == "ce013625030ba8dba906f756967f9e9ca394464a"
