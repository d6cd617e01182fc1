"""What is installed with DVSE and adds to it: modules that `pyproject.toml` lists as entry points.

This package never imports them; it asks for what stands under a group.
"""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any


def plugins(group: str) -> Iterator[Any]:
    """Yield the modules of a group that lie beside this package, loaded.

    A user's own module of the same name is none of them.
    """
    from importlib.metadata import entry_points  # a third of what `import dvse` would take

    for point in entry_points(group=group):
        spec = find_spec(point.module)
        here = Path(__file__).parents[1]
        if spec is not None and spec.origin is not None and here in Path(spec.origin).parents:
            yield point.load()
