"""Judging a bundle: figures, one page to look at, and a gate with an exit code.

labelled data ─► codes of each split ─► measures ─► metrics.json, report.html ─► gate
"""
