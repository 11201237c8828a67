"""Statements about a choice: with confidence, no other arm is better by more than eps; which are not told apart.

Comparisons with the best (Hsu, Annals of Statistics 12, 1984; theory/proofs.md, "Statements after the fact"):
half-widths d_ji need hold only for the true best arm j against all others i at once. Then whichever arm i was chosen,
from the same data too, loses at most the largest of (estimate of j less i) + d_ji over the arms j that no arm excludes.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int

from sim.certify import bounded
from sim.certify.contrasts import TARGETS, Contrasts, Pairs, errors
from sim.certify.evidence import QueryEvidence
from sim.certify.joint import LEAST_ERROR, Multipliers
from sim.certify.sequences import mixture_half_width

GRADES = {
    "asymptotic": "asymptotic, simultaneous",
    "student": "asymptotic, simultaneous (Student's t with Bonferroni)",
    "anytime": "asymptotic, valid at any time",
    "bounded": "not asymptotic, at a fixed number of queries",
    "bounded-anytime": "not asymptotic, valid at any time",
}
"""Names of grades and what they say of a statement."""
FEWEST = 10
"""Queries in common below which nothing asymptotic is said."""
_ASYMPTOTIC = ("asymptotic", "student")


class Confidence(NamedTuple):
    """Terms on which a statement is to hold.

    Attributes:
        level: probability with which it holds, all together.
        grade: one of `GRADES`.
        target: "new" queries of this kind, or exactly "these".
        looks: at how many sizes, fixed before the run, two arms may be compared; a union over them. 1 where the size
            is fixed, or the grade holds at any time.
        together: how many contexts' statements are to hold at once; a union over them.
        planned: queries at which statements that hold at any time shall be narrow. Fixed before the run.
        seed: of the bootstrap's draws.
    """

    level: float = 0.95
    grade: str = "asymptotic"
    target: str = "new"
    looks: int = 1
    together: int = 1
    planned: int = 100
    seed: int = 0

    @property
    def error(self) -> float:
        """Probability with which one statement at one look may fail."""
        return (1 - self.level) / (self.looks * self.together)

    def checked(self) -> "Confidence":
        """The same, or a ValueError that names what is out of range."""
        if not 0 < self.level < 1:
            raise ValueError(f"the level is {self.level}; it must lie between 0 and 1")
        for name, value, known in (("grade", self.grade, tuple(GRADES)), ("target", self.target, TARGETS)):
            if value not in known:
                raise ValueError(f"the {name} is {value!r}; it must be one of {', '.join(known)}")
        for name in ("looks", "together", "planned"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")
        return self


class Ranged(NamedTuple):
    """An estimate with the ends of its interval."""

    estimate: float
    low: float
    high: float


class NotApart(NamedTuple):
    """An arm that cannot be told from the chosen one.

    Attributes:
        prompt, scale: the arm; prompts count from 0.
        value: its value; the intervals of all arms' values hold at once.
        lead: by how much it is better than the chosen one; the intervals of all pairs hold at once.
    """

    prompt: int
    scale: int
    value: Ranged
    lead: Ranged


@dataclass(frozen=True, eq=False)
class Statement:
    """One context's statement: with probability `confidence.level` the arm loses at most `eps` against the best.

    Attributes:
        context: its name.
        prompt, scale: the arm that was chosen; prompts count from 0.
        confidence: terms on which it holds.
        eps: the most that another arm is better by; infinite where some prompt has too few queries in common with it.
        value: of the chosen arm; the intervals of all arms' values hold at once.
        not_apart: arms that cannot be told from the chosen one, best estimates first.
        queries: queries that the chosen arm has met.
        completions: those of its prompt on them.
        exhausted: the whole list was met.
        num_arms: arms that it speaks of: those with values.
        left_out: arms without values, never asked or with N above the completions of every pair: it does not speak of
            them.
        lead: estimated lead of every arm over the chosen one, shape (prompt, scale), NaN where unknown.
        most: upper bound of the lead, -inf for an arm that is excluded, shape (prompt, scale).
        common: queries in common with the chosen arm, shape (prompt, scale).
    """

    context: str
    prompt: int
    scale: int
    confidence: Confidence
    eps: float
    value: Ranged
    not_apart: tuple[NotApart, ...]
    queries: int
    completions: int
    exhausted: bool
    num_arms: int
    left_out: int
    lead: Float64[np.ndarray, "prompt scale"]
    most: Float64[np.ndarray, "prompt scale"]
    common: Int[np.ndarray, "prompt scale"]


def certify(
    evidence: QueryEvidence, context: int, prompt: int, scale: int, confidence: Confidence | None = None
) -> Statement:
    """The statement about an arm of one context, however it was chosen.

    Args:
        evidence: all that was measured.
        context: number of the context in `evidence.contexts`.
        prompt: prompt of the arm, counted from 0.
        scale: N of the arm.
        confidence: terms on which it is to hold.

    Returns:
        The statement; its utilities are those of `evidence.utilities`.

    Raises:
        ValueError: the grade or the target does not apply; one sentence says why.

    Example:
        >>> import numpy as np
        >>> from sim.certify import ContextTerms, QueryEvidence, certify
        >>> rewards = np.zeros((1, 2, 20, 1))
        >>> rewards[0, 0, :18] = 1.0  # prompt 0 is right on 18 of 20 queries, prompt 1 on 8
        >>> rewards[0, 1, :8] = 1.0
        >>> found = QueryEvidence(rewards, np.ones((2, 20), int), (ContextTerms("free"),), np.zeros(2))
        >>> certify(found, 0, prompt=0, scale=1).eps, round(certify(found, 0, prompt=1, scale=1).eps, 2)
        (0.0, 0.69)
    """
    terms = (confidence or Confidence()).checked()
    if not 0 <= context < len(evidence.contexts):
        raise ValueError(f"the context is {context}; there are {len(evidence.contexts)}, counted from 0")
    shape = (evidence.num_prompts, evidence.max_scale)
    known = evidence.measured.any(axis=1).ravel()
    chosen = prompt * evidence.max_scale + scale - 1
    if not (0 <= prompt < shape[0] and 1 <= scale <= shape[1]) or not known[chosen]:
        raise ValueError(
            f"prompt {prompt} with N = {scale} was not measured: N is above the completions of every pair, or the "
            "prompt was never asked; what is extrapolated gets no statement"
        )
    own = evidence.measured[prompt, :, scale - 1]
    met, number = int(own.sum()), evidence.number(own)
    if number < FEWEST and not terms.grade.startswith("bounded"):
        weighed = "" if number == met else f", which by their weights count as {number}"
        raise ValueError(
            f"prompt {prompt} with N = {scale} has met {met} {'query' if met == 1 else 'queries'}{weighed}; below "
            f"{FEWEST} no asymptotic statement is made (grade {terms.grade!r})"
        )
    if evidence.query_weights is not None and np.ptp(evidence.weights) > 0 and terms.grade not in _ASYMPTOTIC:
        raise ValueError(f"the grade {terms.grade!r} needs queries of equal weights; here they differ")
    if terms.grade.startswith("bounded"):
        widths = bounded.widths(evidence, context, chosen, terms.error, terms.target, terms.grade == "bounded-anytime")
    else:
        widths = _asymptotic(Contrasts(evidence, context, terms.target), chosen, terms)
    most = np.where(known & ~widths.excluded, widths.most, -np.inf)
    most[chosen] = 0.0
    name = evidence.contexts[context].name
    limits = [end.ravel() for end in evidence.limits(context)]
    values = (widths.value, *(np.clip(end, *limits) for end in (widths.low, widths.high)))
    others = np.flatnonzero((most > 0) & (np.arange(len(most)) != chosen) & np.isfinite(widths.value))
    not_apart = [
        NotApart(
            arm // shape[1],
            arm % shape[1] + 1,
            Ranged(*(float(part[arm]) for part in values)),
            Ranged(*(float(part[arm]) for part in (widths.lead, widths.lead_low, widths.lead_high))),
        )
        for arm in others[np.argsort(-widths.value[others], kind="stable")].tolist()
    ]
    return Statement(
        context=name,
        prompt=prompt,
        scale=scale,
        confidence=terms,
        eps=float(max(most.max(), 0.0) + 0.0),
        value=Ranged(*(float(part[chosen]) for part in values)),
        not_apart=tuple(not_apart),
        queries=met,
        completions=int(evidence.completions[prompt, own].sum()),
        exhausted=met == evidence.list_length,
        num_arms=int(known.sum()),
        left_out=int((~known).sum()),
        lead=widths.lead.reshape(shape),
        most=most.reshape(shape),
        common=widths.common.reshape(shape),
    )


def certify_all(
    evidence: QueryEvidence,
    prompts: Int[np.ndarray, " context"],
    scales: Int[np.ndarray, " context"],
    confidence: Confidence | None = None,
) -> tuple[Statement, ...]:
    """Statements about a policy, one a context, that hold all at once with the level asked for.

    Args:
        evidence: all that was measured.
        prompts: prompt of each context's arm, counted from 0.
        scales: N of each context's arm.
        confidence: terms; `together` is set to the number of contexts.
    """
    terms = (confidence or Confidence())._replace(together=len(evidence.contexts))
    arms = zip(prompts.tolist(), scales.tolist(), strict=True)
    return tuple(certify(evidence, number, *arm, terms) for number, arm in enumerate(arms))


def _asymptotic(contrasts: Contrasts, chosen: int, terms: Confidence) -> bounded.Widths:
    pairs, error = contrasts.pairs(), terms.error
    num_arms = sum(len(sheet.arms) for sheet in contrasts.sheets)
    single = _critical(pairs, error / max(num_arms - 1, 1), terms, sides=1)
    joint = None
    if terms.grade == "asymptotic" and error >= LEAST_ERROR:
        joint = Multipliers(contrasts, error, terms.seed)
        least = joint.best(_inside(pairs, single))
        single = np.minimum(single, as_student(least[:, None], pairs.queries))
    inside = _inside(pairs, single)
    most = pairs.mean[:, chosen] + _half(single[:, chosen], pairs.se[:, chosen])
    every = _critical(pairs, error / max(num_arms * (num_arms - 1), 1), terms, sides=1)[:, chosen]
    half = _half(every, pairs.se[:, chosen])
    value, low, high = _values(contrasts, error / num_arms, terms, joint)
    lead = pairs.mean[:, chosen]
    return bounded.Widths(
        most=np.where(np.isnan(lead), np.inf, most),
        excluded=~inside,
        lead=lead,
        lead_low=np.where(np.isnan(lead), -np.inf, lead - half),
        lead_high=np.where(np.isnan(lead), np.inf, lead + half),
        value=value,
        low=low,
        high=high,
        common=pairs.queries[:, chosen],
    )


def _inside(pairs: Pairs, critical: Float64[np.ndarray, "arm arm"]) -> Bool[np.ndarray, " arm"]:
    """Arms that no other arm excludes from being the best one."""
    upper = pairs.mean + _half(critical, pairs.se)
    return ~np.any(upper < 0, axis=1)


def _half(critical: np.ndarray, se: np.ndarray) -> np.ndarray:
    """Half-widths; 0 where nothing varies and enough was seen, infinite where too little was."""
    with np.errstate(invalid="ignore"):
        return np.where(np.isinf(critical), np.inf, critical * se)


def _critical(pairs: Pairs, error: float, terms: Confidence, sides: int) -> Float64[np.ndarray, "arm arm"]:
    """Critical value of every comparison by itself; infinite where fewer than `FEWEST` queries are common."""
    return critical_values(error, terms, sides, pairs.queries, pairs.clock, pairs.exhausted)


def critical_values(
    error: float, terms: Confidence, sides: int, sizes: np.ndarray, clock: np.ndarray, exhausted: np.ndarray
) -> np.ndarray:
    """Critical values of comparisons by themselves, any shape; infinite where fewer than `FEWEST` queries are common.

    Args:
        error: of each.
        terms: grade and target count.
        sides: 1 for a bound on one side, 2 for both.
        sizes: queries in common.
        clock: as in `Pairs`.
        exhausted: as in `Pairs`.
    """
    from scipy import special

    counts = np.asarray(np.maximum(sizes, 2), np.float64)
    if terms.grade == "anytime" and terms.target == "new":
        found = mixture_half_width(counts, error, terms.planned, sides)
    elif terms.grade == "anytime":  # half of the error for all times before the list ends, half for when it does
        found = mixture_half_width(np.maximum(clock, 2.0), error / 2, terms.planned, sides)
        if exhausted.any():
            found = np.where(exhausted, -special.stdtrit(counts - 1, error / 2 / sides), found)
    else:
        found = -special.stdtrit(counts - 1, error / sides)
    return np.where(sizes >= FEWEST, found, np.inf)


def as_student(normal: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Quantiles of a normal law at Student's t: as far out in the law of a mean of so many."""
    from scipy import special

    tail = special.ndtr(-normal)
    found = -special.stdtrit(np.maximum(sizes, 2) - 1.0, np.broadcast_to(tail, np.shape(sizes)))
    return np.where((sizes >= FEWEST) & np.isfinite(found), found, np.inf)


def _values(
    contrasts: Contrasts, error: float, terms: Confidence, joint: Multipliers | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Value of every arm on the queries it met, with intervals that hold at once."""
    value, half = np.full((2, contrasts.num_arms), np.nan)
    normal = None if joint is None else np.array(joint.values())
    for number, sheet in enumerate(contrasts.sheets):
        size, sample = int(sheet.met.sum()), contrasts.sample(number, sheet.met)
        share, sizes = contrasts.share(size, sample.within is not None), np.array(contrasts.evidence.number(sheet.met))
        found = errors(sample, share)
        critical = critical_values(error, terms, 2, sizes, sizes / found.part, np.array(share == 0))
        if normal is not None:
            critical = np.asarray(np.minimum(critical, as_student(normal, sizes)))
        value[sheet.arms] = sample.mean
        half[sheet.arms] = _half(critical, found.se)
    return value, value - half, value + half
