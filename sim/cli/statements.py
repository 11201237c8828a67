"""Statements about the choices of a live run and of an evaluation, in words on the screen."""

from typing import TYPE_CHECKING

from sim.cli import common

if TYPE_CHECKING:
    from sim.adapters.certified import Said
    from sim.adapters.evaluation import Measured, RoleArms
    from sim.adapters.run_file.settings import Config


def of_evaluation(run: "Config", arms: "RoleArms", measured: "Measured", pulls: int) -> "Said":
    """Statements about a policy's arms by held-out queries, among all arms of the prompts that were asked there."""
    from sim.adapters import certified
    from sim.advice import advise, in_sentences

    names = list(measured.width)
    evidence = certified.evaluated(run, measured, pulls)
    advices = advise(evidence, [(names.index(name), scale) for name, scale in arms.policy])
    sign, unit = certified.signs(run)
    said = {}
    for context, one in zip(run.contexts, advices, strict=True):
        why = [f"No statement about the policy's arm: {one.refusal}."]
        said[context.name] = why if one.statement is None else in_sentences(evidence, one, names, sign, unit=unit)[:1]
    return said


def lines(said: "Said") -> list[str]:
    """All sentences in a row, each context's beginning with its name where there are several."""
    return [sentence for own in _named(said) for sentence in own]


def show(said: "Said") -> None:
    """Print the sentences of every context."""
    console = common.console()
    for own in _named(said):
        console.print()
        for sentence in own:
            console.print(common.plain(sentence), soft_wrap=True)


def _named(said: "Said") -> list[list[str]]:
    return [[f"{name}: {first}" if len(said) > 1 else first, *rest] for name, (first, *rest) in said.items()]
