"""Fixed-budget selection of a prompt and an inference scale together: worlds, algorithms, trials.

* `core`: the value types of the story and its abstract classes.
* `utilities`: completions to task rewards (majority vote, best of N, mean, mixed).
* `envs`: worlds and where trials get them; files.
* `estimators`, `schedules`, `trim`: what algorithms are made of.
* `algorithms`: one file each, and their registry.
* `kernels`: what is clever, beside plain versions.
* `engine`: trials, jitted or in a host loop.
* `evaluate`, `comparison`: exact scores; cells, tidy tables, the comparison behind `iapo compare`.
* `cli`: the `iapo` command.

    >>> from sim import algorithms, envs
    >>> from sim.engine import runner
    >>> source = envs.get("crossover").source
    >>> trials = runner.run_trials(source, algorithms.get("psst"), budget=2000, seed=0, trials=100)
    >>> trials.prompt.shape
    (100, 1)
"""
