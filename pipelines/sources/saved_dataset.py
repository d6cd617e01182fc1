"""A directory that `save_to_disk` of `datasets` wrote: which of its files are no inputs.

Its rows lie in the Arrow files that `state.json` names; the descriptions beside them, and Arrow
files left behind by `map` (`cache-….arrow`), are part of no data set.
"""

import json
from collections.abc import Set

from dvse.remote.remote_path import location

_DESCRIPTIONS = frozenset(("dataset_info.json", "state.json", "dataset_dict.json"))


def saved_dataset_leftovers(folder: str, names: Set[str]) -> list[str]:
    """Return the names in a folder that describe a saved data set, or that it has left behind.

    >>> saved_dataset_leftovers("/tmp", {"a.png", "state.json"})
    []
    """
    if "dataset_dict.json" in names:
        return ["dataset_dict.json"]
    if not {"dataset_info.json", "state.json"} <= names:
        return []
    try:
        state = json.loads((location(folder) / "state.json").read_bytes())
        used = {str(file["filename"]) for file in state["_data_files"]}
    except (OSError, ValueError, KeyError, TypeError):
        return []  # the description is damaged: everything is looked at, and it is an error itself
    stale = {name for name in names if name.endswith(".arrow")} - used
    return sorted((names & _DESCRIPTIONS) | stale)
