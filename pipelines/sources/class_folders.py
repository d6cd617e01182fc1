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
            found = tree.folder(path).names
        except StorageError:
            raise  # the store does not answer, which says nothing about what lies there
        except OSError:
            return frozenset()
        if folder_manifests(found) or depth > _DEEPEST:
            return frozenset()
        # Files come by the million, endings do not.
        kinds = {ending: kind for ending in found.endings if (kind := _kind(f"x{ending}"))}
        if ".txt" in found.endings and any(
            f"{child[: child.rfind('.')]}.txt" in found
            for child, is_folder in found.items()
            if child[child.rfind(".") :] in kinds and not is_folder and not is_hidden(child)
        ):
            return frozenset()
        for kind in set(kinds.values()):
            names[kind].add(path.rpartition("/")[2])
            depths[kind].add(depth)
        if all(len(known) > 1 for known in depths.values()):
            return frozenset()
        folders = (child for child, is_folder in found.items() if is_folder)
        inner = [(f"{path}/{child}", depth + 1) for child in folders if not is_hidden(child)]
        waiting += [one for one in inner if not (skip and f"{one[0]}/".startswith(skip))]
    return frozenset(k for k in names if len(depths[k]) == 1 and _are_classes(names[k]))


def _are_classes(names: Set[str]) -> bool:
    return len(names) > 1 and not names <= _PARTS


def _kind(name: str) -> str | None:
    ending = extension(name)
    return "image" if ending in IMAGE else "audio" if ending in AUDIO else None
