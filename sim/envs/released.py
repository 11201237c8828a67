"""The environments that the paper's authors released, read without running what their pickles say.

Source: github.com/IAPO-AAAI25/IAPO-PSST, folder data; Mahmud et al. (arXiv 2508.10030), section 5.

Differs from the released code: none of its environments is imported, its generator state is dropped,
and a tied majority vote is credited 1/t; `dataclasses.replace(data, tie="half")` gives its own rule.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from sim.envs.archives import readable_file
from sim.envs.blobs import RELEASED, git_blob_id
from sim.envs.dataset import Dataset
from sim.envs.unpickle import MAX_BYTES, Array, Record, unpickle

REPOSITORY = "https://github.com/IAPO-AAAI25/IAPO-PSST"
PAPER = "arXiv:2508.10030"

_MOST_NUMBERS = 2**27
"""Numbers taken from a file, 1 GiB in memory: one stretch of it may stand for several arrays."""
_MOST_CONTEXTS, _MOST_WEIGHTS = 10_000, 1000
_LEVELS = ("low", "mid", "high")
_TIERS = ("easy", "medium", "hard")


def read_released(path: str | Path, instance: int | None = None) -> Dataset:
    """Read a released pickle: a list with one environment, or a bare environment.

    Training queries come first, then test queries, with `Dataset.test` as the mask. Numbers are kept
    as they are in the file (float64). A file under the name of a released one (`RELEASED`) must be that one, by its git
    blob id: its results would pass for those of the paper's environment.

    Args:
        path: a file such as MATH_final.pkl.
        instance: which environment to take, from 0, where the file holds several.
    """
    path = Path(path)
    name = path.stem.removesuffix("_final")
    readable_file(path, MAX_BYTES)
    blob = git_blob_id(path)
    if blob != RELEASED.get(name, blob):
        raise ValueError(
            f"{path}: is not the file {name} that the authors released (its git blob id is {blob}; expected "
            f"{RELEASED[name]}); fetch it again (iapo data fetch {name}), or give a file of your own another name"
        )
    content = unpickle(path)
    envs = content if isinstance(content, list) else [content]
    if instance is None and len(envs) != 1:
        raise ValueError(f"{path}: holds {len(envs)} environments; a released file holds one")
    if instance is not None and not 0 <= instance < len(envs):
        raise ValueError(f"{path}: has no environment {instance}; it holds {len(envs)}, counted from 0")
    env = envs[instance or 0]
    if not isinstance(env, Record) or env.kind not in _READERS:
        found = env.kind if isinstance(env, Record) else type(env).__name__.lstrip("_")
        raise ValueError(f"{path}: holds a {found} where an environment ({', '.join(_READERS)}) is expected")
    provenance = {
        "file": path.name,
        "git_blob": blob,
        "class": env.kind,
        "repository": REPOSITORY,
        "paper": PAPER,
    }
    if instance is not None:
        name, provenance = f"{name}-{instance}", provenance | {"instance": instance}
    attributes = _Attributes(path, env)
    fields = _common(attributes) | _READERS[env.kind](attributes)
    return build_dataset(path, name=name, provenance=provenance, **fields)


def build_dataset(path: Path, **fields: Any) -> Dataset:
    """A `Dataset` whose complaints name the file that it is read from."""
    try:
        return Dataset(**fields)
    except ValueError as error:
        raise ValueError(f"{path}: {str(error).removeprefix(fields['name'] + ': ')}") from error


class _Attributes:
    """One environment's attributes, with complaints that name the file and the attribute."""

    def __init__(self, path: Path, record: Record) -> None:
        self.path, self.record = path, record
        self.numbers = 0

    def error(self, problem: str) -> ValueError:
        return ValueError(f"{self.path}: {problem}")

    def get(self, *names: str) -> Any:
        value: Any = self.record.state
        for depth, name in enumerate(names):
            if not isinstance(value, dict) or name not in value:
                raise self.error(f"{self.record.kind} lacks the attribute {'.'.join(names[: depth + 1])}")
            value = value[name]
        return value

    def array(self, names: tuple[str, ...], axes: str, integer: bool = False) -> np.ndarray:
        """A fresh float64 (or int64) array with the named axes."""
        value, name = self.get(*names), ".".join(names)
        array = value.value if isinstance(value, Array) else None
        if array is None or array.dtype.kind not in ("iu" if integer else "iuf"):
            raise self.error(f"{name} must be an array of {'whole numbers' if integer else 'numbers'}")
        if array.ndim != len(axes.split()):
            raise self.error(f"{name} has shape {array.shape}; expected the axes ({axes.replace(' ', ', ')})")
        self.numbers += array.size
        if self.numbers > _MOST_NUMBERS:
            raise self.error(f"holds more than {_MOST_NUMBERS} numbers up to {name}; such a file is not read")
        return np.array(array, np.int64 if integer else np.float64, order="C")

    def number(self, *names: str) -> float:
        value = self.get(*names)
        if not _is_number(value):
            raise self.error(f"{'.'.join(names)} must be a finite number")
        return float(value)

    def join(self, parts: list[np.ndarray], axis: int, field_name: str) -> np.ndarray:
        try:
            return np.concatenate(parts, axis=axis)
        except ValueError:
            shapes = ", ".join(str(part.shape) for part in parts)
            raise self.error(f"{field_name} has parts of shapes {shapes}; they may differ in queries only") from None

    def contexts(self) -> list[tuple[str, tuple[float, ...]]]:
        """(level, weights) of every context; the level is empty where contexts have none."""
        found = self.record.state.get("_contexts", [])
        if not isinstance(found, list) or not all(isinstance(context, Record) for context in found):
            raise self.error("_contexts must be a list of contexts")
        if len(found) > _MOST_CONTEXTS:
            raise self.error(f"_contexts holds {len(found)} contexts; at most {_MOST_CONTEXTS} are read")
        pairs = []
        for context in found:
            level, weights = context.state.get("level"), context.state.get("weights")
            fits = isinstance(weights, tuple) and 2 <= len(weights) <= _MOST_WEIGHTS
            if not fits or not all(_is_number(w) for w in weights):
                raise self.error("_contexts holds a context without a tuple of weights (objectives, then the cost)")
            pairs.append((level if isinstance(level, str) else "", weights))
        return pairs


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= 1e300


def _common(env: _Attributes) -> dict[str, Any]:
    max_scale = env.number("N_max")
    if max_scale != int(max_scale):
        raise env.error(f"N_max is {max_scale}; expected a whole number")
    return {
        "costs": env.array(("cost_per_prompt",), "prompt"),
        "context_probs": env.array(("context_distribution",), "context"),
        "max_scale": int(max_scale),
    }


def _cost_contexts(env: _Attributes) -> dict[str, Any]:
    """The contexts low, mid and high of the two voting environments."""
    coefficients = np.array([env.number("cost_coeffs", level) for level in _LEVELS])
    weights = dict(env.contexts())
    objective = np.ones((len(_LEVELS), 1))
    if weights:
        if set(weights) != set(_LEVELS) or any(len(pair) != 2 for pair in weights.values()):
            raise env.error("_contexts must hold two weights for each of low, mid and high")
        if any(-weights[level][1] != coefficients[i] for i, level in enumerate(_LEVELS)):
            raise env.error("_contexts holds cost weights that are not minus the cost_coeffs")
        objective = np.array([[weights[level][0]] for level in _LEVELS], np.float64)
    return {"objective_weights": objective, "cost_weights": coefficients, "context_names": _LEVELS}


def _mask(num_train: int, num_test: int) -> np.ndarray:
    return np.arange(num_train + num_test) >= num_train


def _categorical_mv(env: _Attributes) -> dict[str, Any]:
    train, test = (env.array((name,), "prompt query answer") for name in ("cat_probs", "cat_probs_te"))
    answers = [env.array((name,), "query", integer=True) for name in ("answers", "answers_te")]
    return _cost_contexts(env) | {
        "aggregate": ("mv",),
        "probs": env.join([train, test], 1, "cat_probs"),
        "answers": np.concatenate(answers),
        "test": _mask(train.shape[1], test.shape[1]),
    }


def _categorical_bon(env: _Attributes) -> dict[str, Any]:
    splits = ("train", "test")
    vectors = [env.array((f"outcome_vectors_{split}",), "prompt query outcome objective") for split in splits]
    probs = [env.array((f"outcome_probs_{split}",), "prompt query outcome") for split in splits]
    num_objectives = vectors[0].shape[3]
    weights = [pair[1] for pair in env.contexts()]
    if not weights or any(len(row) != num_objectives + 1 for row in weights):
        raise env.error(f"_contexts must hold {num_objectives} objective weights each, then the cost's")
    table = np.array(weights, np.float64)
    return {
        "aggregate": ("bon",) * num_objectives,
        "probs": env.join(probs, 1, "outcome_probs"),
        "values": env.join(vectors, 1, "outcome_vectors"),
        "objective_weights": table[:, :-1],
        "cost_weights": 0.0 - table[:, -1],
        "context_names": tuple(f"{'/'.join(f'{w:g}' for w in row[:-1])} cost {0.0 - row[-1]:g}" for row in table),
        "test": _mask(vectors[0].shape[1], vectors[1].shape[1]),
    }


def _synthetic_bernoulli(env: _Attributes) -> dict[str, Any]:
    """Success is answer 0, the right one, of two; a split draws a tier, then one of its queries."""
    tier_probs = env.array(("tier_distribution",), "tier")
    if tier_probs.shape != (len(_TIERS),):
        raise env.error(f"tier_distribution has shape {tier_probs.shape}; expected ({len(_TIERS)},)")
    tables, weights, lengths = [], [], []
    for attribute in ("success_probs", "success_probs_test"):
        tiers = [env.array((attribute, tier), "prompt query") for tier in _TIERS]
        sizes = np.array([tier.shape[1] for tier in tiers])
        if not (sizes > 0).all():
            raise env.error(f"{attribute} has a tier without queries; every tier needs one")
        tables += tiers
        weights.append(np.repeat(tier_probs / sizes, sizes) * sizes.sum())  # mean 1 in each split
        lengths.append(int(sizes.sum()))
    success = env.join(tables, 1, "success_probs")
    query_weights = np.concatenate(weights)
    return _cost_contexts(env) | {
        "aggregate": ("mv",),
        "probs": np.stack([success, 1.0 - success], axis=2),
        "answers": np.zeros(sum(lengths), np.int64),
        "query_weights": None if np.allclose(query_weights, 1.0, rtol=1e-12, atol=0.0) else query_weights,
        "test": _mask(*lengths),
    }


_READERS: dict[str, Callable[[_Attributes], dict[str, Any]]] = {
    "CategoricalMVEnv": _categorical_mv,
    "CategoricalBoNEnv": _categorical_bon,
    "SyntheticBernoulliEnv": _synthetic_bernoulli,
}
