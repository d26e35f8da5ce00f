// Made by deploy/docs/page_types.py (make docs) from ptycholive_client/messages; do not edit.

declare namespace Wire {
  interface AssessmentFields {
    /** The grade: good, check or bad. */
    grade: Grade;
    /** The reason for the grade, in words. */
    reason: string;
    /** What to do now. */
    action: string;
    /** Name of the reason. */
    code: string;
    /** Whether R-factor and expected correlation say something about the picture. */
    is_rfactor_meaningful: boolean;
    /** All notes, the gravest first, then the newest. */
    notes: NoteFields[];
  }

  interface ComparisonFields {
    /** Id of the scan whose picture stays as it is. */
    scan_id: string;
    /** Layer of that picture. */
    layer: string;
    /** Id of the scan whose picture is laid on it. */
    other_scan_id: string;
    /** Layer of the other picture: refined, network or iterative. */
    other_layer: string;
    /** Pearson's correlation of the phases where frames cover both well. */
    phase_correlation: number | null;
    /** The same for the amplitudes. */
    amplitude_correlation: number | null;
    /** Structural similarity of the phases in the largest common square. */
    ssim: number | null;
    /** Root of sum abs(A - B)^2 over sum abs(B)^2. */
    difference: number | null;
    /** Half a period up to which both agree (half-bit), object pixels. */
    frc_px: number | null;
    /** The same in nm; null: the pixel size is unknown, too. */
    frc_nm: number | null;
    /** Shift [y, x] that was taken off the other picture, pixels. */
    shift_px: number[];
    /** Phase ramp [y, x] that was taken off it, rad per pixel. */
    ramp_rad_px: number[];
    /** Pixels compared. */
    pixels: number;
  }

  type DaemonState = "starting" | "ready" | "scanning" | "finishing" | "idle" | "stopping" | "degraded";

  interface DeltaHeader {
    /** Id of the scan. */
    scan_id: string;
    /** Time of the picture, ns since 1970. */
    time_ns: number;
    /** Layer of the picture. */
    layer: "network" | "refined";
    /** [H, W] of the whole picture, pixels. */
    shape: number[];
    /** Type of the object's pixels. */
    dtype: "complex64";
    /** [y, x] of pixel (0, 0) in the object's own frame. */
    origin_px: number[];
    /** Side of a pixel, m; null: unknown. */
    pixel_size_m: number | null;
    /** Frames stitched in the scan. */
    frames_stitched: number;
    /** Frame messages received, with duplicates and refused frames. */
    frames_received: number;
    /** Generation of the newest model that predicted a frame of it. */
    model_generation: number;
    /** R-factor of the layer; null: not yet known. */
    rfactor: number | null;
    /** True in the last picture of a scan, and in improved ones that follow its end. */
    complete: boolean;
    /** [y, x, h, w] of the part in the whole picture, pixels. */
    region: number[];
    /** Version of the messages. */
    schema_version: number;
    /** Number of the message on this socket. */
    sequence: number;
  }

  interface DemoFaultFields {
    /** Name in the route that orders it. */
    name: string;
    /** Text of the button. */
    title: string;
    /** What is wrong with the next scan, in words. */
    about: string;
  }

  type DiagnosisState = "off" | "waiting for frames" | "retrieving the probe" | "looking";

  interface DiagnosisStatus {
    state: DiagnosisState;
    /** What it found last. */
    finding: string | null;
    /** Number of diagnoses made. */
    looks: number;
    /** Duration of the last diagnosis, s. */
    last_s: number | null;
  }

  interface DoubtFields {
    /** Kind of doubt. */
    doubt: string;
    /** The reason in words. */
    sentence: string;
    /** Whether the picture cannot be one of the sample. */
    is_nonsense: boolean;
  }

  interface EngineResult {
    /** Name of the engine. */
    name: string;
    /** Progress of the engine. */
    state: EngineState;
    /** Why it failed. */
    fault?: string;
    /** R-factor of its picture. */
    rfactor?: number;
    /** Time it took, s. */
    seconds?: number;
    /** Frames it used. */
    frames?: number;
    /** Path of its product. */
    product?: string;
  }

  type EngineState = "waiting" | "running" | "done" | "failed";

  type FitCheck = "pending" | "fits" | "misfit" | "weak_sample" | "too_few_frames" | "unfinished" | "off";

  interface FrameFields {
    /** Id of the scan. */
    scan_id: string;
    /** Index of the frame. */
    index: number;
    /** Measured position [y, x] in pixels of the object's own frame; null: the frame is not stitched. */
    position_px: number[] | null;
    /** Position [y, x] as the refinement corrects it; null: it is not corrected. */
    found_px: number[] | null;
    /** Side of an object pixel, m; null: unknown. */
    pixel_size_m: number | null;
    /** Stitched frame with the next lower index; null: none. */
    previous: number | null;
    /** Stitched frame with the next higher index; null: none. */
    next: number | null;
    /** Layer that the modelled pattern is computed from. */
    layer: "network" | "refined";
    /** Side of the pattern, pixels; null: the pattern is not held. */
    side_px: number | null;
    /** Counts of the valid pixels; null: the pattern is not held. */
    counts: number | null;
    /** Pixels of the pattern without data; null: the pattern is not held. */
    masked_pixels: number | null;
    /** R-factor of this frame; null: unknown. */
    rfactor: number | null;
    /** Why there is no measured or no modelled pattern; null: both are there. */
    absent: string | null;
  }

  interface FrameMap {
    /** Id of the scan. */
    scan_id: string;
    /** Layer that the R-factors belong to. */
    layer: "network" | "refined";
    /** Stitched frames of the scan. */
    frames: number;
    /** Indexes of the frames here, ascending. */
    indexes: number[];
    /** Their measured positions [y, x] in pixels of the object's own frame. */
    positions_px: number[][];
    /** Their R-factors; null: unknown. */
    rfactors: (number | null)[];
  }

  interface FrcFields {
    /** Half a period at which the curve falls below the threshold, nm; null: it does so at once. */
    frc_nm: number | null;
    /** Name of the threshold. */
    criterion: "half-bit";
    /** Frames of both halves. */
    frames: number;
    /** Time without a gain in resolution, up to the last comparison, s. */
    no_gain_s: number;
    /** Whether that time is 30 s or more: more frames and more time no longer sharpen the picture. */
    is_settled: boolean;
    /** Spatial frequencies, 1/m. */
    frequency_per_m: number[];
    /** Correlation at each frequency. */
    correlation: number[];
    /** The threshold at each frequency. */
    threshold: number[];
  }

  type Grade = "good" | "check" | "bad";

  interface IncidentFields {
    /** Name of the reason. */
    code: string;
    /** What happened, in words. */
    sentence: string;
    /** When the daemon found it, ISO 8601, UTC. */
    since: string;
  }

  interface JournalStatus {
    /** Folder of the journal. */
    folder: string;
    /** Size of the journal. */
    bytes: number;
    /** Frames that could not be written to the journal. */
    frames_skipped: number;
    /** Folders that the daemon does not touch, with the reason. */
    left_alone: Record<string, string>;
  }

  interface LayerRfactors {
    /** R-factor of the network layer. */
    network: number | null;
    /** R-factor of the refined layer. */
    refined: number | null;
  }

  interface LearningStatus {
    /** What fine-tuning does: off, waiting for frames, learning, paused, resting, or a sentence after a failure. */
    state: string;
    /** Training steps. */
    steps?: number;
    /** Training loss. */
    loss?: number | null;
    /** Frames in the replay buffer. */
    frames?: number;
    /** Frames that the replay buffer refused. */
    refused?: number;
    /** R-factor on held-out frames of the active network and of the last candidate. */
    heldout_rfactor?: Record<string, number>;
    /** Number of candidates by result. */
    promotions?: Record<string, number>;
    /** Promoted models that can be undone. */
    generations?: number;
  }

  interface MisfitFields {
    /** The misfit in words. */
    sentence: string;
    /** The configuration change that corrects it. */
    action: string;
    /** Whether the daemon corrects it by itself. */
    is_corrected: boolean;
  }

  interface ModelStatus {
    /** Name of the model. */
    name: string;
    /** Number of models that were active before it. */
    generation: number;
  }

  interface NoteFields {
    /** Gravity of the note; good: for information only. */
    grade: Grade;
    /** The note in words. */
    sentence: string;
    /** What to do about it; empty: nothing. */
    action: string;
    /** Time at which the daemon found it first, ISO 8601, UTC; null: unknown. */
    since: string | null;
  }

  type Phase = "starting" | "ready" | "scanning" | "finishing" | "idle" | "stopping";

  interface PictureFields {
    /** Id of the scan. */
    scan_id: string;
    /** Time of the picture, ns since 1970. */
    time_ns: number;
    /** Layer of the picture. */
    layer: "network" | "refined";
    /** [H, W] of the whole picture, pixels. */
    shape: number[];
    /** Type of the object's pixels. */
    dtype: "complex64";
    /** [y, x] of pixel (0, 0) in the object's own frame. */
    origin_px: number[];
    /** Side of a pixel, m; null: unknown. */
    pixel_size_m: number | null;
    /** Frames stitched in the scan. */
    frames_stitched: number;
    /** Frame messages received, with duplicates and refused frames. */
    frames_received: number;
    /** Generation of the newest model that predicted a frame of it. */
    model_generation: number;
    /** R-factor of the layer; null: not yet known. */
    rfactor: number | null;
    /** True in the last picture of a scan, and in improved ones that follow its end. */
    complete: boolean;
  }

  interface ProbeFields {
    /** Id of the scan. */
    scan_id: string;
    /** Share of each mode in the energy of the probe. */
    shares: number[];
    /** Side of the probe, pixels. */
    side_px: number;
    /** Side of a pixel, m; null: unknown. */
    pixel_size_m: number | null;
    /** Wavelength, m; null: the photon energy is unknown, so the probe cannot be propagated. */
    wavelength_m: number | null;
    /** Distance up to which the probe can be propagated on its grid, m; null: unknown. */
    reach_m: number | null;
    /** Energy of the difference to the probe given, over that of the probe given; null: their shapes differ. */
    change: number | null;
  }

  interface ScanEndedHeader {
    /** Id of the scan. */
    scan_id: string;
    /** Always ended. */
    state: "ended";
    /** Account of frames. */
    verdict: VerdictFields;
    /** How the scan ended. */
    result: ScanState;
    /** Path of the product file; null: not written yet. */
    product: string | null;
    /** R-factor by layer. */
    rfactors: Record<string, number>;
    /** Warnings about the scan, one sentence each. */
    notes: string[];
    /** How good the scan is. */
    assessment: AssessmentFields | null;
    /** Version of the messages. */
    schema_version: number;
    /** Number of the message on this socket. */
    sequence: number;
    /** Time of the message, ns since 1970. */
    time_ns: number;
  }

  interface ScanFields {
    /** Id of the scan. */
    id: string;
    /** State of the scan. */
    state: ScanState;
    /** Time of its start, ISO 8601, UTC. */
    started: string;
    /** Time of its end, ISO 8601, UTC. */
    ended: string | null;
    /** R-factor of the picture in the product. */
    rfactor: number | null;
    /** R-factor of the network layer. */
    rfactor_network: number | null;
    /** Median phase correlation with the truth of simulated scans with the same noise and misfit. */
    expected_correlation: number | null;
    /** Mean distance between told and found positions, px; null: the picture uses the told ones. */
    position_error_px: number | null;
    /** Resolution by Fourier ring correlation of two halves of the frames, nm; null: unknown. */
    frc_nm: number | null;
    /** The curve that it is read from. */
    frc: FrcFields | null;
    /** Generation of the model that made the picture. */
    model_generation: number;
    /** Path of the product file. */
    product: string | null;
    /** Side of an object pixel, m. */
    pixel_size_m: number | null;
    /** Centre of the beam on the detector, [row, column]. */
    center_px: number[] | null;
    /** Source of the beam centre. */
    center_from: string | null;
    /** Detector pixels in the pattern without data in any frame; null: unknown. */
    masked_pixels: number | null;
    /** Warnings about the scan, one sentence each. */
    notes: string[];
    /** Metadata of the control system's run that the positions belong to. */
    run: Record<string, unknown> | null;
    /** Result of another engine; null: none was asked for. */
    engine: EngineResult | null;
    /** Account of frames. */
    verdict: VerdictFields | null;
    /** Reasons to doubt the picture. */
    doubts: DoubtFields[];
    /** What happened in mid-scan and has spoilt a part of the scan. */
    incidents: IncidentFields[];
    /** Misfit of patterns, positions and probe that the diagnosis found; null: none. */
    misfit: MisfitFields | null;
    /** Whether the diagnosis has checked the fit of patterns, positions and probe; null: unknown, of an older record. */
    fit_check: FitCheck | null;
    /** How good the scan is. */
    assessment: AssessmentFields | null;
  }

  interface ScanPath {
    /** Id of the scan. */
    scan_id: string;
    /** Number of positions before the first one here. */
    after: number;
    /** Positions [y, x] in pixels of the object's own frame. */
    positions_px: number[][];
  }

  interface ScanStartedHeader {
    /** Id of the scan. */
    scan_id: string;
    /** Always started. */
    state: "started";
    /** Frames that the scan should have; null: unknown. */
    expected: number | null;
    /** Version of the messages. */
    schema_version: number;
    /** Number of the message on this socket. */
    sequence: number;
    /** Time of the message, ns since 1970. */
    time_ns: number;
  }

  type ScanState = "scanning" | "finishing" | "complete" | "incomplete" | "stopped";

  interface SinkStatus {
    /** Name of the plug-in. */
    kind: string;
    /** Deliveries that succeeded. */
    ok: number;
    /** Deliveries that failed. */
    failed: number;
    /** Deliveries dropped because the sink was too slow. */
    dropped: number;
    /** Deliveries that wait. */
    waiting: number;
    /** What is wrong with the sink. */
    trouble: string | null;
  }

  interface SnapshotHeader {
    /** Id of the scan. */
    scan_id: string;
    /** Time of the picture, ns since 1970. */
    time_ns: number;
    /** Layer of the picture. */
    layer: "network" | "refined";
    /** [H, W] of the whole picture, pixels. */
    shape: number[];
    /** Type of the object's pixels. */
    dtype: "complex64";
    /** [y, x] of pixel (0, 0) in the object's own frame. */
    origin_px: number[];
    /** Side of a pixel, m; null: unknown. */
    pixel_size_m: number | null;
    /** Frames stitched in the scan. */
    frames_stitched: number;
    /** Frame messages received, with duplicates and refused frames. */
    frames_received: number;
    /** Generation of the newest model that predicted a frame of it. */
    model_generation: number;
    /** R-factor of the layer; null: not yet known. */
    rfactor: number | null;
    /** True in the last picture of a scan, and in improved ones that follow its end. */
    complete: boolean;
    /** Rows: generation of the model that last changed each tile of 32 x 32 pixels. */
    generations?: number[][];
    /** Each pixel here stands for stride x stride pixels (earlier pictures of large scans). */
    stride?: number;
    /** Version of the messages. */
    schema_version: number;
    /** Number of the message on this socket. */
    sequence: number;
  }

  interface StatusHeader {
    /** The phase, or degraded. */
    state: DaemonState;
    phase: Phase;
    /** Lasting faults, worst first, one sentence each. */
    degraded: string[];
    /** Id of the newest scan. */
    scan_id: string | null;
    /** State of the newest scan. */
    scan_state: ScanState | null;
    /** Frame messages received in the newest scan. */
    frames_received: number | null;
    /** Frames stitched in the newest scan. */
    frames_stitched: number | null;
    /** Frames of the newest scan not yet stitched, refused or given up. */
    frames_pending: number | null;
    /** Frame indexes of the newest scan that later frames have overtaken, so that they are lost; in mid-scan. */
    frames_overtaken: number | null;
    /** Frames that the newest scan should have; null: unknown. */
    expected_frames: number | null;
    /** Ids of all scans that have not ended. */
    scans_unfinished: string[];
    /** Frames that wait for the device. */
    backlog_frames: number;
    /** Frames of the backlog that wait on disk. */
    backlog_on_disk: number;
    /** Waiting time of the oldest frame of the backlog, s. */
    backlog_age_s: number;
    /** Whether the device is slower than the detector. */
    is_behind: boolean;
    /** The journal; null: it is off. */
    journal: JournalStatus | null;
    /** Frames that wait for their position. */
    waiting_for_positions: number;
    /** Positions that belong to no scan. */
    positions_ignored: number;
    /** Frames that wait until the beam centre is found. */
    waiting_for_center: number;
    /** Centre of the beam on the detector, [row, column]. */
    center_px: number[] | null;
    /** Source of the beam centre. */
    center_from: string | null;
    /** Detector pixels in the pattern without data in any frame; null: unknown. */
    masked_pixels: number | null;
    /** Warnings about recent scans, one sentence each. */
    notes: string[];
    /** Frames received per second. */
    receive_rate_hz: number;
    /** Frames stitched per second. */
    stitch_rate_hz: number;
    /** Time from receiving a frame to publishing an update that shows it, s. */
    latency_s: number | null;
    /** R-factors of the newest scan. */
    rfactor: LayerRfactors;
    /** Median phase correlation with the truth of simulated scans with the same noise and misfit. */
    expected_correlation: number | null;
    /** Mean distance between told and found positions of the newest scan, px; null: its picture uses the told ones. */
    position_error_px: number | null;
    /** Part of the object that the newest scan will cover, [top, left, bottom, right], m; null: positions come with it. */
    planned_box_m: number[] | null;
    /** Resolution of the newest scan by Fourier ring correlation of two halves of its frames, nm; null: unknown. */
    frc_nm: number | null;
    /** The curve that it is read from, and how long it has not got better. */
    frc: FrcFields | null;
    /** Account of the newest scan's frames. */
    verdict: VerdictFields | null;
    /** How good the newest scan is, and what to do. */
    assessment: AssessmentFields;
    /** The same account in one sentence. */
    account: string | null;
    /** The input streams, frames first. */
    streams: StreamStatus[];
    model: ModelStatus;
    /** Device of the reconstruction. */
    device: string;
    /** Fine-tuning. */
    finetune: LearningStatus;
    /** Diagnosis of the first frames. */
    diagnosis: DiagnosisStatus;
    /** Frames used by the refined layer, counted in each sweep. */
    refine_updates: number | null;
    /** Connected viewers, over ZeroMQ and in browsers. */
    subscribers: number;
    /** The sinks. */
    sinks: SinkStatus[];
    /** The workers of the cluster; empty without one. */
    workers: WorkerStatus[];
    /** The last internal error, or the last refused message while it is recent. */
    failure: string | null;
    /** Version of the daemon. */
    version: string;
    /** The status in words. */
    sentence: string;
    /** Version of the messages. */
    schema_version: number;
    /** Number of the message on this socket. */
    sequence: number;
    /** Time of the message, ns since 1970. */
    time_ns: number;
  }

  interface StreamStatus {
    /** Name of the stream: frames, positions or metadata. */
    name: string;
    /** Address of the stream. */
    endpoint: string;
    /** Whether a sender is connected. */
    connected: boolean;
    /** What is wrong with the stream. */
    fault: string | null;
    /** Connections that failed because keys do not match. */
    handshake_failures: number;
    /** Messages received. */
    messages: number;
    /** Refused messages by reason. */
    refused: Record<string, number>;
    /** Bytes received. */
    bytes: number;
    /** Time since the last message, s; null: none was received. */
    silent_s: number | null;
  }

  interface VerdictFields {
    /** Frames that the scan should have; null: unknown. */
    expected: number | null;
    /** Frame messages received. */
    received: number;
    /** Frames received more than once. */
    duplicate: number;
    /** Frame indexes that never arrived; in mid-scan also those still to come. */
    missing: number;
    /** Refused frames by reason. */
    refused: Record<string, number>;
    /** Frames that got no position. */
    without_position: number;
    /** Frames received but not yet stitched, refused or given up. */
    pending: number;
    /** Frames stitched into the picture. */
    stitched: number;
  }

  interface WorkerStatus {
    /** Number of the worker, from 0. */
    worker: number;
    /** starting, running or restarting. */
    state: string;
    /** Machine; null before its first start. */
    host: string | null;
    /** Device of its engine. */
    device: string | null;
    /** Frames that it has stitched. */
    frames_stitched: number;
    /** Frames that wait for it. */
    frames_waiting: number;
    /** Frames that it works on. */
    frames_in_flight: number;
    /** Time since its part of a picture changed, s; null: it has not yet. */
    tiles_age_s: number | null;
    /** How often it was lost and started again. */
    restarts: number;
    /** What is wrong with it. */
    trouble: string | null;
  }

  type ScanHeader = ScanStartedHeader | ScanEndedHeader;
  type PictureHeader = SnapshotHeader | DeltaHeader;
  type StatusMessage = { topic: "status"; header: StatusHeader; buffers: Uint8Array[] };
  type ScanMessage = { topic: "scan"; header: ScanHeader; buffers: Uint8Array[] };
  type SnapshotMessage = { topic: "snapshot"; header: SnapshotHeader; buffers: Uint8Array[] };
  type DeltaMessage = { topic: "delta"; header: DeltaHeader; buffers: Uint8Array[] };
  type PictureMessage = SnapshotMessage | DeltaMessage;
  type Message = StatusMessage | ScanMessage | PictureMessage;
}
