"""The `iapo` command. Thin: it reads options, calls the rooms, and says what came out.

Nothing is imported here: `main` first makes sure of the signals and the standard streams, before anything takes time.
"""

TYPE_CHECKING = False  # typing's takes as long to import as all that comes before the signals
if TYPE_CHECKING:
    from typer import Typer

    app: Typer


def main() -> None:
    """Run the command line: the whole of a process, whose signals and standard streams it takes over."""
    _be_ready()
    from sim.cli import interrupt

    interrupt.install()
    _one_thread()
    code = 1
    try:
        from sim.cli import streams

        streams.settle()
        from sim.cli.commands import app

        with streams.written():
            app()
    except SystemExit as done:
        code = done.code if isinstance(done.code, int) else int(done.code is not None)
        raise
    finally:
        interrupt.finish(code)


def _be_ready() -> None:
    """End at Ctrl-C while `signal` itself is imported, which takes a third of the time up to here."""
    import _signal  # pyright: ignore[reportMissingImports]
    import os

    def end(number: int, frame: object) -> None:
        os.write(2, b"stopped\n")
        os._exit(128 + number)

    if os.name == "posix" and _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
        _signal.signal(_signal.SIGINT, end)


def _one_thread() -> None:
    """Have XLA compute in one thread, here and in workers, unless NPROC says otherwise.

    Its pool gains no time on arrays as small as these, and keeps a second core busy (docs/speed.md).
    """
    import os

    os.environ.setdefault("NPROC", "1")


def __getattr__(name: str) -> object:
    """The commands, imported when they are asked for."""
    if name == "app":
        from sim.cli.commands import app

        return app
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
