"""Figures, one file each: `draw(table) -> Figure` turns a table into a picture; `style` is what they share.

The public names are those in `__all__`; `sim` says what semantic versioning covers. They are imported when first used.
"""

from typing import TYPE_CHECKING

from sim.public import lazily

if TYPE_CHECKING:
    from figures import style as style
    from figures.anew import draw_figure as draw_figure
    from figures.claims import PaperClaim as PaperClaim
    from figures.judges import Finding as Finding
    from figures.results.compare import draw as draw_comparison

__all__ = ["Finding", "PaperClaim", "draw_comparison", "draw_figure", "style"]

_HOMES = {
    "Finding": "figures.judges:Finding",
    "PaperClaim": "figures.claims:PaperClaim",
    "draw_comparison": "figures.results.compare:draw",
    "draw_figure": "figures.anew:draw_figure",
    "style": "figures.style",
}

__getattr__, __dir__ = lazily(__name__, _HOMES)
