import pytest
import torch

from codenas.train.config import TrainConfig
from codenas.train.precision import bfloat16_pays


@pytest.mark.parametrize(
    ("capabilities", "pays"),
    [({"avx512_bf16": True}, True), ({"bf16": True}, True), ({"avx512_f": True, "amx_bf16": False}, False), ({}, False)],
)
def test_bfloat16_pays_where_the_processor_has_instructions_for_it(
    capabilities: dict[str, bool], pays: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert bfloat16_pays("cpu") is pays
    assert TrainConfig().on("cpu").precision == ("bfloat16" if pays else "float32")


def test_a_torch_that_does_not_tell_and_an_unknown_device_get_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    assert not bfloat16_pays("cpu")
    assert not bfloat16_pays("mps")


@pytest.mark.parametrize("chosen", ["float32", "bfloat16"])
def test_what_was_chosen_is_followed_anywhere(chosen: str) -> None:
    recipe = TrainConfig.model_validate({"precision": chosen})
    assert recipe.on("cpu") == recipe.on("mps") == recipe


@pytest.mark.parametrize("rate", [float("inf"), float("nan")])
def test_a_rate_that_is_not_finite_is_refused(rate: float) -> None:
    with pytest.raises(ValueError, match="finite number"):
        TrainConfig(matrix_rate=rate)


@pytest.mark.parametrize("shares", [{"fim_rate": 1.1}, {"fim_rate": -0.1}, {"fim_spm_share": 1.0}, {"fim_spm_share": -0.1}])
def test_shares_are_bounded_and_some_documents_are_moved_in_the_order_that_an_endpoint_asks_in(shares: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="should be"):
        TrainConfig.model_validate(shares)
