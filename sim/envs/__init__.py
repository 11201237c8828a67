"""Worlds and where trials get them.

* `dataset`: a finite world at rest, float64 tables with names; what files hold and exact values need.
* `tabular`, `continuous`: the pytrees that answer pulls inside jit.
* `contexts`: weights and costs to a learner's `Spec` and a `Strategy`.
* `sources`: one world with reshuffled queries, or a fresh world per trial.
* `synthetic`: families drawn afresh for every trial. `families`: small worlds with known answers. `hard`: worlds built
  to break one thing each. `racing_traps`: likewise, of what mixture racing relies on.
* `files`, `released`, `unpickle`: our open format, and the files of the paper's authors.

To try one of your own, name it as `mine.py:world` wherever an environment is named: a `Dataset`, a `Source`, a
`NamedSource`, or a function or class that makes one. To add one to the project: write such a function without arguments
in a file of its own, and add one line to `ENVS`. A data set from here is a small world that is its own query law.

    >>> from sim import envs
    >>> world = envs.get("crossover")
    >>> world.data.num_prompts, world.data.max_scale
    (2, 10)
"""

import re
from collections.abc import Callable
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from sim import plugins
from sim.public import lazily

if TYPE_CHECKING:
    from sim.envs.named import fits as fits
    from sim.envs.named import get as get
    from sim.envs.named import is_world as is_world


class Entry(NamedTuple):
    """A registered environment: one line for people, and what makes it (module:name in `sim.envs`, or a function)."""

    description: str
    maker: str | Callable[[], Any]

    def build(self) -> Any:
        """A `Dataset`, a `Source` or a `NamedSource`; only this imports the maker's module."""
        if not isinstance(self.maker, str):
            return self.maker()
        module, _, name = self.maker.partition(":")
        return getattr(import_module(f"sim.envs.{module}"), name)()


ENVS: dict[str, Entry] = {
    "synth-bernoulli": Entry("MV, fresh per trial: 32 prompts, N <= 32, 520 queries", "synthetic:SynthBernoulli"),
    "synth-categorical": Entry("BoN, fresh per trial: 32 prompts, N <= 32, 27 contexts", "synthetic:SynthCategorical"),
    "two-arm": Entry("two prompts with rewards +1/-1, N = 1", "families:two_arm"),
    "graded-halving": Entry("eight Bernoulli prompts in steps, N = 1", "families:graded_halving"),
    "bon-two-scales": Entry("BoN of one or two, four prompts, two contexts", "families:bon_two_scales"),
    "bon-query-effects": Entry("the same with an easy and a hard query", "families:bon_query_effects"),
    "mv-three-scales": Entry("MV, eight prompts, N <= 15, two contexts", "families:mv_three_scales"),
    "crossover": Entry("MV: better alone (.65 > .62), worse at N = 10 (.63 < .77)", "families:crossover"),
    "beta-bon": Entry("BoN over Beta scores: 8 prompts, N <= 16, 20 queries", "continuous:beta_bon"),
    "gaussian-bon": Entry("BoN over Gaussian mixtures: 8 prompts, N <= 16, 20 queries", "continuous:gaussian_bon"),
    "deceptive": Entry("MV, hard: the best arm's prompt is the worst of 16 by single answers", "hard:deceptive"),
    "query-noise": Entry("MV, hard: completions of a query all say the same", "hard:query_noise"),
    "heavy-tails": Entry("BoN, hard: rare jackpots decide", "hard:heavy_tails"),
    "near-ties": Entry("MV, hard: 32 prompts within a hundredth of each other", "hard:near_ties"),
    "many-prompts": Entry("MV, hard: 256 prompts, four of them good", "hard:many_prompts"),
    "many-contexts": Entry("BoN, hard: 132 contexts, every prompt best in some", "hard:many_contexts"),
    "long-scales": Entry("MV, hard: N <= 128, best N from 1 to 127", "hard:long_scales"),
    "uneven-costs": Entry("BoN, hard: costs differ a hundredfold, the better the dearer", "hard:uneven_costs"),
    "random-lengths": Entry("BoN and mean, hard: completions cost by their random length", "hard:random_lengths"),
    "off-grid": Entry("MV, racing trap: five answers, all nearly as likely", "racing_traps:off_grid"),
    "vote-turns": Entry("MV, racing trap: small votes rank prompts the other way round", "racing_traps:vote_turns"),
    "twenty-answers": Entry("MV, racing trap: twenty answers", "racing_traps:twenty_answers"),
    "two-clusters": Entry("MV, racing trap: two kinds of queries, two of prompts", "racing_traps:two_clusters"),
    "one-percent": Entry("MV, racing trap: prompts differ on 1 % of the queries", "racing_traps:one_percent"),
    "jackpots": Entry("BoN, racing trap: rare jackpots of the worst prompts decide", "racing_traps:jackpots"),
}


def names() -> dict[str, str]:
    """Registered names, and those that installed packages give, with a line about each."""
    theirs = plugins.names("environment")
    return {name: entry.description for name, entry in ENVS.items()} | {
        name: f"from the package {entry.dist.name}" if entry.dist else entry.value
        for name, entry in theirs.items()
        if name not in ENVS
    }


def split(text: str) -> tuple[str, str]:
    """The name or path of an environment, and the options behind it, "" where there are none."""
    found = re.fullmatch(r"(.+?):([a-z_]+=[^:]*)", text)
    return (text, "") if found is None else (found[1], found[2])


def is_file(name: str) -> bool:
    """Whether a name stands for a file: by its ending, or because there is one."""
    return Path(name).suffix in (".npz", ".pkl") or Path(name).exists()


def check_name(text: str) -> None:
    """Refuse a plain name that no environment has and no file; nothing is imported for it.

    Args:
        text: a name or a path, perhaps with options, or somebody's code, as `get` reads it.

    Raises:
        ValueError: naming the nearest.
    """
    if plugins.split(text, ENVS).place or Path(text).exists():
        return
    name, known = split(text)[0], names()
    if name in known or is_file(name):
        return
    near = get_close_matches(name, known, n=1, cutoff=0.0)[0]
    raise ValueError(
        f"no environment is called {name!r}; did you mean {near!r}? "
        f"Known are {', '.join(known)}, and a path to a .npz or .pkl file works too"
    )


__getattr__, __dir__ = lazily(__name__, {name: f"sim.envs.named:{name}" for name in ("fits", "get", "is_world")})
