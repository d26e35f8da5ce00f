"""The panels of the dashboards: what each asks Prometheus, and how it shows the answer."""

from __future__ import annotations

from dataclasses import dataclass, field

HERE = 'job="ptycholive", instance=~"$instance"'


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel. ``queries`` are pairs of expression and legend; ``steps`` pairs of least value and colour."""

    title: str
    about: str
    queries: tuple[tuple[str, str], ...]
    kind: str = "timeseries"
    unit: str = "none"
    width: int = 8
    height: int = 7
    steps: tuple[tuple[float | None, str], ...] = ((None, "green"),)
    words: dict[int, str] = field(default_factory=dict)
    names_only: bool = False
    decimals: int | None = None


def metric(name: str, labels: str = "") -> str:
    """Return the selector of one of our metrics, or of a rule's record."""
    return f"ptycholive{name}{{{', '.join(filter(None, [HERE, labels]))}}}"


def rate(name: str, labels: str = "") -> str:
    """Return the rate of a counter."""
    return f"rate({metric(name, labels)}[$__rate_interval])"


def firing(severity: str) -> str:
    """Return 1 if an alert of a severity is on, else nothing."""
    return f'(count(ALERTS{{alertstate="firing", severity="{severity}", {HERE}}}) > bool 0)'


# 2 too where no daemon is scraped
IS_WELL = f"2 * {firing('critical')} or 2 * max(absent(up{{{HERE}}})) or {firing('warning')} or vector(0)"
FIRING = f'ALERTS{{alertstate="firing", {HERE}}}'
NO_ALERT = f'(label_replace(vector(0), "alertname", "none", "", "") unless on () {FIRING})'
ALERTS = f"max by (alertname) ({FIRING}) or {NO_ALERT}"
GRADE = f'max(ptycholive_assessment{{grade="check", {HERE}}}) + 2 * max(ptycholive_assessment{{grade="bad", {HERE}}})'
GREEN_YELLOW_RED: tuple[tuple[float | None, str], ...] = ((None, "green"), (1, "yellow"), (2, "red"))
GOOD_IF_ONE: tuple[tuple[float | None, str], ...] = ((None, "red"), (1, "green"))
BAD_IF_ANY: tuple[tuple[float | None, str], ...] = ((None, "green"), (1e-9, "red"))
WARN_IF_ANY: tuple[tuple[float | None, str], ...] = ((None, "green"), (1e-9, "yellow"))
YES_NO = {0: "no", 1: "yes"}

OPERATOR = (
    Panel(
        "Is all well?",
        "Green: nothing to do. Yellow: look at it. Red: act now; the run book says how.",
        ((IS_WELL, ""),),
        "stat",
        width=5,
        height=6,
        steps=GREEN_YELLOW_RED,
        words={0: "ALL WELL", 1: "LOOK", 2: "ACT NOW"},
    ),
    Panel(
        "Alerts",
        "What is wrong; each has its section in the run book.",
        ((ALERTS, "{{alertname}}"),),
        "stat",
        width=6,
        height=6,
        steps=WARN_IF_ANY,
        names_only=True,
    ),
    Panel(
        "Is this scan good?",
        "Grade of the newest scan; the page and ptycholive status give the reason and the action.",
        ((GRADE, ""),),
        "stat",
        width=5,
        height=6,
        steps=GREEN_YELLOW_RED,
        words={0: "GOOD", 1: "CHECK", 2: "BAD"},
    ),
    Panel(
        "It is",
        "What the daemon does now.",
        ((metric("_phase") + " == 1", "{{phase}}"),),
        "stat",
        width=4,
        height=6,
        names_only=True,
        steps=((None, "blue"),),
    ),
    Panel(
        "Streams",
        "Whether each stream has a peer.",
        ((metric("_stream_connected"), "{{stream}}"),),
        "stat",
        width=4,
        height=6,
        steps=GOOD_IF_ONE,
        words=YES_NO,
    ),
    Panel(
        "Frames",
        "Received and laid on the picture, a second. The two should lie on each other.",
        ((metric(":frames_received:rate1m"), "received"), (metric(":frames_stitched:rate1m"), "stitched")),
        unit="hertz",
        width=12,
    ),
    Panel(
        "From a frame to the picture that shows it",
        "Of the last minute: half of the frames, 99 in 100.",
        ((metric(":frame_latency_seconds:p50_1m"), "half"), (metric(":frame_latency_seconds:p99_1m"), "99 %")),
        unit="s",
        width=12,
    ),
    Panel("R-factor", "Lower is better; it falls while the scan runs.", ((metric("_rfactor"), "{{layer}}"),), width=12),
    Panel(
        "Frames lost in 5 minutes",
        "Refused or missing. Anything but 0 needs a look.",
        ((metric(":frames_lost:increase5m"), ""),),
        "stat",
        width=4,
        steps=BAD_IF_ANY,
        decimals=0,
    ),
    Panel(
        "Oldest frame that waits",
        "Yellow: the device is slower than the detector; no frame is lost.",
        ((metric("_backlog_age_seconds"), ""),),
        "stat",
        "s",
        width=4,
        steps=((None, "green"), (5, "yellow")),
        decimals=1,
    ),
    Panel(
        "Disk free",
        "Of the folders for products and journal.",
        ((f"{metric('_disk_free_bytes')} / {metric('_disk_size_bytes')}", "{{folder}}"),),
        "stat",
        "percentunit",
        4,
        steps=((None, "red"), (0.05, "yellow"), (0.2, "green")),
    ),
    Panel(
        "Covered",
        "Share of the rectangle around the picture, as on the page.",
        ((metric("_coverage_ratio"), ""),),
        "gauge",
        "percentunit",
        4,
        5,
    ),
    Panel(
        "Expected correlation",
        "Of the refined phase with the truth, by the photons and by what it leaves unexplained. Under 0.8: count more photons.",
        ((metric("_expected_correlation"), ""),),
        "stat",
        width=5,
        height=5,
        steps=((None, "red"), (0.8, "yellow"), (0.95, "green")),
        decimals=2,
    ),
    Panel(
        "Resolution",
        "By Fourier ring correlation of two halves of the frames (half-bit), and the time without a gain.",
        ((f"{metric('_frc_nm')} * 1e-9", ""),),
        "stat",
        "lengthm",
        4,
        5,
    ),
    Panel(
        "Resolution without gain",
        "From 30 s on, neither more frames nor more passes sharpen the picture.",
        ((metric("_frc_no_gain_seconds"), ""),),
        "stat",
        "s",
        4,
        5,
    ),
    Panel("Viewers", "Over ZeroMQ and in browsers.", ((metric("_subscribers"), ""),), "stat", width=3, height=5),
    Panel(
        "Scans closed today",
        "By verdict.",
        ((f"increase({metric('_scans_total')}[24h])", "{{verdict}}"),),
        "stat",
        width=4,
        height=5,
        decimals=0,
        steps=((None, "blue"),),
    ),
)

ENGINEER = (
    Panel(
        "Time that stages take",
        "Seconds of work a second. Group, predict, stitch and publish share one thread.",
        ((metric(":stage_busy:ratio1m"), "{{stage}}"),),
        unit="percentunit",
        width=12,
    ),
    Panel(
        "A batch in a stage, 95 %",
        "95 in 100 batches take less.",
        ((f"histogram_quantile(0.95, {rate('_stage_seconds_bucket')})", "{{stage}}"),),
        unit="s",
        width=12,
    ),
    Panel("Items waiting before a stage", "", ((metric("_queue_depth"), "{{stage}}"),)),
    Panel(
        "Bytes waiting before a stage",
        "Bounded by [limits] queue_bytes.",
        ((metric("_queue_bytes"), "{{stage}}"),),
        unit="bytes",
    ),
    Panel(
        "Frames pending",
        "Received and not yet at their end; and those that wait on the disk.",
        ((metric("_scan_frames_pending"), "pending"), (metric("_backlog_frames"), "on disk")),
    ),
    Panel(
        "Latency",
        "From a frame's receipt to the update that shows it.",
        tuple(
            (f"histogram_quantile({q}, {rate('_frame_latency_seconds_bucket')})", f"{q:.0%}") for q in (0.5, 0.9, 0.99)
        ),
        unit="s",
    ),
    Panel("Frames of a batch", "Mean.", ((f"{rate('_batch_frames_sum')} / {rate('_batch_frames_count')}", "frames"),)),
    Panel(
        "Updates",
        "Layer updates published, and frame updates of the refined layer, a second.",
        ((rate("_snapshots_published_total"), "published"), (rate("_refine_updates_total"), "refined")),
        unit="hertz",
    ),
    Panel("Received", "A stream.", ((rate("_stream_bytes_total"), "{{stream}}"),), unit="Bps"),
    Panel(
        "Frames refused, by reason",
        "",
        ((rate("_frames_refused_total") + " > 0 or sum(" + rate("_frames_refused_total") + ")", "{{reason}}"),),
        unit="hertz",
    ),
    Panel(
        "Frames that closed scans lack", "", ((f"increase({metric('_frames_lost_total')}[1h])", "{{why}}"),), decimals=0
    ),
    Panel(
        "Failed handshakes",
        "In an hour.",
        ((f"increase({metric('_stream_handshake_failures_total')}[1h])", "{{stream}}"),),
        decimals=0,
    ),
    Panel(
        "Faults inside",
        "In an hour; each stage goes on after them.",
        ((f"increase({metric('_stage_failures_total')}[1h])", "{{stage}}"),),
        decimals=0,
    ),
    Panel(
        "HTTP refused", "In an hour.", ((f"increase({metric('_http_refused_total')}[1h])", "{{reason}}"),), decimals=0
    ),
    Panel("Journal", "Its size.", ((metric("_journal_bytes"), "bytes"),), unit="bytes"),
    Panel(
        "Frames not journalled",
        "In an hour; and whether it is behind.",
        (
            (f"increase({metric('_journal_frames_skipped_total')}[1h])", "skipped"),
            (metric("_journal_behind"), "behind"),
        ),
    ),
    Panel(
        "Delivered to sinks and webhook",
        "In an hour, by result; 0 where there are none.",
        (
            (
                f"sum by (sink, result) (increase({metric('_sink_deliveries_total')}[1h])) or vector(0)",
                "{{sink}} {{result}}",
            ),
            (f"sum by (result) (increase({metric('_webhook_messages_total')}[1h]))", "webhook {{result}}"),
        ),
        decimals=0,
    ),
    Panel("GPU memory", "Held by the daemon; 0 on a CPU.", ((metric("_device_memory_bytes"), "held"),), unit="bytes"),
    Panel(
        "Memory",
        "Resident, of the daemon's process.",
        ((f"process_resident_memory_bytes{{{HERE}}}", "resident"),),
        unit="bytes",
    ),
    Panel("Processor", "Cores in use.", ((f"rate(process_cpu_seconds_total{{{HERE}}}[$__rate_interval])", "cores"),)),
    Panel("Open files", "", ((f"process_open_fds{{{HERE}}}", "open"),)),
    Panel(
        "Builds",
        "Version, torch, device.",
        ((metric("_build_info"), "{{version}}, torch {{torch}}, {{device}}"),),
        "stat",
        width=16,
        height=4,
        names_only=True,
        steps=((None, "blue"),),
    ),
    Panel("Time of a scrape", "", ((f"scrape_duration_seconds{{{HERE}}}", ""),), "stat", "s", 8, 4),
    Panel(
        "Position error",
        "Mean distance between measured positions and those found from the frames, px; 0 where none were found.",
        ((f"{metric('_position_error_px')} or vector(0)", ""),),
        "stat",
        width=6,
        height=5,
        steps=((None, "green"), (2, "yellow")),
        decimals=1,
    ),
    *(
        Panel(title, about, ((f"{metric(name)} or vector(0)", "worker {{worker}}"),), "stat", unit, 6, 5)
        for title, about, name, unit in (
            (
                "Workers of the cluster",
                "1 while a worker takes frames; a single 0 without a cluster.",
                "_worker_up",
                "none",
            ),
            ("Workers lost", "How often each was started again.", "_worker_restarts", "none"),
            ("Frames by worker", "Stitched since the start.", "_worker_frames_stitched", "none"),
            ("Frames that wait for a worker", "In memory and in the journal.", "_worker_frames_waiting", "none"),
            ("Age of a worker's tiles", "It grows while its region is not scanned.", "_worker_tiles_age_seconds", "s"),
        )
    ),
)

LEARNING = (
    Panel(
        "Generation of the model",
        "Grows with each promotion and swap.",
        ((metric("_model_generation"), ""),),
        "stat",
        width=6,
        height=5,
        steps=((None, "blue"),),
    ),
    Panel(
        "Training steps",
        "Since the start.",
        ((metric("_finetune_steps_total"), ""),),
        "stat",
        width=6,
        height=5,
        steps=((None, "blue"),),
    ),
    Panel(
        "Candidates",
        "Since the start, by what became of them.",
        ((metric("_finetune_promotions_total"), "{{result}}"),),
        "stat",
        width=12,
        height=5,
        steps=((None, "blue"),),
    ),
    Panel("Loss", "Of the training.", ((metric("_finetune_loss"), "loss"),), width=12, height=9),
    Panel(
        "R on held-out frames",
        "A candidate is promoted where it lies below the active model.",
        ((metric("_finetune_heldout_rfactor"), "{{model}}"),),
        width=12,
        height=9,
    ),
    Panel("Generation over time", "", ((metric("_model_generation"), "generation"),)),
    Panel("Steps a second", "", ((rate("_finetune_steps_total"), "steps"),), unit="hertz"),
    Panel("R-factor of the scan", "By layer.", ((metric("_rfactor"), "{{layer}}"),)),
)

DASHBOARDS = {
    "operator": ("Ptycholive: is all well?", OPERATOR),
    "engineer": ("Ptycholive: stages, queues, latencies", ENGINEER),
    "learning": ("Ptycholive: learning", LEARNING),
}
