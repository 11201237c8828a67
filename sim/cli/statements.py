"""How sure the choices of a live run are, in words on the screen and as facts in its files."""

from typing import TYPE_CHECKING, Any

from sim.cli import common

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sim.adapters.evaluation import Measured, RoleArms
    from sim.adapters.policy import Chosen
    from sim.adapters.run_file.settings import Config
    from sim.certify import QueryEvidence

Said = dict[str, list[str]]
"""Sentences, by the name of the context."""


def of_run(
    run: "Config", evidence: "QueryEvidence", choices: "Sequence[Chosen]", rounds: int | None
) -> tuple[Said, dict[str, dict[str, Any]]]:
    """Statements about the arms that a run chose, in words and as a policy file holds them."""
    from sim.adapters import certified
    from sim.advice import in_sentences

    names = [prompt.name for prompt in run.prompts]
    advices = certified.run_advice(run, evidence, choices, rounds)
    sign, unit = signs(run)
    said = {
        own.context: in_sentences(evidence, one, names, sign, unit=unit)
        for own, one in zip(choices, advices, strict=True)
    }
    facts = [
        certified.as_facts(one, names, " ".join(said[own.context])) for own, one in zip(choices, advices, strict=True)
    ]
    return said, dict(zip(said, facts, strict=True))


def of_evaluation(run: "Config", arms: "RoleArms", measured: "Measured", pulls: int) -> Said:
    """Statements about a policy's arms by held-out queries, among all arms of the prompts that were asked there."""
    from sim.adapters import certified
    from sim.advice import advise, in_sentences

    names = list(measured.width)
    evidence = certified.evaluated(run, measured, pulls)
    advices = advise(evidence, [(names.index(name), scale) for name, scale in arms.policy])
    sign, unit = signs(run)
    said = {}
    for context, one in zip(run.contexts, advices, strict=True):
        why = [f"No statement about the policy's arm: {one.refusal}."]
        said[context.name] = why if one.statement is None else in_sentences(evidence, one, names, sign, unit=unit)[:1]
    return said


def signs(run: "Config") -> tuple[str, str]:
    """What stands before the costs of a run, and what after them."""
    return ("", "tokens") if run.cost_measure == "tokens" else (run.currency or "", "")


def show(said: Said) -> None:
    """Print the sentences of every context."""
    console = common.console()
    for name, (first, *rest) in said.items():
        console.print()
        for sentence in (f"{name}: {first}" if len(said) > 1 else first, *rest):
            console.print(common.plain(sentence), soft_wrap=True)
