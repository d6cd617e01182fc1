"""`python -m pipelines.tiny.samples DIR`."""

import argparse
import sys
from pathlib import Path

from pipelines.tiny.samples import making


def main() -> int:
    """Write the samples where the command line says."""
    parser = argparse.ArgumentParser(description="Write small sample files to try DVSE on.")
    parser.add_argument("folder", type=Path)
    for path in making.make_samples(parser.parse_args().folder):
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
