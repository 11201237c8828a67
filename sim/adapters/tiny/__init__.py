"""Genuine tiny language models behind an OpenAI-compatible server: live runs to try and to test, free of charge.

* `tokenizer`, `task`: the vocabularies, and sums modulo 7 that three prompts answer for different numbers of tokens.
* `notes`, `scores`: texts that four prompts write of notes, and two objectives that pull apart: coverage, brevity.
* `model`, `weights`, `train`: the transformer, its weights (270 432 of the sums), and how they were found.
* `generate`, `server`, `tasks`: completions with temperature and seeds, and `python -m sim.adapters.tiny`.
* `demo`: files of runs of `iapo tune`.

Nothing else imports this package.
"""
