from pipelines.server.batching.fair_queue import FairQueue


def test_a_client_with_many_requests_does_not_hold_up_another():
    queue = FairQueue()
    for number in range(100):
        queue.push("greedy", number)
    queue.push("modest", "mine")
    assert queue.peek() == 0
    assert [queue.pop(), queue.pop(), queue.pop()] == [0, "mine", 1]


def test_removed_items_leave_the_rest_in_order():
    queue = FairQueue()
    for client, item in [("a", 1), ("b", 2), ("a", 3), ("b", 4)]:
        queue.push(client, item)
    queue.remove(lambda item: item in (1, 4))
    assert len(queue) == 2 and sorted(queue) == [2, 3]
    assert [queue.pop(), queue.pop()] == [3, 2]
    assert len(queue) == 0
