"""What holds for every test."""

import pytest
import torch


@pytest.fixture(autouse=True)
def _same_draws() -> None:
    """Random weights are the same in every run and in any order of the tests: one that fails fails again."""
    torch.manual_seed(0)
