"""A live model from Python: choose a prompt and N for it, and answer queries with what was chosen.

The same things as the commands `iapo tune` and `iapo ask`, for programs and notebooks (docs/live.md):

* `tune(run)`: a run file, or its tables as a dictionary, to a policy file; `on_round` is told how far it is. It gives a
  `Tuned`.
* `Policy.load(path)`: a policy that answers, from many threads and event loops at once, within caps. It gives an
  `Answer` to every query.

    >>> from sim import live
    >>> live.Policy.load("nowhere/policy.json")
    Traceback (most recent call last):
    ValueError: nowhere/policy.json: cannot be read (No such file or directory)
"""

from typing import TYPE_CHECKING

from sim.public import lazily

if TYPE_CHECKING:
    from sim.adapters.answering import LiveAnswer as Answer
    from sim.adapters.live_policy import LivePolicy as Policy
    from sim.adapters.progress import RunProgress as RunProgress
    from sim.adapters.tuning import Tuned as Tuned
    from sim.adapters.tuning import tune as tune

__all__ = ["Answer", "Policy", "RunProgress", "Tuned", "tune"]

_HOMES = {
    "Answer": "sim.adapters.answering:LiveAnswer",
    "Policy": "sim.adapters.live_policy:LivePolicy",
    "RunProgress": "sim.adapters.progress:RunProgress",
    "Tuned": "sim.adapters.tuning:Tuned",
    "tune": "sim.adapters.tuning:tune",
}

__getattr__, __dir__ = lazily(__name__, _HOMES)
