"""A process that trains by itself: nothing is divided, nobody is waited for, no torch is loaded."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from redheart.machine.ranks import Ranks, SingleProcess


@pytest.fixture
def ranks():
    return SingleProcess()


def test_it_is_the_first_of_one(ranks):
    assert isinstance(ranks, Ranks)
    assert (ranks.rank, ranks.count, ranks.shards) == (0, 1, False)


def test_an_interface_cannot_be_left_half_done():
    class Half(Ranks):
        def wait(self):
            pass

    with pytest.raises(TypeError, match=r"abstract methods .*device_of.*sum"):
        Half()


def test_it_reads_all_texts_of_a_window_and_keeps_its_weights_whole(ranks):
    window = [np.arange(3), np.arange(3, 5)]
    assert ranks.share(window) is window
    network = nn.Linear(2, 3)
    before = {name: weight.clone() for name, weight in network.named_parameters()}
    ranks.shard(network)
    assert all(torch.equal(weight, before[name]) for name, weight in network.named_parameters())
    assert ranks.device_of(network) == torch.device("cpu")
    assert ranks.device_of(network.to("meta")) == torch.device("meta")


def test_what_is_added_up_or_gathered_is_its_own(ranks):
    value = torch.tensor([1.5, -2.0])
    assert ranks.sum(value) is value
    assert ranks.norms(value) is value
    assert ranks.largest(-3) == -3
    assert ranks.everyones({"loss": 1.0}) == [{"loss": 1.0}]
    state = {"weights": [value], "step": 3}
    assert ranks.gathered(state) is state
    assert ranks.wait() is None


def test_what_is_read_in_turn_is_read_once(ranks):
    calls = []
    assert ranks.in_turn(lambda: calls.append(1) or "read") == "read"
    assert calls == [1]
    with pytest.raises(ValueError, match="gone"):
        ranks.in_turn(lambda: (_ for _ in ()).throw(ValueError("gone")))


def test_naming_the_processes_loads_no_torch():
    program = "import sys, redheart.machine.ranks; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr
