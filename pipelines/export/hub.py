"""Uploading a finished export in format `datasets` to the Hugging Face Hub, with its card."""

from pathlib import Path

from dvse.errors import StorageError


def push(folder: Path, repository: str) -> str:
    """Upload the data set, then its card, and return where it lies.

    Raises:
        StorageError: the Hub did not take it; what was uploaded stays there.
    """
    from datasets import DatasetDict, disable_progress_bars, load_from_disk
    from huggingface_hub import DatasetCard
    from huggingface_hub.constants import ENDPOINT

    disable_progress_bars()
    try:
        loaded = load_from_disk(str(folder))
        assert isinstance(loaded, DatasetDict)
        loaded.push_to_hub(repository)
        # push_to_hub has written a head that says where the files are; tags and text are ours.
        card, ours = DatasetCard.load(repository), DatasetCard.load(folder / "README.md")
        for key, value in ours.data.to_dict().items():
            card.data[key] = value
        card.text = ours.text
        card.push_to_hub(repository)
    except Exception as error:  # the Hub client raises many kinds, all meaning: not taken
        raise StorageError(
            f"--push-to {repository}: the Hugging Face Hub did not take it "
            f"({type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}); log in "
            "with: hf auth login, then run the same command again"
        ) from error
    return f"{ENDPOINT}/datasets/{repository}"
