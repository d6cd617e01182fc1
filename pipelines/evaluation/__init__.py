"""Judging a bundle: figures, one page to look at, and thresholds with an exit code.

labelled data ─► codes of each split ─► measures ─► metrics.json, report.html ─► verdicts
"""
