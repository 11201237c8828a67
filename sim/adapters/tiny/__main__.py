"""`python -m sim.adapters.tiny`: serve a tiny model on this machine, until it is stopped."""

import argparse
import sys
from pathlib import Path

import typer

from sim.adapters.tiny import demo, server, weights
from sim.adapters.tiny.tasks import TASKS


def main() -> int:
    """Read the command line, say where the server is, and answer; 2 where the user's input is wrong."""
    parser = argparse.ArgumentParser(prog="python -m sim.adapters.tiny", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)")
    parser.add_argument("--port", type=int, default=8765, help="port, 0 for any that is free (default: 8765)")
    parser.add_argument("--task", choices=TASKS, default="sums", help="what the model has learnt (default: sums)")
    parser.add_argument("--weights", type=Path, help="safetensors file that train.py wrote (default: the task's)")
    parser.add_argument("--example", type=Path, metavar="FOLDER", help="first write a run of `iapo tune` to FOLDER")
    given = parser.parse_args()
    task = TASKS[given.task]
    try:
        made = server.serve(weights.load(given.weights or task.weights)[0], given.host, given.port, task)
        if given.example is not None:
            demo.write(given.example, server.url(made), task)
    except (ValueError, OSError, OverflowError) as error:
        typer.echo(f"error: {error}", err=True)
        return 2
    typer.echo(server.url(made))
    try:
        made.serve_forever()
    except KeyboardInterrupt:
        typer.echo("stopped", err=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
