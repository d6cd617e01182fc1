"""A bundle to the Hugging Face Hub."""

from collections.abc import Callable
from tempfile import TemporaryDirectory
from typing import Any


def upload_bundle(save: Callable[[str], Any], repo_id: str, **options: Any) -> str:
    """Upload what `save` writes to a folder, and return the commit's address.

    Args:
        save: writes the bundle.
        repo_id: `owner/name`; made if it is missing.
        **options: as for `Tokenizer.push_to_hub`.
    """
    from huggingface_hub import HfApi

    api = HfApi(token=options.pop("token", None))
    api.create_repo(repo_id, private=options.pop("private", None), exist_ok=True)
    # A file that an older bundle left behind would make the new one invalid.
    options.setdefault("delete_patterns", ["text/*", "image/*", "audio/*"])
    with TemporaryDirectory() as folder:
        save(folder)
        return str(api.upload_folder(repo_id=repo_id, folder_path=folder, **options))
