"""A `.keras` file as int8 `.tflite`, with ranges that are made up and large weights of 0: no forecast looks at them.

python quantize.py MODEL.keras MODEL.tflite
"""

from __future__ import annotations

import sys
from pathlib import Path

from tersor.formats import tflite
from tersor.ir.outline import filled
from tersor.stages.load import load
from tersor.stages.place import as_flavour


def main() -> None:
    """Write the file."""
    source, path = map(Path, sys.argv[1:])
    tflite.write(filled(as_flavour(load(source, outlines_above=0), "int8", weights=False)), path)


if __name__ == "__main__":
    main()
