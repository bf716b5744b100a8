"""Check that links between the built pages lead somewhere.

``python doc/check_links.py doc/_build`` prints each link to a file or an anchor that
does not exist, and each file that a page loads from another site. It needs no network.
"""

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """Links, anchors and loaded files of a page."""

    def __init__(self, path):
        super().__init__()
        self.links, self.anchors, self.loaded = [], {""}, []
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.anchors.add(attributes.get("id") or attributes.get("name") or "")
        source = attributes.get("src")
        target = attributes.get("href")
        if tag == "a" and target is not None:
            self.links.append(target)
        elif source or (tag == "link" and attributes.get("rel") == "stylesheet"):
            self.loaded.append(source or target)


def main(folder):
    root = Path(folder).resolve()
    paths = (p for p in root.rglob("*.html") if root / "_static" not in p.parents)
    pages = {path: Page(path) for path in paths}
    errors = []
    for path, page in pages.items():
        name = path.relative_to(root)
        for link in page.links + page.loaded:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                if link in page.loaded and parts.scheme != "data":
                    errors.append(f"{name} loads {link}")
                continue
            target = path if not parts.path else path.parent / unquote(parts.path)
            target = target.resolve()
            if not target.exists():
                errors.append(f"{name}: no file {link}")
            elif (
                target in pages and unquote(parts.fragment) not in pages[target].anchors
            ):
                errors.append(f"{name}: no anchor {link}")
    print(*sorted(set(errors)), f"{len(pages)} pages", sep="\n")
    return bool(errors)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
