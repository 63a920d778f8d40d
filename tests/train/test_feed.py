"""Batches that are drawn ahead are those that are asked for, whatever is asked for."""

import threading

import pytest
import torch

from codenas.corpus import Batches, Corpus
from codenas.corpus.shards import Ids
from codenas.errors import CorpusError
from codenas.train.feed import Feed
from tests.fakes import CONTEXT, tiny_corpus

DEVICES = ["cpu", "meta", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU"))]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return tiny_corpus(tmp_path_factory.mktemp("corpus"))


class Watched(Batches):
    """Remembers who drew which batch."""

    def __init__(self, corpus: Corpus) -> None:
        super().__init__(corpus.split("train"), CONTEXT, seed=1)
        self.drawn: list[tuple[int, str]] = []

    def at(self, cursor: int, count: int) -> tuple[Ids, Ids]:
        self.drawn.append((cursor, threading.current_thread().name))
        if cursor >= 90:
            raise CorpusError("damaged")
        return super().at(cursor, count)


@pytest.mark.parametrize("device", DEVICES)
def test_a_batch_is_that_of_its_cursor(device: str, corpus: Corpus) -> None:
    batches = Watched(corpus)
    with Feed(batches, 3, torch.device(device)) as feed:
        for cursor in (0, 3, 6, 30, 33, 0):  # a training that resumes jumps
            inputs, targets = feed.at(cursor)
            assert inputs.device.type == targets.device.type == device
            if device != "meta":
                expected = batches.at(cursor, 3)
                assert torch.equal(inputs.cpu(), torch.from_numpy(expected[0]))
                assert torch.equal(targets.cpu(), torch.from_numpy(expected[1]))


def test_for_a_gpu_batches_are_drawn_one_step_ahead_in_a_thread(corpus: Corpus) -> None:
    batches = Watched(corpus)
    with Feed(batches, 3, torch.device("meta")) as feed:
        for cursor in (0, 3, 6):
            feed.at(cursor)
    assert [cursor for cursor, _ in batches.drawn][:3] == [0, 3, 6]
    assert all(thread.startswith("batches") for _, thread in batches.drawn)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("batches")]


def test_on_a_cpu_there_is_no_thread(corpus: Corpus) -> None:
    batches = Watched(corpus)
    with Feed(batches, 3, torch.device("cpu")) as feed:
        feed.at(0)
    assert batches.drawn == [(0, threading.current_thread().name)]


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_a_damaged_corpus_is_said_where_its_batch_is_asked_for(device: str, corpus: Corpus) -> None:
    with Feed(Watched(corpus), 3, torch.device(device)) as feed:
        feed.at(87)  # the next one cannot be drawn, and nobody may ever want it
        with pytest.raises(CorpusError, match="damaged"):
            feed.at(90)
