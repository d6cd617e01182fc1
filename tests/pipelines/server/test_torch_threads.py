"""Numbers of threads stay with the thread that set them, whatever others set afterwards."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from pipelines.server import torch_threads
from pipelines.server.torch_threads import compute_alone, compute_with_all_cores, run_in_passing


@pytest.fixture(autouse=True)
def _keep_number():
    number = torch.get_num_threads()
    yield
    torch.set_num_threads(number)


def test_a_thread_keeps_its_cores_when_another_computes_alone(monkeypatch):
    monkeypatch.setattr(torch_threads, "_NUM_THREADS", 3)
    with ThreadPoolExecutor(1) as first, ThreadPoolExecutor(1) as second:
        first.submit(compute_with_all_cores).result()
        second.submit(compute_alone).result()
        first.submit(torch.ones(1_000_000).exp).result()  # its first operator

        assert first.submit(torch.get_num_threads).result() == 3
        assert second.submit(torch.get_num_threads).result() == 1


def test_what_runs_in_passing_runs_in_a_thread_that_has_ended():
    thread = run_in_passing(threading.current_thread)

    assert thread is not threading.current_thread()
    assert not thread.is_alive()


def test_an_error_in_passing_reaches_the_caller():
    with pytest.raises(ZeroDivisionError):
        run_in_passing(lambda: 1 // 0)
