"""Spending of live commands in words and cells of tables: what is needed, the caps, what is spent."""

import sys
from typing import TYPE_CHECKING

from sim.cli import common

if TYPE_CHECKING:
    from sim.adapters.paid.ledger import Amount
    from sim.adapters.planning import Need
    from sim.adapters.run_file.settings import Config
    from sim.adapters.session import Session


def at_most(what: str, judged: bool) -> str:
    """Bound of a plan, in words.

    Args:
        what: whose worst case it is.
        judged: whether it holds judgements.
    """
    whole = f"{what} and its judgement" if judged else what
    text = f"At most: {whole} (a token per byte of the prompt, the longest answer). "
    if judged:
        text += (
            "A judgement is taken to read four bytes for each token of the longest answer; a few tokens are longer. "
        )
    return text + "Requests that fail and are repeated come on top; nothing exceeds the caps."


def check_cap(run: "Config", plan: "Need", spent: "Amount") -> None:
    """Refuse what the cap on completions cannot let end. Tokens and money depend on the answers: the ledger watches."""
    needed = spent.completions + plan.worst.completions
    if needed > run.caps.completions:
        raise ValueError(
            f"{run.file}: caps.completions is {run.caps.completions:,}; {spent.completions:,} are spent and up to "
            f"{plan.worst.completions:,} are missing: it must be at least {needed:,}, and more where requests fail"
        )


def show_run(run: "Config", num_queries: int, replaced: str = "") -> None:
    """Say what is run, and with what in the place of something else, at once: the plan takes longer."""
    common.console().print(
        f"{common.plain(run.name)}: {run.algorithm_text} on {common.count(len(run.prompts), 'prompt')}"
        f"{f' at {len(run.endpoints)} endpoints' if len(run.endpoints) > 1 else ''}, "
        f"N <= {run.max_scale}, {common.count(num_queries, 'query')}, {common.count(len(run.contexts), 'context')}"
    )
    if replaced:
        common.console().print(common.plain(replaced))
    sys.stdout.flush()


def show_need(run: "Config", plan: "Need", live: "Session", num_queries: int) -> None:
    """Say what some draws cost at most."""
    console = common.console()
    wanted = f"{plan.completions:,} completions of {num_queries} queries, {plan.kept:,} kept already"
    console.print(f"{common.plain(run.name)}: {wanted}")
    rows = [
        ("at most", *amount_columns(plan.worst)),
        ("spent so far", *amount_columns(live.ledger.spent)),
        ("caps", *caps_columns(run)),
    ]
    caption = at_most("the sum over every missing completion", plan.judged)
    common.show(console, "Cost", ("", ">completions", ">tokens", ">money"), rows, caption)


def caps_columns(run: "Config") -> tuple[str, ...]:
    """Caps as cells of a table."""
    caps = run.caps
    tokens, money = (
        "-" if caps.tokens is None else f"{caps.tokens:,}",
        "-" if caps.money is None else money_text(caps.money),
    )
    return (f"{caps.completions:,}", tokens, money)


def amount_columns(amount: "Amount") -> tuple[str, ...]:
    """An amount as cells of a table."""
    return (f"{amount.completions:,}", f"{amount.tokens:,}", money_text(amount.money))


def amount_text(amount: "Amount") -> str:
    """An amount in words."""
    _, tokens, money = amount_columns(amount)
    return f"{common.count(amount.completions, 'completion')}, {tokens} tokens, money {money}"


def money_text(units: int) -> str:
    """Money in units of the user's currency; small sums have more decimals."""
    from sim.adapters.run_file.settings import MONEY

    return f"{units / MONEY:.6f}" if 0 < units < MONEY // 1000 else f"{units / MONEY:,.4f}"
