"""The ledger of the paper's claims C1 to C10, each judged from the tables of the figures by a stated rule.

A judge is a function of the tables that returns a finding per environment. To add a claim: a judge and a line in
`CLAIMS`. Nothing here is simulated, and no verdict is written down: other tables give other verdicts.
"""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from figures import gains, judges, registry, resolution
from figures.inputs import records
from figures.judges import NOT, OPEN, PARTLY, REPRODUCED, UNTESTED, Finding
from sim import mistakes, plugins

if TYPE_CHECKING:
    import pandas as pd

REAL = ("MATH", "CQA", "HH", "Summarization")
"""The released environments that hold a real model's completions."""


class PaperClaim(NamedTuple):
    """A claim of the paper.

    Attributes:
        says: what is claimed.
        number: what the paper gives for it.
        test: how it is judged here, as a rule that a reader could apply.
        needs: the figures whose tables it is judged from, the first one shows it.
        judge: the tables of `needs`, by figure -> a finding per environment.
        some: whether one environment suffices ("on some", "up to").
        always: whether one counterexample refutes it.
        about: the environments that the verdict over all is about; all when empty.
        envs: released environments that it is about.
        untested: environments -> why the test says nothing there, whatever the tables hold.

    Example:
        >>> from figures import Finding, PaperClaim
        >>> def judge(tables):
        ...     rows = tables["scale-gain"]
        ...     return [Finding("MATH", f"{len(rows)} rows", "reproduced" if len(rows) else "open")]
        >>> claim = PaperClaim("There are rows.", "-", "one row is enough", ("scale-gain",), judge, envs=())
        >>> claim.judge({"scale-gain": [1, 2]})[0].ours
        '2 rows'
    """

    says: str
    number: str
    test: str
    needs: tuple[str, ...]
    judge: Callable[[dict[str, Any]], list[Finding]]
    some: bool = False
    always: bool = False
    about: tuple[str, ...] = ()
    envs: tuple[str, ...] = REAL
    untested: tuple[tuple[str, str], ...] = ()


_DRAWN = (
    "Where worlds are drawn, the population is the worlds that the generator draws, each with new queries for its "
    "prompts: shown so in more than half of the worlds tested, the 95 % interval of that share above .5 (not: the "
    "opposite is shown in more than half). Without any change a share of at most .05 is expected"
)

CLAIMS: dict[str, PaperClaim] = {
    "C1": PaperClaim(
        "Prompts cross over as N grows.",
        "shown on MATH",
        'exact values per query, lowest cost; queries are a sample: "one prompt leads at every N" is rejected at level '
        f".05 / {judges.RULES} ({judges.RULES} rules for rivals were tried on MATH), with the rival and the N "
        "of each prompt chosen on one half of the queries and their paired difference tested on the other "
        '(not: "none leads at every N" is rejected so; open: neither). ' + _DRAWN,
        ("crossing", "worlds"),
        judges.crossing,
    ),
    "C2": PaperClaim(
        "The best (prompt, N) depends on the context's weights and cost.",
        "shown on two tasks",
        'exact values per query; queries are a sample: "one pair of prompt and N is best in all contexts" is rejected '
        'at the level of C1 on held-out halves, as there (not: "none is best in all" is rejected; open: neither). '
        + _DRAWN,
        ("crossing", "worlds"),
        judges.contexts,
    ),
    "C3": PaperClaim(
        "PSST and PSST+K beat all exploration baselines at nearly every budget.",
        "nearly every budget",
        "PSST, and PSST+K4, against uniform, epsilon-greedy, softmax and UCB at every budget: paired differences, "
        "t-test, Holm's correction, level .05: both win at least 90 % and lose none (some lost, and partly: more won "
        "than lost and left open; not: at least as many lost as won and left open; else open)",
        ("exploration",),
        judges.baselines,
    ),
    "C4": PaperClaim(
        "PSST+K is faster at small budgets; full PSST is best at large ones.",
        "by figure",
        "paired differences, t-test, Holm's correction: some PSST+K above PSST at one of the two smallest "
        "budgets (false: all below), and PSST above every PSST+K at the largest (false: some above) (partly: one is so "
        "and one false; not: both false; else open)",
        ("exploration",),
        judges.screening,
    ),
    "C5": PaperClaim(
        "K = 1 is deceived on some environments.",
        "by figure",
        "PSST+K1 below PSST at the largest budget, paired difference, t-test, level .05 (not: above; else open)",
        ("exploration",),
        judges.deceived,
        some=True,
    ),
    "C6": PaperClaim(
        "IAPO beats disjoint optimisation by up to 25 % and prompt-only optimisation by up to 50 %.",
        "25 %, 50 %",
        "largest relative gain in ACR of PSST over PSST+K1 (25 %), over TRIPLE at N = 1 and over TRIPLE at a random N "
        "(50 % each), of all budgets: its 95 % interval, Bonferroni-corrected for taking the largest, lies above the "
        "paper's number (partly: between zero and that number; not: not above zero; else open). Differences in ACR "
        "where the other's mean is not above ten standard errors: then no percentage is judged, and partly is the most",
        ("awareness",),
        judges.gains,
        some=True,
    ),
    "C7": PaperClaim(
        "About 5,000 completions are enough on the real tasks.",
        "5,000",
        "ACR of PSST at 5,000 completions is at least 99 % of that at the largest budget and of that of the best arm "
        "on train: both 95 % intervals lie above (partly: the first above, the second below; not: the first below; "
        "else open). Trials are paired, for the first by way of the best arm, with errors added up. Not testable where "
        "the ACR of the best arm is not above ten standard errors",
        ("exploration",),
        judges.enough,
        about=REAL,
    ),
    "C8": PaperClaim(
        "The error bound of Theorem 1 holds.",
        "Theorem 1",
        "bound as printed against the exact or simulated probability, simultaneous 95 % intervals: violated nowhere "
        "(open: not told from the truth somewhere)",
        ("bounds",),
        judges.theorem,
        always=True,
        envs=(),
        untested=(
            ("synth-bernoulli, synth-categorical", "the bound is on one fixed world; these are drawn afresh"),
            (
                ", ".join(REAL),
                "`bounds` is on small worlds; `iapo plan FILE` tells from which budget on the bound says anything here "
                "(on MATH beyond all that can be run, for arms nearly as good as the best one)",
            ),
        ),
    ),
    "C9": PaperClaim(
        "Ignoring the structure costs a factor of order |C| Nmax in budget.",
        "order |C| Nmax",
        "budget to a mean regret of .05, halving without sharing over PSST, on synthetic worlds of varied size: "
        "exponents of |C| and of Nmax, by least squares of logarithms: their 95 % intervals lie within [.75, 1.25] "
        "(false: lie outside; partly: one of each; not: both false; else open)",
        ("structure",),
        judges.structure,
        envs=(),
        untested=((", ".join(REAL), "their sizes are fixed: no exponent can be fitted"),),
    ),
    "C10": PaperClaim(
        "Utility gains fade beyond N = 16.",
        "16",
        "exact values, mean over contexts: the share of the gain of Nmax over N = 1 that arms with N <= 16 attain: its "
        "95 % interval, over queries or drawn worlds, lies above 90 % (not: below 75 %; partly: between; else open; a "
        "curve in proportion to log N has 80 %)",
        ("scale-gain",),
        judges.fading,
    ),
}
"""Claims by their numbers in the order of the paper."""
ORDER = (REPRODUCED, PARTLY, NOT, OPEN, UNTESTED)


def bring(texts: Iterable[str]) -> None:
    """Put claims of one's own into the ledger, each under its name: `iapo claims --claim mine.py:C11`.

    Args:
        texts: `path/file.py:Name`, `module:Name` or an installed package's name of a `PaperClaim`, which may need
            figures of one's own, named as `iapo figures` does.

    Raises:
        ValueError: there is none, it is no `PaperClaim`, it is given options, or another has its name.
    """
    for text in texts:
        thing = plugins.load("claim", text, lambda one: isinstance(one, PaperClaim), CLAIMS)
        if not isinstance(thing, PaperClaim):
            made = type(thing).__name__
            raise ValueError(f"{text} is an object of class {made}; expected a figures.claims.PaperClaim")
        address = plugins.split(text, CLAIMS)
        if address.options:
            raise ValueError(f"{address.base} is a PaperClaim, which has no options; leave out {address.options!r}")
        named = thing.needs if isinstance(thing.needs, tuple | list) else ()
        if not named or not all(isinstance(one, str) for one in named):
            raise ValueError(f"{text} needs {thing.needs!r}; a claim needs a row of names of figures, one at least")
        name = plugins.label(text)
        if name in CLAIMS and CLAIMS[name].says != thing.says:
            raise ValueError(f"{text} would be called {name!r}, as another claim is; rename it")
        CLAIMS[name] = thing._replace(needs=tuple(map(registry.bring, thing.needs)))


def needs() -> list[str]:
    """The figures whose tables are needed."""
    return list(dict.fromkeys([*(name for claim in CLAIMS.values() for name in claim.needs), "resolution"]))


def judge(tables: "dict[str, pd.DataFrame]") -> dict[str, list[Finding]]:
    """The findings of every claim, those that cannot be had here included."""
    found = {}
    for name, claim in CLAIMS.items():
        findings = _findings(name, claim, tables)
        missing = [env for env in claim.envs if env not in {finding.env for finding in findings}]
        untested = [Finding(envs, why, UNTESTED) for envs, why in claim.untested]
        found[name] = [*findings, *untested, *(_missing(env, claim.needs[0], tables) for env in missing)]
    return found


def _findings(name: str, claim: PaperClaim, tables: "dict[str, pd.DataFrame]") -> list[Finding]:
    """The findings of a claim's judge, held to be some."""
    found: Any = claim.judge(tables)
    wanted = "a judge returns a list of figures.judges.Finding"
    if not isinstance(found, list | tuple):
        raise mistakes.gave(f"the judge of {name}", claim.judge, found, wanted)
    for one in found:
        if not isinstance(one, Finding) or not all(isinstance(part, str) for part in one):
            raise mistakes.gave(f"the judge of {name}", claim.judge, one, wanted)
        if one.verdict not in ORDER:
            known = f"a verdict is one of {', '.join(map(repr, ORDER))}"
            raise mistakes.gave(f"the judge of {name}", claim.judge, one.verdict, known)
    return list(found)


def _missing(env: str, name: str, tables: "dict[str, pd.DataFrame]") -> Finding:
    """Why there is no finding for a released environment."""
    said = f"the table of `{name}` was made without {env}_final.pkl: `iapo data fetch {env}`, then `iapo claims`"
    if env in set(tables[name].get("env", ())):
        said = f"the table of `{name}` does not hold what the test needs of {env}"
    return Finding(env, said, UNTESTED)


def overall(claim: PaperClaim, findings: Iterable[Finding]) -> str:
    """The verdict over environments; open where one that is open could change it.

    Where one environment suffices the best, for each part of the claim; where one refutes the worst; else partly if
    mixed.
    """
    parts: dict[str, set[str]] = {}
    for one in findings:
        if one.verdict != UNTESTED and (not claim.about or one.env in claim.about):
            parts.setdefault(one.part, set()).add(one.verdict)
    if claim.some:
        best = (REPRODUCED, OPEN, PARTLY, NOT)  # what is open may be reproduced yet
        return judges.together(min(found, key=best.index) for found in parts.values())
    verdicts = set().union(*parts.values())
    return NOT if claim.always and NOT in verdicts else judges.together(verdicts)


def short(tables: "dict[str, pd.DataFrame]") -> str:
    """In Markdown: a row per claim, where a gain that is often named is reached, and what numbers of trials resolve."""
    rows = []
    for name, findings in judge(tables).items():
        claim = CLAIMS[name]
        by = {said: [f.row for f in findings if f.verdict == said] for said in ORDER}
        where = "; ".join(f"{said}: {', '.join(envs)}" for said, envs in by.items() if envs)
        rows.append((name, claim.says, claim.number, f"**{overall(claim, findings)}**", where))
    table = _markdown(("claim", "what is claimed", "paper", "verdict", "where"), rows)
    said = gains.often_said(tables["awareness"], REAL)
    return f"{table}\n\n{said}\n\n{trials(tables['resolution'])}"


def trials(table: "pd.DataFrame") -> str:
    """Resolution of 200 trials, as in the paper, and of more, in Markdown."""
    power, level = (f"{resolution.SWEEP[name]:g}".removeprefix("0") for name in ("power", "alpha"))
    rows = [
        (
            *(row.env, f"{row.n:,}", f"{row.detectable:.4f}", f"{row.detectable_all:.4f}"),
            *(f"{row.one} of {row.comparisons}", f"{row.all} of {row.comparisons}", row.unsure or "none"),
        )
        for row in records(resolution.resolved(table))
    ]
    head = ("environment", "trials", "difference, alone", "difference, all at once")
    said = (
        f"What a number of trials can resolve: the difference in ACR that it detects with probability {power} in a "
        f"two-sided test at level {level} (median over comparisons), alone and with all comparisons of the environment "
        "at once (Bonferroni), and how many of the differences to PSST in `exploration` are as large (`resolution`; "
        "the paper: 200). Smaller ones are found with a lower probability, and may be significant above."
    )
    chance = f"probability >= {power}"
    tail = (f"{chance}, alone", f"{chance}, all at once", "PSST's largest lead or lag with a lower one, all at once")
    return f"{said}\n\n{_markdown((*head, *tail), rows)}"


def ledger(tables: "dict[str, pd.DataFrame]", origins: dict[str, dict[str, Any]]) -> str:
    """The whole ledger in Markdown: a row per claim, then every claim with its test and a row per environment.

    Args:
        tables: of the figures in `needs()`.
        origins: the provenance of each table.
    """
    parts = ["# The paper's claims, judged", _preamble(origins), short(tables)]
    for name, findings in judge(tables).items():
        claim = CLAIMS[name]
        parts.append(f"## {name}. {claim.says}")
        figures = ", ".join(f"`{need}`" for need in claim.needs)
        parts.append(f"Paper: {claim.number}. Test: {claim.test}. Figure: {figures}.")
        rows = [(finding.row, finding.ours, finding.verdict) for finding in findings]
        parts.append(_markdown(("environment", "ours, 95 % intervals in brackets", "verdict"), rows))
    return "\n\n".join(parts) + "\n"


def _preamble(origins: dict[str, dict[str, Any]]) -> str:
    used = [
        f"`{name}` {origin['settings']['trials']:,}"
        for name, origin in origins.items()
        if "trials" in origin["settings"]
    ]
    return (
        "Written by `iapo claims` from the tables beside it; nothing here is typed in. PSST is ours: hard budgets, "
        "random ties, 1/t credit for tied votes. ACR is scored by exact values on held-out queries. Trials per point: "
        f"{', '.join(used)}. Open: what is not resolved could change the verdict. C1 and C2 count worlds that are "
        "drawn (Clopper and Pearson's intervals); C1, C2 and C10 speak beyond the queries of a released environment. "
        "Intervals of the others cover splits and sampling on it, given its queries and prompts; not other ones. "
        "Released environments whose file was not at hand are not testable here."
    )


def into(text: str, table: str) -> str:
    """A text with the table between its two marks.

    Raises:
        ValueError: the marks are not there.
    """
    start, end = "<!-- claims -->\n", "<!-- /claims -->"
    if start not in text or end not in text:
        raise ValueError(f"no marks {start.strip()} and {end} between which the claims could go")
    head, rest = text.split(start, 1)
    return f"{head}{start}{table}\n{end}{rest.split(end, 1)[1]}"


def _markdown(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [list(head), ["---"] * len(list(head)), *rows]
    return "\n".join("| " + " | ".join(entry.replace("|", "\\|") for entry in line) + " |" for line in lines)
