"""Small files in the format of those that the authors released."""

import pickle
import sys
import types

import numpy as np
import pytest

MODULES = {
    "CategoricalMVEnv": "Envs.catMV.catMV",
    "CostContext": "Envs.catMV.catMV",
    "CategoricalBoNEnv": "Envs.catBoN.catBoN",
    "Context": "Envs.catBoN.catBoN",
    "SyntheticBernoulliEnv": "Envs.synthBernoulli.synthBernoulli",
}
COEFFICIENTS = {"low": 0.0, "mid": 0.25, "high": 1.0}


class Authors:
    """Stand-ins for the authors' classes, under their names, while a test writes a file."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.monkeypatch = monkeypatch
        self.classes = {name: type(name, (), {"__module__": module}) for name, module in MODULES.items()}

    def make(self, kind: str, **attributes: object) -> object:
        made = self.classes[kind]()
        made.__dict__.update(attributes)
        return made

    def dumps(self, content: object, protocol: int = 4) -> bytes:
        with self.monkeypatch.context() as patch:
            for name, module in MODULES.items():
                parts = module.split(".")
                for end in range(1, len(parts) + 1):
                    parent = ".".join(parts[:end])
                    if parent not in sys.modules:
                        patch.setitem(sys.modules, parent, types.ModuleType(parent))
                setattr(sys.modules[module], name, self.classes[name])
            return pickle.dumps(content, protocol)

    def cost_contexts(self, coefficients: dict[str, float] = COEFFICIENTS) -> list[object]:
        return [self.make("CostContext", level=level, weights=(1.0, -1.0 * c)) for level, c in coefficients.items()]

    def voting(self, **changes: object) -> object:
        rng = np.random.default_rng(1)
        attributes: dict[str, object] = {
            "cat_probs": rng.dirichlet(np.ones(4), (3, 5)),
            "answers": rng.integers(4, size=5),
            "cat_probs_te": rng.dirichlet(np.ones(4), (3, 2)),
            "answers_te": rng.integers(4, size=2),
            "context_distribution": np.array([0.5, 0.25, 0.25]),
            "cost_per_prompt": rng.uniform(0.01, 0.02, 3),
            "cost_coeffs": dict(COEFFICIENTS),
            "N_max": 8,
            "rng": np.random.default_rng(0),
            "_contexts": self.cost_contexts(),
            "prompts": [0, 1, 2],
        }
        return self.make("CategoricalMVEnv", **(attributes | changes))

    def best_of_n(self, **changes: object) -> object:
        rng = np.random.default_rng(2)
        weights = [(w, 1.0 - w, -c) for c in (0.0, 0.25) for w in (0.25, 0.5)]
        attributes: dict[str, object] = {
            "outcome_vectors_train": rng.uniform(0, 4, (3, 5, 6, 2)),
            "outcome_probs_train": rng.dirichlet(np.ones(6), (3, 5)),
            "outcome_vectors_test": rng.uniform(0, 4, (3, 2, 6, 2)),
            "outcome_probs_test": rng.dirichlet(np.ones(6), (3, 2)),
            "cost_per_prompt": rng.uniform(0.01, 0.02, 3),
            "context_distribution": np.full(4, 0.25),
            "N_max": np.int64(8),
            "rng": np.random.default_rng(0),
            "_contexts": [self.make("Context", weights=tuple(map(np.float64, row))) for row in weights],
        }
        return self.make("CategoricalBoNEnv", **(attributes | changes))

    def bernoulli(self, sizes: tuple[int, ...] = (4, 6, 5), **changes: object) -> object:
        rng = np.random.default_rng(3)
        tiers = ("easy", "medium", "hard")
        attributes: dict[str, object] = {
            "success_probs": {t: rng.uniform(size=(3, n)) for t, n in zip(tiers, sizes, strict=True)},
            "success_probs_test": {t: rng.uniform(size=(3, 2)) for t in tiers},
            "tier_distribution": np.array([0.5, 0.2, 0.3]),
            "context_distribution": np.full(3, 1 / 3),
            "cost_per_prompt": rng.uniform(0.01, 0.02, 3),
            "cost_coeffs": dict(COEFFICIENTS),
            "N_max": 16,
            "rng": np.random.default_rng(0),
            "_contexts": self.cost_contexts(),
            "prompt_text": ["Prompt 0:\nEasy", "Prompt 1", "Prompt 2"],
        }
        return self.make("SyntheticBernoulliEnv", **(attributes | changes))
