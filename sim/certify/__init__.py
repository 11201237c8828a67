"""Statements about a choice from a run's own data or a log: how much better another arm may be, and how sure that is.

`certify` takes evidence per query (`QueryEvidence`) and an arm, however it was chosen, and says with what confidence no
other arm is better by more than eps. `in_words` makes a sentence of it, `more_needed` a plan. docs/certificates.md says
what each grade assumes, theory/proofs.md proves it.

    >>> import numpy as np
    >>> from sim.certify import ContextTerms, QueryEvidence, certify, in_words
    >>> rewards = np.random.default_rng(0).random((1, 2, 50, 1))  # task, prompt, query, N
    >>> rewards[0, 0] += 0.2
    >>> evidence = QueryEvidence(rewards, np.ones((2, 50), int), (ContextTerms("free"),), cost=np.zeros(2))
    >>> statement = certify(evidence, context=0, prompt=0, scale=1)
    >>> in_words(statement, ["check", "direct"]).startswith("Use `check` with N = 1: .7")
    True
"""

from sim.certify.completions import evidence_of as evidence_of
from sim.certify.completions import vote_bounds as vote_bounds
from sim.certify.evidence import ContextTerms as ContextTerms
from sim.certify.evidence import QueryEvidence as QueryEvidence
from sim.certify.outlook import Outlook as Outlook
from sim.certify.outlook import more_needed as more_needed
from sim.certify.statement import GRADES as GRADES
from sim.certify.statement import Confidence as Confidence
from sim.certify.statement import NotApart as NotApart
from sim.certify.statement import Ranged as Ranged
from sim.certify.statement import Statement as Statement
from sim.certify.statement import certify as certify
from sim.certify.statement import certify_all as certify_all
from sim.certify.wording import in_words as in_words
