"""Words that nobody trains on, spoken by espeak-ng, to be told apart whoever speaks.

50 English words in four voices of two accents. The error is that of same/different ABX over words
(`pipelines.evaluation.measures.abx`), A and B by one voice and X by another.
"""

from collections.abc import Sequence

from dvse.items import Audio
from pipelines.evaluation.inputs import Input
from pipelines.speech.espeak import Espeak
from pipelines.speech.word_lists import HELD_OUT_WORDS

NUM_WORDS = 50
VOICES = ("gmw/en-US", "gmw/en-US+f3", "gmw/en-GB-x-rp+m3", "gmw/en-GB-x-rp+f2")


def spoken_words(
    words: Sequence[str] = HELD_OUT_WORDS[:NUM_WORDS], voices: Sequence[str] = VOICES
) -> list[Input]:
    """Return a recording of each word in each voice.

    Raises:
        MissingExtraError: espeak-ng is not installed.
    """
    synthesiser = Espeak()
    found = []
    for voice in voices:
        for word in words:
            speech = synthesiser.speak(word, voice=voice)
            found.append(
                Input(
                    item=Audio(speech.samples, sample_rate_hz=speech.sample_rate_hz),
                    label=word,
                    speaker=voice,
                    name=f"{word} {voice}",
                )
            )
    return found
