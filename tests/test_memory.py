"""The memory budget: what training keeps per parameter, and the refusal."""

from __future__ import annotations

import pytest

from redheart.errors import UserError
from redheart.memory import BYTES_PER_PARAMETER, check_budget, explained


def test_a_model_that_fits_exactly_is_allowed():
    check_budget(400_000_000, 8.0)


def test_a_model_that_does_not_fit_is_refused_with_numbers_and_remedy():
    message = r"740 M parameters takes 14\.8 GB .* memory\.budget_gb is 8; .*model\.preset"
    with pytest.raises(UserError, match=message):
        check_budget(740_000_000, 8.0)


def test_a_parameter_costs_what_training_really_keeps(recipe, part):
    from redheart import training_state

    state = training_state.prepare(recipe, part, 1e-3, 0)
    for parameter in state.network.parameters():
        parameter.grad = parameter.detach().clone()
    state.optimizer.step()
    kept = [*state.network.parameters(), *state.average.values]
    kept += [parameter.grad for parameter in state.network.parameters()]
    kept += [s[name] for s in state.optimizer.state.values() for name in ("exp_avg", "exp_avg_sq")]
    count = sum(parameter.numel() for parameter in state.network.parameters())
    assert sum(tensor.nbytes for tensor in kept) == BYTES_PER_PARAMETER * count


def too_much_for_the_cpu():
    import torch

    torch.empty(10**15)


def too_much_for_numpy():
    import numpy as np

    np.empty(10**15)


def too_much_for_a_gpu():
    import torch

    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nMore lines.")


@pytest.mark.parametrize("work", [too_much_for_the_cpu, too_much_for_numpy, too_much_for_a_gpu])
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
