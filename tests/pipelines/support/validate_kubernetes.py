"""Holds a file against Kubernetes' own schemas; run in the environment `kubernetes`."""

import sys
from pathlib import Path

import kubernetes_validate
import yaml

for document in yaml.safe_load_all(Path(sys.argv[1]).read_text()):
    for version in sys.argv[2:]:
        kubernetes_validate.validate(document, version, strict=True)
print(len(sys.argv[2:]), "versions")
