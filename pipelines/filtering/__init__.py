"""Filtering finished token shards: what is refused becomes a row with its filter, reason and score.

    shards ─ rows in input order ─► filters of a TOML file, one after another ─► kept | refused

A filter is a class that judges a row; a new one is listed in `filters.FILTERS`. Duplicates are
judged in input order, so the result depends on nothing but the shards and the file.
"""
