"""Exports: token shards as the files that trainers read, a file a format.

    shards ─ plan ─► pieces ─ format.write ─► files ─ journal ─► manifest
            lengths          a piece a worker        provenance in the same transaction

What a format's files look like is known in its own module alone; a new format is one class in
`formats.FORMATS`.
"""
