"""Writes the JSON Schema of the protocol into its document: ``python -m instruments.schema docs/protocol.md``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from instruments.messages import json_schema

OPENING, CLOSING = "```json schema\n", "\n```"


def write_schema(document: Path) -> None:
    """Replace the schema block of ``document``. Raises ValueError where it has none."""
    text = document.read_text()
    head, opening, rest = text.partition(OPENING)
    _, closing, tail = rest.partition(CLOSING)
    if not opening or not closing:
        raise ValueError(f"{document} has no block that begins with {OPENING!r}")
    document.write_text(f"{head}{opening}{json.dumps(json_schema(), indent=1)}{closing}{tail}")


if __name__ == "__main__":
    write_schema(Path(sys.argv[1]))
