"""A histogram of batches shows what Prometheus' own shows of the same values."""

from __future__ import annotations

import numpy as np
from prometheus_client import CollectorRegistry, Histogram, disable_created_metrics, generate_latest

from daemon.metrics import LATENCY_BUCKETS, BatchHistogram


def test_batches_are_counted_as_single_values_are() -> None:
    disable_created_metrics()  # type: ignore[no-untyped-call]
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    batch = BatchHistogram("waited_seconds", "Time.", LATENCY_BUCKETS)
    ours.register(batch)
    single = Histogram("waited_seconds", "Time.", registry=theirs, buckets=LATENCY_BUCKETS)
    for values in ([], [0.01, 0.25], [0.0, 0.010001, 60.0, 61.0]):  # bounds belong to the bucket below them
        batch.observe(np.array(values))
        for value in values:
            single.observe(value)
        assert generate_latest(ours) == generate_latest(theirs)
