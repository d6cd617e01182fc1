from hypothesis import given
from hypothesis import strategies as st

from pipelines.server.answers.stop_strings import StopStrings


def run(stops, pieces):
    search, given_out = StopStrings(stops), ""
    for piece in pieces:
        given_out += search.push(piece)
        if search.has_ended:
            return given_out
    return given_out + search.finish()


def test_the_first_of_several_ends_it():
    assert run(["two", "one"], ["zero one ", "two"]) == "zero "


def test_nothing_that_could_be_a_beginning_leaves_early():
    search = StopStrings(["\n\nUser:"])
    assert search.push("Hi\n") == "Hi"
    assert search.push("\nUs") == ""
    assert search.push("ual") == "\n\nUsual"


@given(
    st.text("ab", max_size=30),
    st.lists(st.text("ab", min_size=1, max_size=4), max_size=3),
    st.integers(1, 4),
)
def test_pieces_do_not_matter(text, stops, size):
    pieces = [text[i : i + size] for i in range(0, len(text), size)]
    found = [at for stop in stops if (at := text.find(stop)) >= 0]
    # Whichever stop string is complete first ends the text, as it would letter by letter.
    letters = run(stops, list(text))
    assert run(stops, pieces).startswith(letters) or letters.startswith(run(stops, pieces))
    assert found or run(stops, pieces) == text
    if found:
        assert not any(stop in run(stops, pieces) for stop in stops)
