"""Work that is divided between the cores."""

import threading
import time
from contextvars import ContextVar

import numpy as np
import pytest
import torch

from uncollapse import kernels
from uncollapse.cores import a_core_each
from uncollapse.evaluation import bounds
from uncollapse.evaluation.bounds import log_weights

CPU = torch.device("cpu")


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
def test_two_at_a_time_each_with_one_core_and_what_is_over_with_both():
    together = threading.Barrier(2, timeout=30)

    def work(item):
        if item < 4:
            together.wait()  # never passed by one alone
        return item, threading.get_ident(), torch.get_num_threads()

    items, threads, cores = zip(*a_core_each(work, range(5), CPU), strict=True)
    assert items == (0, 1, 2, 3, 4)
    assert len(set(threads[:4])) == 2 and threads[4] == threading.get_ident()
    assert cores == (1, 1, 1, 1, 2) and torch.get_num_threads() == 2
    seen = []
    later = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
    later.start(), later.join()
    assert seen == [2]


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("why", ["switched off", "on a GPU", "nothing to do"])
def test_else_in_this_thread(why):
    items = [] if why == "nothing to do" else [1, 2]
    with kernels.off(*(["cores"] if why == "switched off" else [])):
        device = torch.device("cuda" if why == "on a GPU" else "cpu")
        found = list(a_core_each(lambda item: (item, threading.get_ident()), items, device))
    assert found == [(item, threading.get_ident()) for item in items]


@pytest.mark.usefixtures("two_threads")
def test_an_error_ends_the_work_and_is_raised():
    done = []

    def work(item):
        if not item:
            raise ValueError("no")
        done.append(item)
        time.sleep(0.02)  # twenty seconds for all of them

    with pytest.raises(ValueError, match="no"):
        list(a_core_each(work, range(1000), CPU))
    assert len(done) < 999 and torch.get_num_threads() == 2


@pytest.mark.usefixtures("two_threads")
def test_the_work_sees_the_context_it_was_given_in():
    setting = ContextVar("setting", default=0)
    setting.set(7)
    assert list(a_core_each(lambda item: setting.get() + item, range(4), CPU)) == [7, 8, 9, 10]


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_log_weights_are_those_of_one_sentence_after_the_other(vae, corpus, precision, monkeypatch):
    monkeypatch.setattr(bounds, "TOKENS_AT_A_TIME", 50)  # many groups
    found, told = [], []
    for off in ((), ("cores",)):
        with kernels.off(*off):
            ticks = []
            found.append(log_weights(vae, corpus, np.arange(7), 11, tick=ticks.append, precision=precision))
            told.append(ticks)
    torch.testing.assert_close(*found)
    assert told[0] == told[1] and sum(told[0]) == 7
