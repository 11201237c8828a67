"""The picture of `iapo quickstart`: curves of exact values, best pairs by cost, and mean ACR, in the data's terms."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from figures import style
from figures.results import quickstart

VALUES = np.array([[[0.5, 0.4], [0.4, 0.7]], [[0.6, 0.6], [0.5, 0.9]], [[0.2, 0.1], [0.1, 0.1]]])
"""Prompt 0 is best alone, prompt 1 with N = 2 but where completions are dear."""
COSTS = np.array([0.1, 0.0, 1.0])


def drawn() -> list[Axes]:
    rows = [("e", name, t, mean, 0.01) for name, mean in (("uniform", 0.65), ("psst", 0.7)) for t in (10, 100)]
    rows += [("e", "oracle", t, 0.8, 0.0) for t in (10, 100)]
    summary = pd.DataFrame(rows, columns=["env", "algorithm", "budget", "acr_mean", "acr_sem"])
    return quickstart.draw(VALUES, COSTS, summary).axes


def labels(axes: Axes) -> list[str]:
    legend = axes.get_legend()
    assert legend is not None
    return [text.get_text() for text in legend.get_texts()]


def test_values_over_n_are_those_of_the_cheapest_context() -> None:
    """Seen to fail with the first context."""
    axes = drawn()[0]
    curves = [np.asarray(line.get_ydata()) for line in axes.get_lines()]
    assert any(np.array_equal(curve, VALUES[1, 1]) for curve in curves)
    assert not any(np.array_equal(curve, VALUES[0, 1]) for curve in curves)
    assert labels(axes) == ["prompt 0", "prompt 1", "other prompts"]


def test_the_best_pair_of_every_cost_in_the_order_of_costs() -> None:
    """Seen to fail with N counted from 0, and with contexts in their own order."""
    axes = drawn()[1]
    assert [text.get_text() for text in axes.texts] == ["p 1\nN = 2", "p 1\nN = 2", "p 0\nN = 1"]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["0", "0.1", "1"]
    first, best = (np.asarray(line.get_ydata(), float) for line in axes.get_lines()[:2])
    assert best.tolist() == [0.9, 0.7, 0.2]
    assert first.tolist() == [0.6, 0.5, 0.2]


def test_algorithms_are_named_best_first_and_the_truth_is_a_line() -> None:
    axes = drawn()[2]
    assert labels(axes) == ["PSST: prompt with N", "uniform"]
    assert any(np.allclose(np.asarray(line.get_ydata(), float), 0.8) for line in axes.get_lines())
    assert axes.get_ylim()[1] > 0.8
    assert "exact best" in [text.get_text() for text in axes.texts]


def test_prompts_have_no_colour_of_an_algorithm_of_the_picture() -> None:
    used = {style.look(name).color for name in ("psst", "uniform", "psst+k1", "triple-n1", "oracle")}
    assert not used & set(quickstart.PROMPTS)
