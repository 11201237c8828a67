"""Conformance: promises of every algorithm, environment and scorer, kept by `iapo check` and the tests alike."""
