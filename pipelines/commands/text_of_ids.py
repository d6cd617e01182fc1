"""Text ids back into text with a bundle's text tokenizer alone, loaded when it is first asked."""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from dvse.errors import ConfigError


def text_of_ids(bundle: str, *, fingerprint: str | None = None) -> Callable[[Sequence[int]], str]:
    """Return a function from the ids of a text to the text.

    Args:
        bundle: name, directory or Hub id.
        fingerprint: of the vocabulary that the ids were made with.

    Raises (the function):
        ConfigError: the bundle has another vocabulary.
    """

    @cache
    def tokenizer() -> Any:
        from dvse.storage.bundle import Bundle
        from dvse.storage.finding import find_bundle
        from dvse.text.loading import load_text_tokenizer

        found = Bundle.open(find_bundle(bundle))
        if fingerprint not in (None, found.vocabulary.fingerprint):
            raise ConfigError(
                f"the texts were tokenised with another vocabulary than that of the bundle "
                f"{bundle!r}; what they say cannot be judged"
            )
        return load_text_tokenizer(found.sections["text"].spec, found.folder / "text")

    return lambda ids: tokenizer().decode(ids)
