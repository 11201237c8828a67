"""Package README: that of the repository with pictures and links by absolute address.

A page of a package index has no files beside it: a relative path shows nothing there. Needs hatchling alone.
"""

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!https?:|#)([^)\s]+)\)")
"""Pictures and links of Markdown whose address is a path."""


class ReadmeHook(MetadataHookInterface):
    """Fills in the field `readme` from README.md."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Set `readme`; the address is that of the repository in `project.urls`."""
        text = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        readme = absolute(text, metadata["urls"]["Repository"])
        metadata["readme"] = {"content-type": "text/markdown", "text": readme}


def absolute(text: str, repository: str) -> str:
    """Markdown with every path made an address of the repository: pictures as raw files, links as pages.

    Args:
        text: the Markdown.
        repository: the address of the repository, without a slash at its end.
    """

    def there(found: re.Match[str]) -> str:
        mark, label, path = found.groups()
        return f"{mark}[{label}]({repository}/{'raw' if mark else 'blob'}/main/{path})"

    return LINK.sub(there, text)
