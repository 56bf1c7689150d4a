"""The device: chosen from options and machine, and part of a training key."""

from __future__ import annotations

import os
from importlib import metadata
from pathlib import Path

import pytest
import torch

from redheart.errors import UserError
from redheart.machine import device
from redheart.recipe.training_options import TrainOptions

AUTO = TrainOptions()


@pytest.fixture
def machine(monkeypatch):
    """Let the machine have a driver, a build of torch and visible devices."""

    def pretend(driver: bool, torch_version: str, visible: str | None = None):
        monkeypatch.setattr(Path, "exists", lambda path: driver and str(path) == "/dev/nvidiactl")
        monkeypatch.setattr(metadata, "version", {"torch": torch_version}.__getitem__)
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        if visible is not None:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)

    return pretend


@pytest.mark.parametrize(
    ("driver", "version", "visible", "expected"),
    [
        (True, "2.13.0", None, "cuda"),
        (True, "2.13.0", "1", "cuda"),
        (False, "2.13.0", None, "cpu"),
        (True, "2.13.0+cpu", None, "cpu"),
        (True, "2.13.0", "", "cpu"),
        (True, "2.13.0", "-1", "cpu"),
    ],
)
def test_auto_takes_a_gpu_that_is_there_and_can_be_used(
    machine, driver, version, visible, expected
):
    machine(driver, version, visible)
    assert device.device_type(AUTO) == expected


@pytest.mark.parametrize("asked", ["cpu", "cuda"])
def test_what_is_asked_for_counts_more_than_the_machine(machine, asked):
    for driver in (True, False):
        machine(driver, "2.13.0")
        assert device.device_type(TrainOptions(device=asked)) == asked


def test_auto_precision_suits_the_device():
    assert device.precision(TrainOptions(device="cpu")) == "fp32"
    assert device.precision(TrainOptions(device="cuda")) == "bf16"
    assert device.precision(TrainOptions(device="cpu", precision="bf16")) == "bf16"


def test_a_key_holds_what_changes_bits_and_no_more(machine):
    machine(False, "2.13.1")
    on_cpu = device.environment(TrainOptions(cpu_threads=2))
    assert on_cpu == {"device": "cpu", "torch": "2.13", "threads": 2}
    machine(False, "2.13.0+cpu")
    assert device.environment(TrainOptions(cpu_threads=2)) == on_cpu
    assert device.environment(TrainOptions(cpu_threads=1)) != on_cpu
    machine(True, "2.13.0")
    on_gpu = [device.environment(TrainOptions(cpu_threads=n)) for n in (1, 2)]
    assert on_gpu[0] == on_gpu[1] == {"device": "cuda", "torch": "2.13", "threads": None}


def test_opening_a_device_sets_the_threads_of_training():
    threads = torch.get_num_threads()
    assert device.open_device(TrainOptions(device="cpu", cpu_threads=1)) == torch.device("cpu")
    assert torch.get_num_threads() == 1
    torch.set_num_threads(threads)


def test_deterministic_algorithms_alone_where_that_is_asked_for(monkeypatch):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    device.open_device(TrainOptions(device="cpu", deterministic=True))
    assert torch.are_deterministic_algorithms_enabled()
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    device.open_device(TrainOptions(device="cpu"))
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_cannot_be_used_says_what_to_set():
    with pytest.raises(UserError, match=r"train\.device: cpu"):
        device.open_device(TrainOptions(device="cuda"))


@pytest.mark.parametrize(
    ("precision", "expected"), [("bf16", torch.bfloat16), ("fp32", torch.float32)]
)
def test_a_forward_pass_runs_at_the_precision_asked_for(precision, expected):
    layer = torch.nn.Linear(2, 2)
    with device.autocast(TrainOptions(device="cpu", precision=precision)):
        assert layer(torch.ones(1, 2)).dtype == expected
