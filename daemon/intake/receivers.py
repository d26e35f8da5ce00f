"""Makes the receivers of a configuration's streams, for the daemon, ``check`` and ``record``."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from daemon.config import Config, Encrypted, Positions
from streams.codecs import OTHER_TRANSPORTS
from streams.codecs.base import Part
from streams.detectors.merlin import MerlinReceiver
from streams.detectors.pva import PvaReceiver
from streams.errors import CodecError
from streams.frame import Position, PositionNews
from streams.position_sources.bluesky import BlueskyReader
from streams.position_sources.panda import DEFAULT_CHANNELS, DEFAULT_TIME_CHANNEL, PandaReader
from streams.position_sources.pandablocks import CaptureReader
from streams.position_sources.pandablocks_client import CaptureReceiver
from streams.position_sources.positions import parse_positions
from streams.position_sources.samples import SourceOptions
from streams.sockets.receiver import MessageReceiver, OnMessage
from streams.sockets.transport import Receiver

RECEIVE_LIMIT = 16
"""Messages that ZeroMQ queues for each sender."""
PositionReader = Callable[[Sequence[Part]], list[Position] | PositionNews]


OnRefused = Callable[[str, CodecError], None]


def make_frames_receiver(config: Config, on_message: OnMessage, receive_limit: int = RECEIVE_LIMIT) -> MessageReceiver:
    """Return the receiver of the frame stream, not started. Raises :class:`streams.errors.KeyFileError`."""
    frames = config.frames
    if frames.format == "pva":
        return PvaReceiver(
            "frames",
            frames.endpoint,
            on_message,
            max_message_bytes=frames.max_message_bytes,
            silence_s=frames.scan_timeout_s,
            first_number=frames.first_number,
        )
    if frames.format == "merlin":
        return MerlinReceiver("frames", frames.endpoint, on_message, max_message_bytes=frames.max_message_bytes)
    return make_receiver(
        "frames", config, frames, (frames.endpoint, frames.socket), on_message, receive_limit=receive_limit
    )


def make_receiver(
    name: str,
    config: Config,
    keys: Encrypted,
    where: tuple[str, str],
    on_message: OnMessage,
    receive_limit: int = RECEIVE_LIMIT,
) -> MessageReceiver:
    """Return the receiver of a ZeroMQ stream, not started.

    ``name`` is its section of the configuration; ``where`` its endpoint and kind of socket.
    """
    endpoint, socket = where
    return Receiver(
        name,
        endpoint,
        socket,
        on_message,
        max_message_bytes=config.frames.max_message_bytes,
        receive_limit=receive_limit,
        curve=keys.curve(f"[{name}]", is_server=endpoint.startswith("@")),
    )


def make_positions_receiver(
    config: Config, on_message: OnMessage, receive_limit: int = RECEIVE_LIMIT
) -> MessageReceiver | None:
    """Return the receiver of the position stream, not started; ``None`` if the source sends no messages.

    Raises :class:`streams.errors.EndpointError` or :class:`streams.errors.KeyFileError`.
    """
    positions = config.positions
    if positions.endpoint is None or make_position_reader(positions) is None:
        return None
    if positions.source == "pandablocks":
        return CaptureReceiver("positions", positions.endpoint, on_message)
    return make_receiver(
        "positions", config, positions, (positions.endpoint, positions.socket), on_message, receive_limit=receive_limit
    )


def make_metadata_receiver(config: Config, on_message: OnMessage) -> MessageReceiver | None:
    """Return the receiver of the control system's documents, not started; ``None`` without an endpoint."""
    metadata = config.metadata
    if metadata.endpoint is None:
        return None
    return make_receiver("metadata", config, metadata, (metadata.endpoint, metadata.socket), on_message)


def make_position_reader(positions: Positions) -> PositionReader | None:
    """Return the reader of the position messages, which raises :class:`streams.errors.StreamError`; ``None`` without a stream."""
    if positions.source == "native":
        return parse_positions
    if positions.source == "bluesky":
        reader = make_bluesky_reader(positions)
        return None if reader is None else reader.parse
    if positions.source not in ("panda", "pandablocks"):
        return None
    options = _source_options(positions)
    if options is None:
        return None
    return (PandaReader(options) if positions.source == "panda" else CaptureReader(options)).parse


def make_bluesky_reader(positions: Positions, *, may_resume: bool = False) -> BlueskyReader | None:
    """Return the reader of Bluesky documents; ``None`` for other sources."""
    options = _source_options(positions)
    return None if options is None or positions.source != "bluesky" else BlueskyReader(options, may_resume=may_resume)


def _source_options(positions: Positions) -> SourceOptions | None:
    """Return the options of a source that numbers its samples; ``None`` without channels."""
    is_panda = positions.source == "panda"
    channels = positions.channels or (DEFAULT_CHANNELS if is_panda else None)
    if channels is None:
        return None
    return SourceOptions(
        channels=channels,
        factors_m=positions.factors_m,
        samples_per_frame=positions.samples_per_frame,
        first_sample=positions.first_sample,
        time_channel=positions.time_channel or (DEFAULT_TIME_CHANNEL if is_panda else None),
        monitor_channel=positions.monitor_channel,
        event_stream=positions.event_stream,
        max_motion_m=positions.max_motion_m,
    )


def shared_streams(config: Config) -> list[str]:
    """Return the streams whose sender gives each message to one receiver only (PUSH)."""
    frames, positions = config.frames, config.positions
    shared = []
    if frames.socket == "pull" and frames.format not in OTHER_TRANSPORTS and not frames.endpoint.startswith("@"):
        shared.append("frames")
    is_stream = positions.uses_zeromq and positions.endpoint is not None
    if is_stream and positions.socket == "pull" and not str(positions.endpoint).startswith("@"):
        shared.append("positions")
    return shared
