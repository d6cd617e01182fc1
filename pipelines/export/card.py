"""The card of an exported data set: which bundle made it, and how much there is."""

from collections.abc import Sequence

from pipelines.export.format import PieceRecord
from pipelines.export.plan import Plan


def card(plan: Plan, records: Sequence[PieceRecord]) -> str:
    """Return the `README.md` of an export, in Markdown with the Hub's head."""
    metadata = plan.shards.metadata
    lines = [
        "---",
        "tags: [dvse, tokens]",
        "---",
        "",
        "# Token ids made by DVSE",
        "",
        f"Bundle `{metadata.bundle}`, fingerprint `{metadata.bundle_fingerprint}`. Vocabulary of "
        f"{metadata.vocabulary_size:,} ids, fingerprint `{metadata.vocabulary_fingerprint}`. "
        "Ids mean what they say with this vocabulary only.",
        "",
        "| split | documents | ids |",
        "|---|---|---|",
    ]
    for split in plan.splits:
        mine = [record for record in records if record.split == split]
        documents = sum(record.num_sequences for record in mine)
        lines.append(f"| {split} | {documents:,} | {sum(r.num_ids for r in mine):,} |")
    if plan.num_empty:
        lines += ["", f"{plan.num_empty:,} inputs without an id were left out."]
    if plan.settings.end_id is not None:
        lines += ["", f"Behind each document stands the id {plan.settings.end_id}."]
    return "\n".join([*lines, ""])
