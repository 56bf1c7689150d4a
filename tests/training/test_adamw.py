"""AdamW: torch's own is the oracle, bit for bit; a process that trains need not load its compiler."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from optimizer_problem import problem, train

from redheart.training.adamw import AdamW


def test_the_steps_are_torch_s_bit_for_bit():
    ours, groups, gradients = problem()
    train(AdamW(groups, 0.05), ours, gradients)
    theirs, groups, gradients = problem()
    train(torch.optim.AdamW(groups, weight_decay=0.05, fused=True), theirs, gradients)
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_a_saved_state_goes_on_bit_for_bit():
    uninterrupted, groups, gradients = problem()
    train(AdamW(groups), uninterrupted, gradients)
    ours, groups, gradients = problem()
    first = AdamW(groups)
    train(first, ours, gradients[:6])  # the pattern of missing gradients has a period of 3
    second = AdamW(groups)
    second.load_state_dict(first.state_dict())
    train(second, ours, gradients[6:])
    assert all(torch.equal(a, b) for a, b in zip(ours, uninterrupted, strict=True))
    assert set(second.state_dict()["state"]) == {0, 1, 2}


def test_entries_of_a_group_that_it_does_not_know_stay():
    _, groups, _ = problem()
    optimizer = AdamW(groups, 0.05)
    assert optimizer.param_groups[0]["name"] == "swept"
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.05, 0.3]


@pytest.mark.slow
def test_training_does_not_import_the_compiler():
    code = (
        "import sys; sys.path.insert(0, 'tests')\n"
        "from redheart.training import epochs, optimizer\n"
        "from redheart.evaluation import inference\n"
        "from redheart.training.adamw import AdamW\n"
        "import torch\n"
        "w = torch.nn.Parameter(torch.ones(3)); o = AdamW([{'params': [w], 'lr': .1}])\n"
        "(w * w).sum().backward(); torch.nn.utils.clip_grad_norm_([w], 1.0); o.step()\n"
        "scaler = torch.amp.GradScaler('cpu', enabled=False); scaler.step(o); o.zero_grad()\n"
        "print('torch._dynamo' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
