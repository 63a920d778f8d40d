"""The loss in pieces, against torch's own over everything at once."""

import math

import pytest
import torch
import torch.nn.functional as F

from codenas.train import losses
from codenas.train.losses import cross_entropy


def test_cross_entropy_is_the_mean_of_nats() -> None:
    scores = torch.tensor([[[0.0, 0.0], [math.log(3.0), 0.0]]], dtype=torch.bfloat16)
    loss = cross_entropy(scores, torch.tensor([[0, 1]]))
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx((math.log(2) + math.log(4)) / 2, rel=1e-2)


def test_a_smoothed_target_is_spread_over_the_whole_vocabulary() -> None:
    scores, targets = torch.randn(2, 3, 7, generator=torch.Generator().manual_seed(0)), torch.tensor([[0, 1, 2], [3, 4, 6]])
    logprobs = scores.log_softmax(-1)
    plain, even = -logprobs.gather(-1, targets[..., None]).mean(), -logprobs.mean()
    torch.testing.assert_close(cross_entropy(scores, targets, 0.1), 0.9 * plain + 0.1 * even)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("rows", [1, 5, 64])  # one at a time, with a rest, all at once
def test_pieces_give_the_loss_and_the_gradient_of_the_whole(smoothing: float, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses, "_LOGITS_AT_ONCE", rows * 11)
    draw = torch.Generator().manual_seed(0)
    scores = (3 * torch.randn(4, 8, 11, generator=draw)).requires_grad_()
    targets = torch.randint(0, 11, (4, 8), generator=draw)
    expected = F.cross_entropy(scores.flatten(0, 1), targets.flatten(), label_smoothing=smoothing)
    found = cross_entropy(scores, targets, smoothing)
    torch.testing.assert_close(found, expected)
    # A loss that is part of another one comes back with a factor.
    mine, theirs = (torch.autograd.grad(0.3 * loss, scores)[0] for loss in (found, expected))
    torch.testing.assert_close(mine, theirs)


def test_a_part_of_a_batch_gets_exactly_its_part() -> None:
    scores = torch.randn(4, 8, 11, generator=torch.Generator().manual_seed(0)).bfloat16().requires_grad_()
    loss = cross_entropy(scores, torch.zeros(4, 8, dtype=torch.long))
    (whole,) = torch.autograd.grad(loss, scores, retain_graph=True)
    (part,) = torch.autograd.grad(loss * (5 / 12), scores)
    torch.testing.assert_close(part.sum(-1, dtype=torch.float64).abs().max(), torch.zeros((), dtype=torch.float64), rtol=0, atol=1e-3)
    assert (part.double() / whole.double()).median().item() == pytest.approx(5 / 12, rel=2e-4)


def test_a_target_held_for_impossible_costs_what_it_costs() -> None:
    """Its probability is zero in float32; the loss is not infinite."""
    scores = torch.tensor([[[300.0, 0.0]]], requires_grad=True)
    loss = cross_entropy(scores, torch.tensor([[1]]))
    loss.backward()
    assert loss.item() == 300.0
    torch.testing.assert_close(scores.grad, torch.tensor([[[1.0, -1.0]]]))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_scores_that_are_no_numbers_give_a_loss_that_is_none(bad: float) -> None:
    assert not math.isfinite(cross_entropy(torch.tensor([[[bad, 0.0]]]), torch.tensor([[0]])).item())
