"""Filters: what is refused becomes a line or row with its filter, reason and score.

    media ─ Gate, in decode workers ─► refused | rows ─ RowJudge, in input order ─► kept | refused

A filter is a class, and a table of a TOML file sets it; a new one is listed in `filters.FILTERS`.
Those on sound and pictures judge before anything is encoded, the others judge rows. Duplicates are
judged in input order, so the result depends on nothing but the inputs and the file.
"""
