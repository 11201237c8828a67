"""`iapo policy`: the chosen prompt as a file of another tool."""

from pathlib import Path
from typing import Annotated

import typer

from sim.cli import common, options


@common.command
def export(
    policy: options.PolicyPath,
    out: Annotated[Path, typer.Option(metavar="FILE", help="The file to write; its end says the format.")],
    context: options.ContextName = None,
) -> None:
    """Write the prompt that a policy chose, for another tool.

    By the end of FILE: promptfoo (.yaml), a DSPy program (.json), a list (.jsonl, .csv), its text (.txt, .md). What the
    format has no place for is refused. No such file has a place for N, which is said.

    Example: iapo policy export results/capitals/policy.json --context "cost 0" --out best.yaml
    """
    from sim.adapters import policy as file
    from sim.adapters.run_file import prompt_formats
    from sim.writing import write_whole

    if out.suffix not in prompt_formats.WRITTEN:
        raise ValueError(f"--out ends in {out.suffix!r}; known are {', '.join(prompt_formats.WRITTEN)}")
    if out.exists():
        raise ValueError(f"{out} exists; name a new file")
    answers = file.load(policy)
    context = file.named(answers, context, "--context")
    chosen = answers.choices[context].chosen
    address = answers.address(chosen.prompt)
    text = prompt_formats.written(answers.prompts[chosen.prompt], chosen.scale, address, out.suffix)
    write_whole(out, lambda opened: opened.write(text.encode("utf-8")))
    told = f"wrote {out}: the prompt {chosen.prompt!r} of context {context!r}; ask it with N = {chosen.scale}"
    typer.echo(common.plain(told))
