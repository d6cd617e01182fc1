"""What `dvse.load` asks for names that are neither shipped nor a directory (an entry point)."""

from pathlib import Path

from pipelines.registry.registry import Registry


def names() -> list[str]:
    """Return the names that `find` knows."""
    return sorted(Registry.load())


def find(name: str) -> Path | None:
    """Return the folder of a published bundle, made where it is not there yet; `None`: unknown.

    Raises:
        BundleError: it cannot be had, or is not what it should be.
    """
    entry = Registry.load().get(name)
    if entry is None:
        return None
    from pipelines.registry.making import made_bundle

    return made_bundle(entry)
