"""Progress on a screen: one picture that renews itself in a notebook, else lines on standard error."""

import sys
from collections.abc import Callable

from sim.adapters.progress import RunProgress


def display() -> Callable[[RunProgress], None]:
    """A display of a run's progress; in a notebook it is renewed in its place."""
    return _renewed() if _in_notebook() else _line


def _in_notebook() -> bool:
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return getattr(shell, "kernel", None) is not None


def _line(step: RunProgress) -> None:
    """A line at the end of a round."""
    if step.whole:
        sys.stderr.write(f"{step}\n")
        sys.stderr.flush()


def _renewed() -> Callable[[RunProgress], None]:
    """A bar with its sentence. A frontend that shows no HTML shows the sentence."""
    from IPython.display import display as show

    handle = None

    def renew(step: RunProgress) -> None:
        nonlocal handle
        done = min(step.completions, step.budget)
        bar = f'<progress value="{done}" max="{step.budget}"></progress> {step}'
        data = {"text/plain": str(step), "text/html": bar}
        if handle is None:
            handle = show(data, raw=True, display_id=True)
        else:
            handle.update(data, raw=True)

    return renew
