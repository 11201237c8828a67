"""Guarantees put to the test: claims, worlds, rules, verdicts; `iapo verify` and `iapo plan`."""
