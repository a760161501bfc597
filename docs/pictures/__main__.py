"""Draw every picture, light and dark: `python docs/pictures OUTDIR [NAME ...]`."""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[2])  # started as a folder, it is no part of a package
    from docs.pictures.gallery import main

    sys.exit(main(*sys.argv[1:]))
