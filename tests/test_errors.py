"""Messages of errors: the name that the user meant, and what to change where memory is short."""

from __future__ import annotations

import pytest

from redheart.errors import UserError, did_you_mean, explained, nearest


def too_much_for_the_cpu():
    import torch

    torch.empty(10**15)


def too_much_for_numpy():
    import numpy as np

    np.empty(10**15)


def too_much_for_a_gpu():
    import torch

    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nMore lines.")


def too_much_beside_the_allocator():
    raise RuntimeError("CUDA error: out of memory\nMore lines.")


def too_much_for_nccl():
    import torch

    raise torch.distributed.DistBackendError(
        "NCCL error in: /pytorch/ProcessGroupNCCL.cpp:3690, unhandled cuda error, NCCL version "
        "2.27.3\nncclUnhandledCudaError: Call to CUDA function failed.\nLast error:\n"
        "Cuda failure 2 'out of memory'"
    )


@pytest.mark.parametrize(
    "work",
    [
        *(too_much_for_the_cpu, too_much_for_numpy, too_much_for_a_gpu),
        *(too_much_beside_the_allocator, too_much_for_nccl),
    ],
)
def test_out_of_memory_is_told_in_one_line_with_remedies(work):
    with pytest.raises(UserError) as error, explained():
        work()
    assert str(error.value).startswith("out of memory (")
    assert str(error.value).endswith(
        "lower train.batch_size and raise train.grad_accumulation as much, lower train.max_tokens, "
        "or choose a smaller model.preset; what was saved before stands"
    )
    assert "\n" not in str(error.value)


def test_any_other_error_stays_what_it_is():
    with pytest.raises(RuntimeError, match="shapes differ"), explained():
        raise RuntimeError("shapes differ")


# --- unknown names ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "known", "hint"),
    [
        ("tinny", ["tiny", "small"], "; did you mean 'tiny'?"),
        ("epochs_between", ["epochs", "rate"], "; did you mean 'epochs'?"),
        ("qqq", ["tiny", "small"], "; valid: tiny, small"),
        # Neither number is similar to 7.
        (7, [1, 2], "; valid: 1, 2"),
        ("qqq", [], ""),
    ],
)
def test_an_unknown_name_gets_the_nearest_or_all(word, known, hint):
    assert did_you_mean(word, known) == hint


def test_where_all_are_listed_the_message_says_what_they_are():
    assert did_you_mean("qqq", {"train_leg": 1}, "steps") == "; steps: train_leg"


def test_a_name_is_near_from_half_of_its_characters_on():
    assert nearest("abcd", ["abxy"]) == "abxy"
    assert nearest("abcd", ["axyz"]) is None
