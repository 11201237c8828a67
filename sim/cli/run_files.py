"""An example of a run file with every key, and the JSON schema of run files, written for `iapo tune`."""

from pathlib import Path

import typer

from sim.cli import common


def write_example(out: Path | None, config: Path | None) -> None:
    """Write the example to `out`, or to where a configuration was named."""
    if out is None and config is not None:
        common.say("note: the file to write is now named by --out; naming it by position goes with the next version")
    elif out is None or config is not None:
        raise ValueError("--example writes one file; name it with --out")
    path = out or config
    assert path is not None
    from importlib import resources

    from sim.writing import write_whole

    if path.exists():
        raise ValueError(f"{path} exists; name a new file for the example")
    content = (resources.files("sim.adapters") / "example.toml").read_bytes()
    write_whole(path, lambda file: file.write(content))
    typer.echo(f"wrote {path}; it also needs queries.jsonl beside it, a row per query: question and answer")


def write_schema(path: Path | None) -> None:
    """Write the JSON schema to a file, or to standard output."""
    import json

    from sim.adapters.schema import json_schema
    from sim.writing import write_whole

    text = json.dumps(json_schema(), indent=2) + "\n"
    if path is None:
        return typer.echo(text, nl=False)
    if path.exists() and path.suffix != ".json":
        raise ValueError(f"{path} exists; name a new file for the schema, or one that ends in .json")
    write_whole(path, lambda file: file.write(text.encode()))
    return typer.echo(f"wrote {path}; `#:schema {path.name}` in the first line of a run file tells editors of it")
