"""Holds a file against Kubernetes' own schemas; run in the environment `kubernetes`."""

import sys
from pathlib import Path

import yaml


def main() -> None:
    """Validate the file against each version that is named."""
    import kubernetes_validate  # not where the other tests run

    for document in yaml.safe_load_all(Path(sys.argv[1]).read_text()):
        for version in sys.argv[2:]:
            kubernetes_validate.validate(document, version, strict=True)
    print(len(sys.argv[2:]), "versions")


if __name__ == "__main__":
    main()
