"""Jobs on top of `dvse` and `model`: tokenise, train, assemble, evaluate, and the `dvse` command.

Nothing imports this package. *What* a job does stands apart from *where* it runs.
"""
