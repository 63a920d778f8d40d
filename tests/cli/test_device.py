"""`codenas device`: calibrate on models that are quick to time, predict from what was stored."""

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from codenas.arch import Design, SearchSpace
from codenas.arch.cost import parameters
from codenas.cli.app import app
from codenas.measure import calibration
from codenas.measure.latency import Latency
from codenas.measure.latency_model import Calibration, Point
from codenas.metrics import LatencyContext
from codenas.report.device import calibration_figures, calibration_warnings
from tests.fakes import null_device, tiny_arch

BOX = LatencyContext(device="box", threads=1)


def codenas(*arguments: str | Path | int) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def space(tmp_path: Path) -> Path:
    choices = {"d_model": (16, 32), "n_layers": (1, 2, 3), "norm": ("layernorm", "rmsnorm")}
    (tmp_path / "space.json").write_text(SearchSpace(base=tiny_arch(), choices=choices).model_dump_json())
    return tmp_path / "space.json"


def test_a_device_is_calibrated_and_predicts_on_its_own(space: Path, tmp_path: Path) -> None:
    stored = tmp_path / "here.json"
    done = codenas(
        "device", "calibrate", "--space", space, "--count", 10, "--sweeps", 2, "--output", stored, "--vocab-size", 64, "--name", "box"
    )
    assert done.exit_code == 0, done.output
    assert "10 architectures" in done.stdout and "leave-one-out error" in done.stdout and "box, 1 thread\n" in done.stdout
    assert len(Calibration.load(stored).points) == 10
    (tmp_path / "arch.json").write_text(tiny_arch().model_dump_json())
    done = codenas("device", "predict", tmp_path / "arch.json", "--on", stored, "--on", stored, "--vocab-size", 64)
    assert done.exit_code == 0, done.output
    assert done.stdout.count("ms per token predicted (") == 2


def test_a_calibration_for_a_device_leaves_the_device_and_nothing_beside_it(space: Path, tmp_path: Path) -> None:
    device = null_device(tmp_path / "null")
    done = codenas("device", "calibrate", "--space", space, "--count", 8, "--sweeps", 2, "--output", device, "--vocab-size", 64)
    assert done.exit_code == 0, done.output
    assert device.is_char_device() and sorted(tmp_path.iterdir()) == [device, space]


def test_a_pruned_design_is_predicted_as_it_is_stored(tmp_path: Path) -> None:
    archs = [tiny_arch(d_model=width) for width in range(16, 256, 16)]
    points = [Point(arch=arch, vocab_size=64, p50_ms=parameters(arch, 64) / 1e3, p50_uncertainty_ms=0) for arch in archs]
    Calibration.fit("box", 1, points).save(tmp_path / "box.json")
    pruned = Design(arch=archs[-1], pruning=0.5)
    for name, spec in {"pruned": pruned, "stored": pruned.stored_arch, "whole": pruned.arch}.items():
        (tmp_path / name).write_text(spec.model_dump_json())
    command = ("device", "predict", "--on", tmp_path / "box.json", "--vocab-size", 64)
    output = {name: codenas(*command, tmp_path / name).stdout for name in ("pruned", "stored", "whole")}
    assert output["pruned"] == output["stored"] != output["whole"]


def test_an_interrupted_calibration_continues_and_finds_the_same(space: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    timed = 0

    def decoding_latency(*_: object) -> Latency:
        nonlocal timed
        if timed == interrupted_at:
            raise KeyboardInterrupt
        timed += 1
        return Latency(1.0 + 0.01 * timed, 0.0, 1, BOX)

    def calibrated(output: Path, *more: object) -> Result:
        given = ("--space", space, "--count", 8, "--sweeps", 2, "--output", output, "--name", "box", *more)
        return codenas("device", "calibrate", *map(str, given))

    monkeypatch.setattr(calibration, "decoding_latency", decoding_latency)
    interrupted_at, again, whole = 11, tmp_path / "again" / "x.json", tmp_path / "whole" / "x.json"
    assert calibrated(again).exit_code == 130
    with next(again.parent.iterdir()).open("ab") as file:
        file.write(b'{"p50_ms": 1.')  # a kill tore the next one
    interrupted_at = -1
    assert calibrated(again).exit_code == 0
    assert timed == 16 and list(again.parent.iterdir()) == [again]
    timed = 0
    assert calibrated(whole).exit_code == 0
    assert again.read_bytes() == whole.read_bytes()


def test_times_of_another_draw_are_not_taken_for_these(space: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    timed = 0

    def decoding_latency(*_: object) -> Latency:
        nonlocal timed
        timed += 1
        if timed == 4:
            raise KeyboardInterrupt
        return Latency(1.0, 0.0, 1, BOX)

    monkeypatch.setattr(calibration, "decoding_latency", decoding_latency)
    given = ("device", "calibrate", "--space", space, "--count", 8, "--sweeps", 2, "--output", tmp_path / "x.json")
    assert codenas(*given, "--seed", 1).exit_code == 130
    assert codenas(*given, "--seed", 2).exit_code == 0
    assert timed == 4 + 16


def test_a_machine_that_is_not_idle_is_reported(space: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter(1.0 + 0.9 * (number % 3) for number in range(1_000))
    monkeypatch.setattr(calibration, "decoding_latency", lambda *_: Latency(next(times), 0.0, 1, BOX))
    done = codenas("device", "calibrate", "--space", space, "--count", 8, "--sweeps", 2, "--output", tmp_path / "x.json")
    fitted = Calibration.load(tmp_path / "x.json")
    assert done.exit_code == 0, done.output
    assert any("the machine was not idle: times repeat only to " in warning for warning in calibration_warnings(fitted))
    assert dict(calibration_figures(fitted))["measured"].startswith("8 architectures")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["calibrate", "--device", "tpu"], "--device tpu: torch finds no such device; available: cpu"),
        (["calibrate", "--space", "huge"], "'huge' is no search space"),
        (["calibrate", "--space", "FOLDER/space.json", "--count", "13"], "the space holds 12 architectures only; --count 13 is too many"),
        (["calibrate", "--space", "FOLDER/space.json", "--count", "10000"], "holds 12 architectures only; --count 10000 is too many"),
        (["calibrate", "--space", "FOLDER/space.json", "--count", "8", "--sweeps", "2", "--output", "FOLDER"], "Is a directory: FOLDER;"),
        (
            ["calibrate", "--space", "FOLDER/space.json", "--count", "8", "--output", "FOLDER/short.json/x"],
            "File exists: FOLDER/short.json;",
        ),
        (["calibrate", "--space", "FOLDER/short.json", "--count", "8"], "a context of 8 is too short to time decoding; it takes 10"),
        (["predict", "small:1", "--on", "FOLDER/absent.json"], "there is no calibration FOLDER/absent.json; make one with"),
    ],
)
@pytest.mark.usefixtures("space")
def test_what_the_user_can_mend_is_one_line(tmp_path: Path, arguments: list[str], message: str) -> None:
    (tmp_path / "short.json").write_text((tmp_path / "space.json").read_text().replace('"context_len":32', '"context_len":8'))
    done = codenas("device", *[argument.replace("FOLDER", str(tmp_path)) for argument in arguments])
    assert done.exit_code == 2 and message.replace("FOLDER", str(tmp_path)) in done.stderr and done.stderr.count("\n") == 1
