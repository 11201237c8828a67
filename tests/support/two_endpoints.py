"""Runs on two endpoints at different prices: a run file, and both servers' own records of what they billed."""

from pathlib import Path

from journal_files import query
from live_server import KEY

from sim.adapters.paid.ledger import Amount

OTHER_KEY = "sk-second-5d1e/8+Yw=="
"""The key of the endpoint "far"; KEY is that of "near"."""
TWO = """
name = "digits"
out = "out"
strategy = "mv"
[endpoints.near]
base_url = "NEAR"
model = "m"
key_variable = "LIVE_TEST_KEY"
concurrency = { start = 8, most = 8 }
timeout = 900
deadline = 1800
prices = { prompt = 1.0, completion = 2.0, currency = "USD" }
[endpoints.far]
base_url = "FAR"
model = "m"
key_variable = "OTHER_TEST_KEY"
concurrency = { start = 4, most = 4 }
timeout = 900
deadline = 1800
prices = { prompt = 10.0, completion = 20.0, currency = "USD" }
[cost]
measure = "money"
[[prompts]]
name = "weak"
text = "[0.45] {query}"
endpoint = ["near", "far"]
max_tokens = 10
[[prompts]]
name = "strong"
text = "[0.75] {query}"
endpoint = "far"
max_tokens = 10
[queries]
file = "q.jsonl"
gold = "gold"
[[objectives]]
name = "right"
scorer = "number"
[contexts]
cost_weights = [0.0, 3000.0]
[tune]
algorithm = "psst"
budget = 400
max_scale = 4
"""
"""Three candidates for `live_runs.digit`; NEAR and FAR are to be replaced. By hand: a completion costs about 0.00002 at
"near" and 0.0002 at "far", so that the second context, which takes 0.6 for the latter, wants the former."""
UNITS = {"near": (1_000_000, 2_000_000), "far": (10_000_000, 20_000_000)}
"""Prices of a token in units of 10**-12."""
KEYS = {"LIVE_TEST_KEY": KEY, "OTHER_TEST_KEY": OTHER_KEY}
CHARGED = """
SELECT total(completions), total(tokens), total(money) FROM attempts JOIN cells USING (cell) WHERE endpoint = '{}'
"""


def write_two(folder: Path, near: str, far: str, text: str = TWO) -> Path:
    """Write the run file."""
    file = folder / "run.toml"
    file.write_text(text.replace("NEAR", near).replace("FAR", far))
    return file


def charged_at(journal: Path, address: str) -> Amount:
    """Charges of a journal for requests to an address."""
    return Amount(*map(int, query(journal, CHARGED.format(address))[0]))
