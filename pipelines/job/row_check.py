"""Is a row of a token shard what it says it is? Ids, brackets, level order, grid, durations.

Rows of one text, picture or recording are checked with a few array operations; anything that
does not look right there, and any mixed row, goes through the grammar token by token.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from dvse.blocks import KINDS
from dvse.errors import VocabularyError
from dvse.grammar import Grammar
from dvse.special_tokens import BRACKETS, grid_token


def check_row(row: Mapping[str, Any], grammar: Grammar) -> list[str]:
    """Return what is wrong with a row, in sentences; empty means nothing.

    Args:
        row: of a token shard, lists as arrays or lists.
        grammar: of the bundle that made it.
    """
    ids = np.asarray(row["ids"], dtype=np.int64)
    problems = []
    try:
        if not _is_plain(row, ids, grammar):
            grammar.check(ids)
            if row["modality"] in BRACKETS:
                problems.append(f"the ids are no single {row['modality']} as the row says")
    except VocabularyError as error:
        problems.append(str(error))
    mask = row.get("loss_mask")
    if mask is not None and len(mask) != len(ids):
        problems.append(f"loss_mask has {len(mask)} values for {len(ids)} ids")
    durations = row.get("durations")
    if durations is not None:
        units = _num_units(ids, grammar)
        if len(durations) != units or min(durations, default=1) < 1:
            problems.append(f"durations do not fit {units} units")
    return problems


def _is_plain(row: Mapping[str, Any], ids: np.ndarray, grammar: Grammar) -> bool:
    """Whether the row is exactly one text, one picture of its grid, or one recording."""
    v = grammar.vocabulary
    modality = row["modality"]
    kinds = v.kinds(ids)
    if modality == "text":
        return bool((kinds == KINDS.index("text")).all())
    if modality not in BRACKETS or len(ids) < 3:
        return False
    begin, end = (v.special_tokens[name] for name in BRACKETS[modality])
    if ids[0] != begin or ids[-1] != end:
        return False
    body = ids[1:-1]
    levels = v.num_levels(modality)
    if modality == "image":
        grid = row["grid_h"], row["grid_w"]
        if grammar.fixed_grid is None:
            sides = [v.special_tokens.get(grid_token(side)) for side in grid]
            if body[:2].tolist() != sides:
                return False
            body = body[2:]
        elif grid != tuple(grammar.fixed_grid):
            return False
        if len(body) != grid[0] * grid[1] * levels:
            return False
    if levels < 1 or len(body) % levels or not (v.kinds(body) == KINDS.index(modality)).all():
        return False
    _, found = v.codes_of(modality, body)
    return bool((found == np.arange(len(found)) % levels).all())


def _num_units(ids: np.ndarray, grammar: Grammar) -> int:
    v = grammar.vocabulary
    try:
        codes, _ = v.codes_of("audio", ids[1:-1])
    except VocabularyError:
        return -1  # no single recording
    return len(codes) // max(v.num_levels("audio"), 1)
