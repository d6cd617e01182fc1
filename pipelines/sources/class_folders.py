"""Folders whose names are classes: `train/cat/1.png`, as imagefolder and audiofolder have them.

The rule is that of `datasets`: where all pictures (or all recordings) below a folder lie equally
deep, in folders of more than one name, and nothing else describes them (a `metadata.csv`, texts
beside them), those names are labels. Folders that are only the parts of a data set (`train`,
`test`) are none.
"""

from collections.abc import Set

from dvse.errors import StorageError
from pipelines.sources.folder_manifests import folder_manifests
from pipelines.sources.hidden import is_hidden
from pipelines.sources.kinds import AUDIO, IMAGE, extension
from pipelines.sources.tree import Tree

_PARTS = frozenset(
    ("train", "training", "test", "testing", "validation", "valid", "val", "dev", "eval")
)
_DEEPEST = 32


def labelled_kinds(tree: Tree, folder: str, skip: str | None) -> frozenset[str]:
    """Return `image`, `audio`, both or none: the kinds whose folders are classes.

    Looks at names only, and stops where it is clear that there are none.

    Args:
        tree: that the folder is in.
        folder: where the user pointed.
        skip: a folder that is not searched: the output of the job.
    """
    names: dict[str, set[str]] = {"image": set(), "audio": set()}
    depths: dict[str, set[int]] = {"image": set(), "audio": set()}
    waiting = [(tree.absolute(folder), 0)]
    while waiting:
        path, depth = waiting.pop()
        try:
            found = tree.folder(path).is_folder
        except StorageError:
            raise  # the store does not answer, which says nothing about what lies there
        except OSError:
            return frozenset()
        children = {c: is_dir for c, is_dir in found.items() if not is_hidden(c)}
        if folder_manifests(children.keys()) or depth > _DEEPEST:
            return frozenset()
        # Files come by the million, endings do not.
        files = [c for c, is_dir in children.items() if not is_dir]
        kinds = {e: kind for e in {c[c.rfind(".") :] for c in files} if (kind := _kind(f"x{e}"))}
        if ".txt" in {c[-4:] for c in files} and any(
            f"{c[: c.rfind('.')]}.txt" in children for c in files if c[c.rfind(".") :] in kinds
        ):
            return frozenset()
        for kind in set(kinds.values()):
            names[kind].add(path.rpartition("/")[2])
            depths[kind].add(depth)
        if all(len(known) > 1 for known in depths.values()):
            return frozenset()
        inner = [(f"{path}/{c}", depth + 1) for c, is_dir in children.items() if is_dir]
        waiting += [one for one in inner if not (skip and f"{one[0]}/".startswith(skip))]
    return frozenset(k for k in names if len(depths[k]) == 1 and _are_classes(names[k]))


def _are_classes(names: Set[str]) -> bool:
    return len(names) > 1 and not names <= _PARTS


def _kind(name: str) -> str | None:
    ending = extension(name)
    return "image" if ending in IMAGE else "audio" if ending in AUDIO else None
