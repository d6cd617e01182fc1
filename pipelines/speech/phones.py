"""The phone inventory that the tiny speech encoder is taught: IPA symbols, accents merged.

The same word in two accents should get the same units, so vowels that differ by accent only share
a class, and an r-coloured vowel belongs to its vowel.
"""

from pipelines.speech.espeak import SILENCE

_MERGED = {
    "əʊ": "oʊ",
    "o": "oʊ",
    "ʌʊ": "oʊ",
    "ʌʉ": "oʊ",
    "ɒ": "ɔ",
    "oɹ": "ɔ",
    "oə": "ɔ",
    "ɔɹ": "ɔ",
    "ɔə": "ɔ",
    "a": "æ",
    "aa": "ɑ",
    "ɑə": "ɑ",
    "ɑɹ": "ɑ",
    "ɑː": "ɑ",
    "e": "eɪ",
    "əɪ": "aɪ",
    "aɪə": "aɪ",
    "aɪɚ": "aɪ",
    "eə": "ɛ",
    "ɛə": "ɛ",
    "ɛɹ": "ɛ",
    "iə": "i",
    "ɪɹ": "i",
    "ɚ": "ɜ",
    "əɹ": "ɜ",
    "ʌɹ": "ɜ",
    "ɐ": "ə",
    "ᵻ": "ɪ",
    "ʉ": "u",
    "ʉɹ": "u",
    "ʊə": "u",
    "ʊɹ": "u",
    "əl": "l",
    "r": "ɹ",
    "ɾ": "t",
    "t̪": "θ",
    "ʍ": "w",
}

_VOWELS = "æ ɑ ɔ ə ɛ ɜ ɪ i ʊ u ʌ aɪ aʊ eɪ oʊ ɔɪ"
_CONSONANTS = "p b t d k ɡ tʃ dʒ f v θ ð s z ʃ ʒ h m n ŋ l ɹ w j"
PHONES = (SILENCE, *_VOWELS.split(), *_CONSONANTS.split())
"""Classes in order of their index; 0 is silence."""

DIGIT_PHONES = tuple(
    tuple(spoken.split())
    for spoken in (
        "z i ɹ oʊ",
        "w ʌ n",
        "t u",
        "θ ɹ i",
        "f ɔ",
        "f aɪ v",
        "s ɪ k s",
        "s ɛ v ə n",
        "eɪ t",
        "n aɪ n",
    )
)
"""How each digit is pronounced, by its value."""

_INDEX = {phone: index for index, phone in enumerate(PHONES)}


def phone_index(label: str) -> int:
    """Return the class of an espeak-ng phone; unknown symbols count as silence.

    >>> PHONES[phone_index("əʊ")]
    'oʊ'
    """
    return _INDEX.get(_MERGED.get(label, label), 0)
