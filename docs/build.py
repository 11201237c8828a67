"""Documentation as web pages: the texts of this folder and, by pdoc, the reference of all modules, in build/docs.

Needs the extra `docs` and no network. Run by `make docs`, from anywhere: python docs/build.py [FOLDER]
"""

import re
import shutil
import sys
import warnings
from pathlib import Path

import pdoc
import pdoc.render
import pdoc.render_helpers

ROOT = Path(__file__).resolve().parents[1]
TEXTS = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "figures/tables/claims.md")
"""Texts beside those of this folder. Proofs stay as they are: without a network nothing here sets their formulas."""
PACKAGES = ("sim", "theory", "figures", "!sim.adapters.tiny.__main__", "!sim.cli.__main__")
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>
<style>
body {{ max-width: 52rem; margin: 2rem auto; padding: 0 1rem; font: 16px/1.5 system-ui, sans-serif; }}
img {{ max-width: 100%; }} table {{ border-collapse: collapse; display: block; overflow-x: auto; }}
th, td {{ border: 1px solid #ccc; padding: .2rem .5rem; text-align: left; vertical-align: top; }}
pre {{ background: #f5f5f5; padding: .6rem; overflow-x: auto; }}
</style></head><body>
<nav><a href="{up}docs/index.html">documentation</a> | <a href="{up}api/index.html">reference</a></nav>
{body}
</body></html>
"""
LINK = re.compile(r"(\]\()(?!https?:|#)([^)\s#]+)(#[^)\s]*)?(\))")
"""Links and pictures of Markdown whose address is a path, with the place on the page."""


def texts() -> list[Path]:
    """Every text that becomes a page, from the root."""
    return [*sorted(path.relative_to(ROOT) for path in (ROOT / "docs").glob("*.md")), *map(Path, TEXTS)]


def page(path: Path, out: Path) -> None:
    """One text as a page in the same place under `out`, with the pictures that it shows beside it."""
    text = (ROOT / path).read_text(encoding="utf-8")
    pages = {one.as_posix() for one in texts()}

    def there(found: re.Match[str]) -> str:
        target = (ROOT / path.parent / found[2]).resolve().relative_to(ROOT)
        if target.as_posix() in pages:
            return f"{found[1]}{found[2].removesuffix('.md')}.html{found[3] or ''}{found[4]}"
        (out / target).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / target).is_dir():
            shutil.copytree(ROOT / target, out / target, dirs_exist_ok=True)
        else:
            shutil.copyfile(ROOT / target, out / target)
        return found[0]

    body = pdoc.render_helpers.to_html(LINK.sub(there, text))
    title = text.split("\n", 1)[0].lstrip("# ")
    written = out / path.with_suffix(".html")
    written.parent.mkdir(parents=True, exist_ok=True)
    written.write_text(PAGE.format(title=title, body=body, up="../" * (len(path.parts) - 1)), encoding="utf-8")


def main(out: Path) -> None:
    """Write everything; what was there before goes first."""
    shutil.rmtree(out, ignore_errors=True)
    for path in texts():
        page(path, out)
    warnings.filterwarnings("ignore", "Error parsing type annotation")  # of names that only checkers of types import
    pdoc.render.configure(docformat="google")
    pdoc.pdoc(*PACKAGES, output_directory=out / "api")
    start = '<!doctype html><meta http-equiv="refresh" content="0; url=docs/index.html">'
    (out / "index.html").write_text(start, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "build" / "docs")
