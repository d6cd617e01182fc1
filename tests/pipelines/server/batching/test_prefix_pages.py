from pipelines.server.batching.prefix_pages import PrefixPages


def test_only_an_equal_beginning_is_found():
    pages = PrefixPages(page_size=2, num_pages=8)
    assert pages.add([1, 2, 3, 4, 5]) == [(0, 0), (2, 2)]
    assert pages.find([1, 2, 3, 4, 9]) == [0, 2]
    assert pages.find([1, 2, 9, 4, 5]) == [0]
    assert pages.find([9, 2, 3, 4, 5]) == []


def test_the_last_token_is_always_computed():
    pages = PrefixPages(page_size=2, num_pages=8)
    pages.add([1, 2, 3, 4, 5])
    assert pages.find([1, 2, 3, 4]) == [0]
    assert pages.find([1, 2]) == []


def test_a_second_page_of_equal_ids_after_other_ids_is_another_page():
    pages = PrefixPages(page_size=2, num_pages=8)
    pages.add([7, 7, 7, 7, 0])
    assert pages.find([7, 7, 7, 7, 0]) == [0, 2]
    assert pages.find([8, 8, 7, 7, 0]) == []


def test_the_page_used_longest_ago_makes_way():
    pages = PrefixPages(page_size=1, num_pages=2, start=10)
    pages.add([1, 0])
    pages.add([2, 0])
    assert pages.find([1, 0]) == [10]
    assert pages.add([3, 0]) == [(0, 11)]
    assert pages.find([2, 0]) == [] and pages.find([1, 0]) == [10]


def test_a_prompt_longer_than_all_pages_keeps_its_beginning():
    pages = PrefixPages(page_size=1, num_pages=2)
    assert pages.add([1, 2, 3, 4]) == [(0, 0), (1, 1)]
    assert pages.find([1, 2, 3, 4]) == [0, 1]
