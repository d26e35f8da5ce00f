"""The metrics of the workers' engines: their samples in the reader's exposition, with the label ``worker``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric

from daemon.cluster.plan import MetricSamples

ENGINE_STAGES = ("group", "predict", "stitch", "publish", "engine")
"""Values of the label ``stage`` that an engine sets."""
ENGINE_FAMILIES = (
    "batch_frames",
    "stage_seconds",
    "queue_depth",
    "queue_bytes",
    "stage_failures",
    "device_memory_bytes",
)
"""Metrics that an engine sets; all others are the reader's."""
WORKER = "worker"


def engine_samples(registry: CollectorRegistry) -> list[MetricSamples]:
    """Return the samples that an engine has set."""
    wanted = {f"ptycholive_{name}" for name in ENGINE_FAMILIES}
    return [
        MetricSamples(
            family.name,
            family.documentation,
            family.type,
            [
                (one.name, dict(one.labels), one.value)
                for one in family.samples
                if one.labels.get("stage", "engine") in ENGINE_STAGES
            ],
        )
        for family in registry.collect()
        if family.name in wanted
    ]


class WithWorkers(CollectorRegistry):
    """A registry for one exposition: the reader's metrics, and the samples of the workers in the same families."""

    def __init__(self, registry: CollectorRegistry, workers: Sequence[tuple[int, Sequence[MetricSamples]]]) -> None:
        super().__init__(auto_describe=False)
        self._registry = registry
        self._workers = workers

    def collect(self) -> Iterator[Metric]:
        """Yield the families."""
        for family in self._registry.collect():
            for number, families in self._workers:
                for one in families:
                    if one.name == family.name:
                        for name, labels, value in one.samples:
                            family.add_sample(name, {**labels, WORKER: str(number)}, value)
            yield family
