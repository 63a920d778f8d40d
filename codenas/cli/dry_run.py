"""`codenas search --dry-run`: what a search and the final training of its winner will take."""

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from codenas.log import duration
from codenas.report.scale import scaled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from codenas.cli.job_file import Job
    from codenas.experiment.estimate import Device, Estimate, Stage
    from codenas.experiment.jobs import SearchJob
    from codenas.experiment.run import Run
    from codenas.search.plan import Plan


def show_estimate(job: "Job", run: "Run", corpus: Path | None, devices: "Devices") -> None:
    """Print what the search of `job` and the final training of its winner will take.

    Args:
        corpus: a prepared corpus. Without one, and without one of `run`, the vocabulary has as many ids as `job` asks for.
    """
    from codenas.experiment.estimate import estimate
    from codenas.report.tables import summary_lines

    plan = _plan(job, corpus or (run.corpus if run.corpus.exists() else None))
    lines = figures(estimate(job.search, job.train, plan), devices.find(job.search, plan))
    typer.echo("nothing is run; steps are upper bounds, and memory, disk and times are estimates:")
    for line in summary_lines(lines):
        typer.echo(line)


def _plan(job: "Job", corpus: Path | None) -> "Plan":
    from codenas.corpus import Corpus
    from codenas.experiment.session import plan_on
    from codenas.search.static_metrics import VocabularySize

    if corpus is not None:
        return plan_on(job.search, Corpus.open(corpus))
    size = VocabularySize(job.prepare.vocab_size)
    names = [name for name in job.search.search_space().vocabularies if name is not None]
    return job.search.plan(size.ids, min_latency_ms=job.search.min_latency_ms(), vocabularies=dict.fromkeys(names, size))


def figures(found: "Estimate", devices: "Sequence[Device]") -> list[tuple[str, str]]:
    """An estimate as names and values for `summary_lines`; `devices` train one trial each at a time."""
    sample = found.sample
    lines = [(stage.name, _stage(stage, found)) for stage in (*found.search, found.final)]
    lines += [
        ("designs", f"{sample.designs} random ones inside the limits: {scaled(sample.parameters)} parameters on average, at most "
         f"{scaled(sample.largest_parameters)}; contexts of {sample.tokens:,.0f} tokens, {scaled(sample.flops / sample.tokens)} FLOPs per "
         "training token"),
        ("memory of a trial", f"up to {sample.memory_bytes / 1e9:.1f} GB (estimated, for the largest of these designs)"),
        ("disk", f"up to {found.disk_bytes(len(devices)) / 1e9:.1f} GB (estimated; most of it training states, which are removed)"),
    ]  # fmt: skip
    lines += [(f"device {number}", _device(device)) for number, device in enumerate(devices, 1)]
    search, final = duration(found.search_seconds(devices)), duration(found.final_seconds(devices))
    beside = "to which comes that each training is started, scored and timed"
    return [
        *lines,
        ("time of the search", f"about {search} of training steps on {_count(devices)}, {beside}"),
        ("time of the final training", f"about {final} on {'all cores' if devices[0].cores else 'one device, the fastest'}"),
    ]


def _stage(stage: "Stage", found: "Estimate") -> str:
    trainings = f"{stage.trainings} training{'s' if stage.trainings > 1 else ''}"
    return f"{trainings}, {stage.steps:,} steps, {scaled(found.tokens(stage))} tokens, {scaled(found.flops(stage), 'FLOPs')}"


def _device(device: "Device") -> str:
    return f"{device.name}: {scaled(device.flops, 'FLOP/s')} ({device.basis})"


def _count(devices: "Sequence[Device]") -> str:
    return "one device" if len(devices) == 1 else f"{len(devices)} devices, one trial on each at a time"


class Devices:
    """Where trials would run: on named GPUs, on a cluster, or on this machine.

    Args:
        gpus: names of GPUs, separated by commas.
        address: a running Ray cluster.
        cpus: those of this machine that trials share where there is no GPU; by default all.
    """

    def __init__(self, gpus: str | None, address: str | None, cpus: int | None) -> None:
        self._gpus, self._address, self._cpus = gpus, address, cpus

    def find(self, job: "SearchJob", plan: "Plan") -> "list[Device]":
        """One device for each trial at a time.

        Raises:
            ConfigError: the peak of a GPU is not known.
            ResourceError: no cluster answers, or a trial fits on no node.
        """
        from codenas.experiment.device import visible_gpus

        if self._gpus is not None:
            return [_gpu(name.strip()) for name in self._gpus.split(",")]
        if self._address is not None:
            return self._of_cluster(self._address, job, plan)
        if job.trial.gpus != 0 and (here := visible_gpus()):
            return [_gpu(name) for name in here]
        return [_cpu(job, plan)] * max(1, math.floor((self._cpus or os.cpu_count() or 1) / job.trial.cpus))

    def _of_cluster(self, address: str, job: "SearchJob", plan: "Plan") -> "list[Device]":
        from tune_jobs.cluster.local import local_ray

        with local_ray(address=address):
            from tune_jobs.nodes import live_nodes, place_trials
            from tune_jobs.survey import with_gpu_names
            from tune_jobs.trainable import JobTrainable

            nodes = with_gpu_names(live_nodes(), JobTrainable.visible_gpus) if job.trial.gpus != 0 else live_nodes()
            placement = place_trials(job.trial, job.objectives, nodes)
            slots = [(node, placement.slots(node)) for node in nodes]
        if placement.uses_gpus:
            return [_gpu(name) for node, count in slots for name in node.gpus[:count]]
        return [_cpu(job, plan)] * sum(count for _, count in slots)


def _gpu(name: str) -> "Device":
    from codenas.experiment.estimate import MODEL_FLOPS_UTILISATION, Device
    from codenas.measure.accelerators import require_peak_flops

    peak, share = require_peak_flops(name), MODEL_FLOPS_UTILISATION
    return Device(name, share * peak, f"assumed: {100 * share:.0f} % of {peak / 1e12:.0f} TFLOP/s, its maker's figure for bfloat16")


def _cpu(job: "SearchJob", plan: "Plan") -> "Device":
    """A slot on the CPUs, as fast as a short training on this machine."""
    import torch

    from codenas.arch.design import Design
    from codenas.experiment.estimate import Device
    from codenas.measure.training_speed import training_flops_per_second

    torch.set_num_threads(job.trial.threads)
    design = Design(arch=plan.space.base)
    speed = training_flops_per_second(design.arch, plan.vocab_size, job.train)
    threads = f"{job.trial.threads} thread{'s' if job.trial.threads > 1 else ''}"
    return Device(f"CPU, {threads}", speed, "measured on this machine, on the base architecture of the space", cores=True)
