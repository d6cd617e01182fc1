"""Composing: new token shards out of finished ones, by templates, without encoding again.

    rows of token shards ─ template of a recipe ─► items and stored ids ─► composed rows ─► shards
    words with times, tables of questions ┘                                provenance, left out

A recipe is a TOML file of templates, see `recipe`; a new kind of template is one class.
"""
