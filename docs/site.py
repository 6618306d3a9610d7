"""What `mkdocs` does in addition: pages of the site that lie outside `docs/`, and links that lead there.

README.md, CONTRIBUTING.md, CHANGELOG.md and benchmarks/README.md are read in the repository, too, so that they stay
where they are. Their links, and those of all pages, name files relative to the file that holds them; here each becomes
a link to the page of that file, or to the file in the repository if it has none.
"""

import logging
import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
REPOSITORY = "https://github.com/parzc/parzc/blob/main/"
OUTSIDE = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "benchmarks/README.md": "benchmarks.md",
}
"""Pages that lie outside `docs/`, and their names in the site."""

SOURCES = {page: path for path, page in OUTSIDE.items()}
LOG = logging.getLogger("mkdocs.plugins.site")
LOADED = re.compile(r'<(?:script|link|img|iframe)\b[^>]*?\b(?:src|href)="((?:https?:)?//[^"]*)"')
LINK = re.compile(r"(\]\()(?![a-z]+:|#)([^)#\s]+)(#[^)\s]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that lie outside `docs/`."""
    for path, page in OUTSIDE.items():
        files.append(File.generated(config, page, content=(ROOT / path).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001
    """Return a page whose links lead to pages of the site, or to the repository."""
    here = page.file.src_uri
    source = SOURCES.get(here, f"docs/{here}")
    markdown = LINK.sub(lambda match: f"{match[1]}{destination(match[2], source, here)}{match[3] or ''})", markdown)
    return markdown.replace(" ± ", "\u00a0±\u00a0")  # no line break inside a figure


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:  # noqa: ARG001
    """Warn of whatever a page would load from another host; a strict build then fails."""
    for address in LOADED.findall(output):
        LOG.warning("%s would load %s", page.file.src_uri, address)
    return output


def destination(target: str, source: str, page: str) -> str:
    """Return where a link leads.

    Args:
        target: as it stands in the file, relative to it.
        source: the file, relative to the root of the repository.
        page: the file's name in the site.
    """
    path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
    inside = OUTSIDE.get(path) or (path.removeprefix("docs/") if path.startswith("docs/") else "")
    return posixpath.relpath(inside, posixpath.dirname(page) or ".") if inside else REPOSITORY + path
