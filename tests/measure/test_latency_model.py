"""The fitted latency model, on devices with known coefficients: it recovers them, states its error, and is never negative."""

import math
import random
from pathlib import Path

import numpy as np
import pytest

from codenas.arch import ArchSpec, Design, preset
from codenas.arch.cost import state_bytes, tensors
from codenas.arch.mixers.linear_attention import LinearAttentionSpec
from codenas.arch.mixers.mamba2 import MambaSpec
from codenas.arch.spec import FeedForwardSpec
from codenas.arch.storage import Storage
from codenas.compress.stored import StoredModel
from codenas.errors import ConfigError
from codenas.measure import calibration
from codenas.measure.calibration import measure_points
from codenas.measure.latency import Latency
from codenas.measure.latency_model import MIN_POINTS, Calibration, Point, features
from codenas.measure.served import device_name
from codenas.measure.timed_tokens import WARMUP_TOKENS, lengths_that_fit
from codenas.metrics import LatencyContext
from tests.fakes import tiny_arch

VOCAB_SIZE = 300  # so small that some models fit the smallest cache
COEFFICIENTS = {"tokens": 0.2, "layers of attention": 0.1, "layers of mamba2": 0.3, "megabytes": 0.05, "megabytes beyond 8": 0.1}
BOX = LatencyContext(device="box", threads=1)


def drawn(count: int, seed: int = 0, space: str = "small") -> list[ArchSpec]:
    rng = random.Random(seed)
    return [preset(space).sample(rng).arch for _ in range(count)]


def points(archs: list[ArchSpec], noise: float = 0.0, seed: int = 0) -> list[Point]:
    """Measurements of a device with `COEFFICIENTS`, with a relative error of `noise`."""
    rng = random.Random(seed)
    made = []
    for arch in archs:
        exact = sum(COEFFICIENTS.get(name, 0.01) * amount for name, amount in features(arch, VOCAB_SIZE).items())
        made.append(Point(arch=arch, vocab_size=VOCAB_SIZE, p50_ms=exact * rng.gauss(1, noise), p50_uncertainty_ms=0.01 * exact))
    return made


def test_coefficients_are_recovered_from_exact_measurements() -> None:
    fitted = Calibration.fit("a", 1, points(drawn(60)))
    assert fitted.median_error()[0] < 1e-9
    for arch in drawn(20, seed=1):
        assert fitted.predicted_latency(Design(arch=arch), VOCAB_SIZE).p50_ms == pytest.approx(points([arch])[0].p50_ms)
    assert {name: fitted.coefficients[name] for name in COEFFICIENTS} == pytest.approx(COEFFICIENTS)


def test_a_noisy_device_is_predicted_about_as_well_as_it_was_measured() -> None:
    fitted = Calibration.fit("a", 1, points(drawn(60), noise=0.05))
    error, low, high = fitted.median_error()
    assert 0.02 < error < 0.1 and low <= error <= high < 0.1
    truth = [points([arch])[0].p50_ms for arch in drawn(200, seed=1)]
    guesses = [fitted.predicted_latency(Design(arch=arch), VOCAB_SIZE) for arch in drawn(200, seed=1)]
    assert all(guess.low_ms < guess.p50_ms < guess.high_ms for guess in guesses)
    inside = sum(guess.low_ms <= true <= guess.high_ms for guess, true in zip(guesses, truth, strict=True))
    assert inside >= 180, "nine of ten must lie in the interval"


def test_no_coefficient_is_negative_and_equal_points_give_equal_ones() -> None:
    noisy = points(drawn(20), noise=0.5)
    fitted = Calibration.fit("a", 1, noisy)
    assert all(value >= 0 for value in fitted.coefficients.values())
    assert fitted == Calibration.fit("a", 1, noisy)
    assert fitted.median_error() == fitted.median_error()


def test_two_devices_are_compared_by_their_own_calibrations(tmp_path: Path) -> None:
    fast = points(drawn(40))
    slow = [point.model_copy(update={"p50_ms": 3 * point.p50_ms}) for point in fast]
    Calibration.fit("fast", 1, fast).save(tmp_path / "fast.json")
    Calibration.fit("slow", 1, slow).save(tmp_path / "slow.json")
    here, there = (Calibration.load(tmp_path / f"{name}.json") for name in ("fast", "slow"))
    assert here == Calibration.fit("fast", 1, fast)
    for arch in drawn(5, seed=2):
        found = [each.predicted_latency(Design(arch=arch), VOCAB_SIZE).p50_ms for each in (here, there)]
        assert found[1] == pytest.approx(3 * found[0])


def test_a_mixer_that_was_never_measured_is_not_predicted() -> None:
    fitted = Calibration.fit("laptop", 1, points(drawn(20, space="tiny")))
    with pytest.raises(ConfigError, match="the calibration of 'laptop' has measured no layers of mamba2; calibrate over a space"):
        fitted.predicted_latency(Design(arch=tiny_arch(MambaSpec(head_width=16))), VOCAB_SIZE)


def test_a_storage_that_was_never_measured_is_not_predicted_where_it_is_what_a_token_reads() -> None:
    archs = drawn(20, space="tiny")
    float32, stored = (
        Calibration.fit("laptop", 1, [Point(arch=arch, storage=storage, vocab_size=99, p50_ms=1, p50_uncertainty_ms=0) for arch in archs])
        for storage in (None, "int8")
    )
    assert stored.missing_storages(["int8", "int4"]) == ["int4"] and not float32.missing_storages(["int8", "int4"])
    assert stored.predicted_latency(Design(arch=archs[0], storage="int8"), 99).p50_ms == pytest.approx(1)
    with pytest.raises(ConfigError, match="has measured no megabytes of int4; calibrate over a space"):
        stored.predicted_latency(Design(arch=archs[0], storage="int4"), 99)
    assert float32.predicted_latency(Design(arch=archs[0], storage="int4"), 99).p50_ms == pytest.approx(1)


def test_those_alone_of_their_kind_widen_the_interval_and_break_nothing() -> None:
    many = [tiny_arch(n_layers=layers) for layers in range(1, 9)]
    plain = {"norm": "layernorm", "feedforward": FeedForwardSpec(activation="gelu")}
    alone = [tiny_arch(mixer, **plain) for mixer in (MambaSpec(head_width=16), LinearAttentionSpec(n_heads=2))]
    measured = [Point(arch=arch, vocab_size=50, p50_ms=arch.n_layers, p50_uncertainty_ms=0.0) for arch in (*many, *alone)]
    fitted = Calibration.fit("a", 1, measured)
    assert fitted.leave_one_out_ratios[-2:] == (0, 0), "a feature of one point alone has no coefficient without it"
    guess = fitted.predicted_latency(Design(arch=alone[0]), 50)
    assert 0 < guess.low_ms <= guess.p50_ms <= guess.high_ms < math.inf


def test_too_few_points_are_refused() -> None:
    with pytest.raises(ConfigError, match=f"7 architectures are too few to fit a device; measure at least {MIN_POINTS}"):
        Calibration.fit("a", 1, points(drawn(7)))


def test_a_file_that_is_no_calibration_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no calibration .*absent.json; make one with `codenas device calibrate --output"):
        Calibration.load(tmp_path / "absent.json")
    with pytest.raises(ConfigError, match=f"the calibration {tmp_path} cannot be read: Is a directory; name a file of `codenas device"):
        Calibration.load(tmp_path)
    (tmp_path / "other.json").write_text('{"device": "a"}')
    with pytest.raises(ConfigError, match="other.json is no calibration: Field required"):
        Calibration.load(tmp_path / "other.json")


@pytest.mark.parametrize("seed", range(5))
def test_the_fit_meets_the_conditions_of_an_optimum(seed: int) -> None:
    """Karush, Kuhn and Tucker: the slope is zero for positive coefficients, and not negative for those that are zero."""
    measured = points(drawn(30, seed), noise=0.3, seed=seed)
    fitted = Calibration.fit("a", 1, measured).coefficients
    rows = [features(point.arch, point.vocab_size) for point in measured]
    relative = np.array([[row.get(name, 0.0) / point.p50_ms for name in fitted] for row, point in zip(rows, measured, strict=True)])
    x, norms = np.array(list(fitted.values())), np.linalg.norm(relative, axis=0)
    slope = (relative / norms).T @ (relative @ x - 1)
    assert (x >= 0).all() and (slope >= -1e-6).all() and abs(slope[x > 0]).max() < 1e-6


def test_a_calibration_of_an_earlier_version_keeps_its_coefficients() -> None:
    fitted = Calibration.fit("a", 1, points(drawn(60)))
    stored = fitted.model_dump_json()
    former = stored.replace('"rotary embeddings"', '"turned queries"').replace('"ALiBi biases"', '"sloped scores"')
    former = former.replace('"coefficients"', '"prices"').replace('"leave_one_out_ratios"', '"left_out"')
    assert "leave_one_out" not in former and Calibration.model_validate_json(former) == fitted


def test_features_count_layers_and_what_a_token_reads() -> None:
    arch = tiny_arch(n_layers=3, pattern=(LinearAttentionSpec(n_heads=2), tiny_arch().pattern[0]), norm="groupnorm")
    found = features(arch, 100)
    assert (found["layers of linear_attention"], found["layers of attention"], found["groupnorms"], found["tokens"]) == (2, 1, 3, 1)
    assert "ALiBi biases" not in found and found["rotary embeddings"] == 1


def test_a_token_reads_every_matrix_the_head_and_the_state_once() -> None:
    """At the middle of what is timed; a short context leaves a prompt of one token."""
    arch = tiny_arch(context_len=24, n_layers=1)
    matrices = sum(math.prod(shape) for shape in tensors(arch, 100).values() if len(shape) == 2)
    prompt, tokens = lengths_that_fit(24, 32, 64)
    keys_and_values = state_bytes(arch, prompt + WARMUP_TOKENS + tokens // 2)
    assert (prompt, tokens) == (1, 15)
    assert features(arch, 100)["megabytes"] == pytest.approx((4 * matrices + keys_and_values) / 1e6)


@pytest.mark.parametrize(("storage", "bits"), [("float16", 16), ("int8", 8), ("int4", 4)])
def test_a_backend_that_reads_what_is_stored_reads_fewer_bytes(storage: Storage, bits: int) -> None:
    arch = tiny_arch(d_model=64)
    matrices = sum(math.prod(shape) for shape in tensors(arch, 100).values() if len(shape) == 2)
    found = features(arch, 100, storage)
    assert found[f"megabytes of {storage}"] == pytest.approx(matrices * bits / 8e6)
    assert "megabytes" not in found and found["megabytes of state"] > 0


@pytest.mark.parametrize(("d_model", "beyond"), [(64, []), (320, [2]), (768, [2, 8]), (2048, [2, 8, 32])])
def test_megabytes_beyond_a_cache_are_features_of_their_own(d_model: int, beyond: list[int]) -> None:
    found = features(tiny_arch(n_layers=1, d_model=d_model), 1_000)
    assert [name for name in found if "beyond" in name] == [f"megabytes beyond {cache}" for cache in beyond]
    assert all(found[f"megabytes beyond {cache}"] == pytest.approx(found["megabytes"] - cache) for cache in beyond)


def test_the_fastest_sweep_counts_and_the_second_gives_the_uncertainty(monkeypatch: pytest.MonkeyPatch) -> None:
    times, measured = iter([5.0, 7.0, 3.0, 9.0, 4.0, 6.5]), list[None]()
    monkeypatch.setattr(calibration, "decoding_latency", lambda model, *_: Latency(next(times), 0.0, 1, BOX, 0.0))
    first, second = Design(arch=tiny_arch()), Design(arch=tiny_arch(n_layers=1))
    found = measure_points([first, second], 50, 3, on_measured=lambda: measured.append(None))
    assert [(point.arch, point.p50_ms, point.p50_uncertainty_ms) for point in found] == [(first.arch, 3.0, 1.0), (second.arch, 6.5, 0.5)]
    assert len(measured) == 6


def test_untrained_models_are_measured_in_the_order_of_sweeps(monkeypatch: pytest.MonkeyPatch) -> None:
    layers: list[int] = []

    def timed(model: StoredModel, *_: object) -> Latency:
        layers.append(model.arch.n_layers)
        return Latency(1.0, 1.0, 1, BOX)

    monkeypatch.setattr(calibration, "decoding_latency", timed)
    measure_points([Design(arch=tiny_arch(n_layers=layer)) for layer in (1, 2)], 50, 2)
    assert layers == [1, 2, 1, 2]


def test_one_sweep_is_refused() -> None:
    with pytest.raises(ValueError, match="1 sweep gives no uncertainty"):
        measure_points([Design(arch=tiny_arch())], 50, 1)


def test_the_processor_has_a_name() -> None:
    assert device_name()
