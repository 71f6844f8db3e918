"""Writes the parts of the reference that follow from the program, from the program itself.

    python docs/generate.py            # fills them in
    python docs/generate.py --check    # fails if a page is not what the program says

Each stands in its page between `<!-- generated: NAME -->` and `<!-- /generated -->`; all around it is written by hand.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

import sections

DOCS = Path(__file__).parent

_MARKED = re.compile(r"(<!-- generated: (\w+) -->\n)(.*?)(<!-- /generated -->)", re.DOTALL)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="change nothing; fail if something would change")
    check = parser.parse_args().check
    stale, used = [], set()
    for page in sorted(DOCS.rglob("*.md")):
        text = page.read_text("utf-8")
        used |= {name for _, name, _, _ in _MARKED.findall(text)}
        filled = _MARKED.sub(_fresh, text)
        if filled != text:
            stale.append(str(page.relative_to(DOCS.parent)))
            if not check:
                page.write_text(filled, "utf-8")
    if missing := set(sections.SECTIONS) - used:
        sys.exit(f"no page has a place for: {', '.join(sorted(missing))}")
    if check and stale:
        sys.exit(f"not what the program says: {', '.join(stale)}; run: make docs")


def _fresh(found: re.Match[str]) -> str:
    begin, name, _, end = found.groups()
    return f"{begin}\n{sections.SECTIONS[name]().strip()}\n\n{end}"


if __name__ == "__main__":
    main()
