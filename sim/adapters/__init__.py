"""Real models: the same algorithm objects choose a prompt and a scale for a black box behind an HTTP endpoint.

* `run_file`, `config`, `schema`: what the user asks for, read by pydantic and checked in full before the first request.
* `wire`: one request and its reply; how failures are told apart; retries, and how many requests are under way.
* `paid`: no cap is exceeded; every completion is in the journal before it is used, and asked for once.
* `scoring`, `scorers`: completions to answers, scores and outcomes.
* `live`, `evidence`, `tune`, `policy`: the rounds of an algorithm against a live model, and what comes out.
* `tuning`, `answering`, `live_policy`, `progress`, `display`: the same in a program and in notebooks (`sim.live`).
* `planning`, `doubts`, `trust`: what is said, asked and refused before money is spent or code runs.
* `record`, `evaluation`: completions to an environment in the open format; a policy on held-out queries.
* `look_back`: a journal by prompt and round, and its odd completions.
* `tiny`: a model of a few kilobytes with a server, to try all this without a key.
"""
