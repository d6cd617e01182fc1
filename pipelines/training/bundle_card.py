"""What a bundle's card says besides what its author wrote: figures that its user has to know."""

from collections.abc import Mapping

from dvse.storage.bundle import Section

_TITLE = "## Long recordings"


def with_figures(card: str, sections: Mapping[str, Section]) -> str:
    """Return the card with a paragraph on long recordings, in place of an earlier one.

    Where the audio part says nothing of them there is none.
    """
    written = card.partition(f"\n{_TITLE}\n")[0].rstrip()
    audio = sections.get("audio")
    figures = {} if audio is None else audio.metrics.get("long_recordings", {})
    if not figures:
        return f"{written}\n" if _TITLE in card else card
    paragraph = (
        f"{_TITLE}\n\n"
        f"{100 * figures['window_share']:.1f} % of the units of a recording of "
        f"{figures['seconds_each']:g} s are other ones than if the encoder had seen it as a whole "
        f"({figures['units']:,} units of {figures['recordings']} recordings; {figures['how']}). "
        "Recordings of at most one window are encoded as a whole."
    )
    return f"{written}\n\n{paragraph}\n".lstrip()
