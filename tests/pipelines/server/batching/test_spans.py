from hypothesis import given
from hypothesis import strategies as st

from pipelines.server.batching.spans import Spans


def test_neighbours_are_joined():
    spans = Spans(9, start=3)
    a, b, c = spans.take(3), spans.take(3), spans.take(3)
    assert (a, b, c) == (3, 6, 9)
    spans.give_back(a, 3)
    spans.give_back(c, 3)
    assert spans.take(6) is None
    spans.give_back(b, 3)
    assert spans.take(9) == 3 and spans.num_free == 0


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 9)), max_size=60))
def test_spans_never_overlap_and_all_come_back(actions):
    spans, taken = Spans(30), []
    for is_take, number in actions:
        if is_take:
            start = spans.take(number)
            if start is not None:
                taken.append((start, number))
        elif taken:
            spans.give_back(*taken.pop(number % len(taken)))
        places = [p for start, length in taken for p in range(start, start + length)]
        assert len(places) == len(set(places)) == 30 - spans.num_free
        assert all(0 <= p < 30 for p in places)
    for span in taken:
        spans.give_back(*span)
    assert spans.take(30) == 0
