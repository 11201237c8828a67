"""Statements about a choice from a run's own data or a log: how much better another arm may be, and how sure that is.

`certify` takes evidence per query (`QueryEvidence`) and an arm, however it was chosen, and says with what confidence no
other arm is better by more than eps. `in_words` makes a sentence of it, `more_needed` a plan. docs/certificates.md says
what each grade assumes, theory/proofs.md proves it.
"""

from sim.certify.completions import evidence_of as evidence_of
from sim.certify.evidence import ContextTerms as ContextTerms
from sim.certify.evidence import QueryEvidence as QueryEvidence
from sim.certify.outlook import Outlook as Outlook
from sim.certify.outlook import more_needed as more_needed
from sim.certify.statement import GRADES as GRADES
from sim.certify.statement import Confidence as Confidence
from sim.certify.statement import Ranged as Ranged
from sim.certify.statement import Rival as Rival
from sim.certify.statement import Statement as Statement
from sim.certify.statement import certify as certify
from sim.certify.statement import certify_all as certify_all
from sim.certify.wording import in_words as in_words
