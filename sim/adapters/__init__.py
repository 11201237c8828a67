"""Real models: the same algorithm objects choose a prompt and a scale for a black box behind an HTTP endpoint.

* `fields`, `config`, `queries`: what the user asks for, checked in full before the first request.
* `protocol`, `openai_client`: one request and its reply; how failures are told apart.
* `retry`, `pace`: the one retry loop, and how many requests are under way at a time.
* `ledger`, `journal`: no cap is exceeded; every completion is on disk before it is used.
* `sampler`: draws of (prompt, query), each asked for once.
* `scoring`, `scorers`, `reading`: completions to answers, scores and outcomes.
* `live`, `evidence`, `tune`, `policy`: the rounds of an algorithm against a live model, and what comes out.
* `record`, `logs`: completions to an environment in the open format; what a journal holds.
"""
