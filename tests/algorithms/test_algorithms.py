"""Every registered algorithm through one suite; no case depends on a name.

The default suite runs one algorithm of each kind: many pulls a round, and one. All other names, and all other worlds,
are marked slow; the default part of `test_budget` has the other classes.
"""

import dataclasses
import itertools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import agrees, arena, best_of, chi_square, drawn, given, host_trials, majority, mixed, same

from sim import algorithms
from sim.algorithms import ALGORITHMS
from sim.core import Algorithm, Designed, Estimating, Stats
from sim.engine import fused as whole_runs
from sim.engine import runner
from sim.envs.dataset import Dataset
from theory import exact

CLASSES = {type(build()): name for name, build in reversed(ALGORITHMS.items())}
FAST = {"psst", "ucb"}
EVERY = [name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in ALGORITHMS]
LANES = 64


def run(
    data: Dataset, algorithm: Algorithm, budget: int, trials: int, *, lanes: int = LANES, **rest: Any
) -> runner.Trials:
    told = np.broadcast_to(truth_of(data), (trials, *truth_of(data).shape))
    rest = {"seed": 0, "chunk": lanes, "truth": told} | rest
    return runner.run_trials(given(data), algorithm, budget, trials=trials, **rest)


def truth_of(data: Dataset) -> np.ndarray:
    return exact.values(data)


def part(trials: runner.Trials, rows: slice) -> runner.Trials:
    return jax.tree.map(lambda leaf: leaf[rows], trials)


def returns(data: Dataset, trials: runner.Trials) -> np.ndarray:
    """Average contextual return of every trial, contexts weighted equally."""
    contexts = np.arange(data.num_contexts)
    return truth_of(data)[contexts, trials.prompt, trials.scale - 1].mean(axis=1)


@pytest.mark.parametrize("name", EVERY)
def test_answers_are_arms_and_follow_from_the_seed(name: str) -> None:
    algorithm, data = algorithms.get(name), arena()
    found = run(data, algorithm, 60, 200)
    assert found.prompt.shape == found.scale.shape == (200, 3)
    assert found.spent.shape == (200,)
    assert all(leaf.dtype == np.int32 for leaf in found)
    assert found.prompt.min() >= 0
    assert found.prompt.max() < 4
    assert found.scale.min() >= 1
    assert found.scale.max() <= 4
    assert same(found, run(data, algorithm, 60, 200))
    if not algorithm.sees_truth:
        assert not same(found, run(data, algorithm, 60, 200, seed=1))
        assert not np.all(found.prompt == found.prompt[0])


@pytest.mark.parametrize("name", EVERY)
def test_a_trial_is_the_same_alone_among_others_and_in_the_host_loop(name: str) -> None:
    """Trials 150 to 152 of a run of 200 on 64 lanes, that is on lanes that were taken over from other trials."""
    algorithm, data = algorithms.get(name), arena()
    whole = run(data, algorithm, 45, 200, fused=True)
    assert same(run(data, algorithm, 45, 200, fused=False), whole)
    for fused in (True, False):
        assert same(run(data, algorithm, 45, 3, first=150, fused=fused), part(whole, slice(150, 153)))
    told = np.broadcast_to(truth_of(data), (2, 3, 4, 4))
    assert same(host_trials(given(data), algorithm, 45, 0, 2, told), part(whole, slice(2)))


@pytest.fixture
def compiled() -> Iterator[list[str]]:
    """The names of the programs compiled since the test began."""
    names: list[str] = []

    def note(event: str, _: float, **about: Any) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            names.append(about["fun_name"])

    jax.monitoring.register_event_duration_secs_listener(note)
    yield names
    jax.monitoring.unregister_event_duration_listener(note)


@pytest.mark.parametrize("name", EVERY)
def test_budgets_seeds_and_equal_shaped_worlds_share_their_programs(name: str, compiled: list[str]) -> None:
    algorithm = algorithms.get(name)
    for fused in (True, False):
        run(arena(), algorithm, 30, 5, fused=fused)
        run(arena(seed=1), algorithm, 30, 5, fused=fused)
        compiled.clear()
        run(arena(), algorithm, 77, 5, fused=fused)
        run(arena(seed=2), algorithm, 30, 9, seed=4, first=1000, fused=fused)
        run(arena("easy"), algorithms.get(name), 5, 5, fused=fused)
        assert compiled == []


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_state_keeps_the_types_it_starts_with(name: str) -> None:
    """Or a round's programs are compiled twice. Seen to fail where Sequential Halving starts with -inf of no dtype."""
    algorithm, key = algorithms.get(name), runner.trial_key(0, 0)
    spec = whole_runs.with_truth(given(arena()).world(key).spec, jnp.zeros((3, 4, 4)))
    first = jax.eval_shape(lambda: algorithm.init(spec, jnp.int32(45)))
    ask = jax.eval_shape(lambda state: algorithm.allocate(key, spec, state), first)
    rows, scales = len(ask.pulls), algorithm.num_scales(spec)
    stats = Stats(jnp.zeros((rows, spec.num_tasks, scales)), jnp.zeros((rows, scales)))
    later = jax.eval_shape(lambda state, ask: algorithm.update(key, spec, state, ask, stats), first, ask)
    kinds = [[(leaf.shape, leaf.dtype, leaf.weak_type) for leaf in jax.tree.leaves(state)] for state in (first, later)]
    assert kinds[0] == kinds[1]


OTHERS = ("psst+k4:rho", "softmax:temperature", "epsilon-greedy:epsilon")


@pytest.mark.parametrize(
    "option", ["ucb:constant", *(pytest.param(option, marks=pytest.mark.slow) for option in OTHERS)]
)
def test_constants_of_an_algorithm_share_its_programs(option: str, compiled: list[str]) -> None:
    """Seen to fail with the real numbers of an algorithm left as they are."""
    for fused in (True, False):
        first = run(arena(), algorithms.get(f"{option}=0.3"), 60, 50, fused=fused)
        compiled.clear()
        assert not same(first, run(arena(), algorithms.get(f"{option}=0.7"), 60, 50, fused=fused))
        assert compiled == []


@pytest.mark.slow
def test_algorithms_that_pull_alike_share_the_program_of_a_round(compiled: list[str]) -> None:
    """Seen to fail with the algorithm's name as a field of `rounds.Pulling`."""
    source = given(arena(), train=np.arange(1))  # no other test has one training query, and its programs
    for name, shared in (("psst", {"jit(pull)", "jit(_draw)"}), ("psst+k4", set()), ("uniform", set())):
        compiled.clear()
        runner.run_trials(source, algorithms.get(name), 30, seed=0, trials=5, fused=False)
        assert "jit(tell)" in compiled
        assert {"jit(pull)", "jit(_draw)"} & set(compiled) == shared


@pytest.mark.parametrize("name", EVERY)
def test_small_budgets_are_never_overspent(name: str) -> None:
    algorithm = algorithms.get(name)
    for budget in range(1, 26):
        assert run(arena(seed=budget), algorithm, budget, LANES).spent.max() <= budget


@pytest.mark.parametrize("name", EVERY)
def test_what_spends_or_is_told_beats_a_random_arm(name: str) -> None:
    """On the easy world with T = 200; a uniformly random arm has the exact mean value of all arms.

    Seen to fail, for everything that learns, with the order of `kernels.select.sortable` reversed.
    """
    algorithm, data = algorithms.get(name), arena("easy")
    found = run(data, algorithm, 200, 300)
    acr, floor = returns(data, found), truth_of(data).mean()
    se = acr.std() / np.sqrt(len(acr))
    if found.spent.max() > 0 or algorithm.sees_truth:
        assert acr.mean() > floor + 5 * se
        assert not agrees(acr.mean(), floor, se)
    else:
        assert agrees(acr.mean(), floor, se)


@pytest.mark.parametrize("name", EVERY)
def test_prompts_that_nothing_tells_apart_are_recommended_equally_often(name: str) -> None:
    """Permuting the prompts of a symmetric world changes nothing: each is the answer in 1/4 of 2,000 trials.

    That holds in every context; few pulls and many equal rewards make ties the rule. Seen to fail, for six of the ten
    classes of learners, with the tie-break words of `draws.order` replaced by the items' indices.
    """
    algorithm, data = algorithms.get(name), arena("symmetric")
    if algorithm.sees_truth:
        pytest.skip("no learner: whoever reads the truth may take the first of equally good arms")
    for budget in (7, 40):
        found = run(data, algorithm, budget, 2000, seed=budget)
        for context in range(3):
            assert chi_square(np.bincount(found.prompt[:, context], minlength=4), 500)


@pytest.mark.parametrize("name", EVERY)
def test_a_budget_below_the_smallest_is_refused(name: str) -> None:
    algorithm = algorithms.get(name)
    smallest = algorithm.min_budget(arena().environment().spec)
    with pytest.raises(ValueError, match=f"{smallest - 1} is too small; the smallest that works here is {smallest} "):
        run(arena(), algorithm, smallest - 1, 1)
    with pytest.raises(ValueError, match="too large"):
        run(arena(), algorithm, 2**31 - 1, 1)


WORLDS = {"majority": majority, "best-of": best_of, "mixed": mixed, "weighted": lambda: majority(weighted=True)}


@pytest.mark.slow
@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("name", ALGORITHMS)
def test_lanes_and_the_host_loop_do_not_show(name: str, world: str) -> None:
    """Ten trials on one lane, on seven and on as many lanes as trials, against the host loop, bit for bit."""
    algorithm, data = algorithms.get(name), WORLDS[world]()
    told = np.broadcast_to(truth_of(data), (10, *truth_of(data).shape))
    by_hand = host_trials(given(data), algorithm, 70, 0, 10, told)
    for number, fused in itertools.product((1, 7, 10), (True, False)):
        assert same(run(data, algorithm, 70, 10, lanes=number, fused=fused), by_hand)


DESIGNED, ESTIMATING = (
    [name for name in CLASSES.values() if isinstance(ALGORITHMS[name](), kind)] for kind in (Designed, Estimating)
)
DESIGNS = [(f"{name}:queries=common-wor", world) for name in DESIGNED for world in ("best-of", "weighted")]
DESIGNS += [(f"{name}:estimator={how}", "mixed") for name in ESTIMATING for how in ("subsets", "plug-in")]
DESIGNS += [("prompt-halving-n8:pull=2", world) for world in WORLDS]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "world"), [("triple-n1:queries=common-wor", "majority"), *DESIGNS])
def test_lanes_and_the_host_loop_do_not_show_under_any_design(name: str, world: str) -> None:
    """Thirty trials on seven lanes, which other trials take over. Seen to fail without `advance` in the host loop."""
    algorithm, data = algorithms.get(name), WORLDS[world]()
    by_hand = host_trials(given(data), algorithm, 70, 0, 30)
    for fused in (True, False):
        assert same(run(data, algorithm, 70, 30, lanes=7, fused=fused), by_hand)


@pytest.mark.slow
@pytest.mark.parametrize("name", ALGORITHMS)
def test_lanes_and_the_host_loop_do_not_show_on_fresh_worlds(name: str) -> None:
    algorithm, source = algorithms.get(name), drawn(majority())
    truth = np.random.default_rng(0).normal(size=(10, 3, 3, 4))
    by_hand = host_trials(source, algorithm, 50, 3, 10, truth)
    for number, fused in itertools.product((1, 3, 10), (True, False)):
        settings: Any = {"seed": 3, "trials": 10, "chunk": number, "fused": fused, "truth": truth}
        assert same(runner.run_trials(source, algorithm, 50, **settings), by_hand)


# --- names and options


def test_options_are_read_from_the_name() -> None:
    algorithm = algorithms.get("psst:budget_rule=reference,ties=index")
    expected = {"queries": "independent", "estimator": "blocks", "fresh": False}
    expected |= {"budget_rule": "reference", "ties": "index"}
    assert dataclasses.asdict(algorithm) == expected
    assert algorithms.get("psst:fresh=True").fresh is True
    assert algorithms.get("psst+k8:rho=0.5").rho == 0.5
    assert algorithms.get("psst+k8:num_kept=2").num_kept == 2
    assert algorithms.get("psst:") == algorithms.get("psst")


@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_name_spells_out_its_own_defaults(name: str) -> None:
    defaults = algorithms.options(name)
    spelled = f"{name}:" + ",".join(f"{option}={value}" for option, value in defaults.items())
    assert algorithms.get(spelled) == algorithms.get(name)
    assert hash(jax.tree.structure(algorithms.get(spelled))) == hash(jax.tree.structure(algorithms.get(name)))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("pssst", "unknown algorithm 'pssst'; did you mean 'psst'"),
        ("Uniform", "unknown algorithm 'Uniform'; did you mean 'uniform'"),
        ("", "unknown algorithm ''; known: psst, "),
        ("psst:budgetrule=hard", "psst has no option 'budgetrule'; did you mean 'budget_rule'"),
        ("random:x=1", "random has no option 'x'; it has none"),
        ("psst:fresh", "option 'fresh' of psst has no value; write psst:field=value"),
        ("psst:fresh=maybe", "psst:fresh is 'maybe'; expected true or false"),
        ("psst+k4:num_kept=2.5", "psst\\+k4:num_kept is '2.5'; expected a whole number"),
        ("softmax:temperature=warm", "softmax:temperature is 'warm'; expected a number"),
        ("psst:budget_rule=soft", "budget_rule is 'soft'; allowed are hard, reference"),
        ("psst:queries=shared", "queries is 'shared'; allowed are independent, common, common-wor"),
        ("psst:estimator=mean", "estimator is 'mean'; allowed are blocks, subsets, plug-in"),
        ("prompt-halving:pull=-1", "pull is -1; it must be at least 1 completion, or 0 for the largest scale"),
        ("psst:ties=first", "ties is 'first'; allowed are random, index"),
        ("psst+k4:num_kept=0", "num_kept is 0; at least 1 prompt must be kept"),
        ("psst+k4:rho=1.5", "rho is 1.5; it is the screening's share of the budget"),
        ("softmax:temperature=0", "temperature is 0.0; it must lie in 1e-36..1e\\+36"),
        ("softmax:temperature=-1", "temperature is -1.0; it must lie in 1e-36..1e\\+36"),
        ("softmax:temperature=nan", "temperature is nan; it must lie in 1e-36..1e\\+36"),
        ("epsilon-greedy:epsilon=5", "epsilon is 5.0; it is the probability of exploring, from 0 to 1"),
        ("epsilon-greedy:epsilon=nan", "epsilon is nan; it is the probability of exploring, from 0 to 1"),
        ("ucb:constant=-3", "constant is -3.0; it must lie in 0..1e\\+36"),
        ("ucb:constant=nan", "constant is nan; it must lie in 0..1e\\+36"),
        ("ucb-e:exploration=1e80", "exploration is 1e\\+80; it must lie in 0..1e\\+72"),
        ("triple-n1:deploy=two", "deploy is 'two'; allowed are one, random"),
    ],
)
def test_what_cannot_be_read_is_refused_in_one_sentence(text: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        algorithms.get(text)


def test_the_oracle_needs_the_truth() -> None:
    told = [name for name in ALGORITHMS if algorithms.get(name).sees_truth]
    assert told == ["oracle"]
    with pytest.raises(ValueError, match="exact training values"):
        runner.run_trials(given(arena()), algorithms.get("oracle"), 5, seed=0, trials=1)


def test_the_oracle_takes_the_best_arms() -> None:
    data = arena()
    found = run(data, algorithms.get("oracle"), 5, 2)
    prompt, scale = exact.best_arms(truth_of(data))
    np.testing.assert_array_equal(found.prompt, [prompt, prompt])
    np.testing.assert_array_equal(found.scale, [scale, scale])
    assert not found.spent.any()
