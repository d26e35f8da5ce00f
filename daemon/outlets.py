"""Outputs of the daemon to the network: page, updates, sinks, webhook. Making them opens every port."""

from __future__ import annotations

import logging

from daemon.attach.page_wizard import PageWizard
from daemon.config import Config
from daemon.inspection.frames import FrameLookup
from daemon.inspection.probes import ProbeLookup
from daemon.metrics import Metrics
from daemon.notify.webhook import Webhook
from daemon.publish.history import History
from daemon.publish.http.interface import create_app, open_server
from daemon.publish.hub import UpdateHub
from daemon.publish.zmq import MOST_CONNECTIONS, ZmqPublisher
from daemon.service.descriptors import Shares, share_out
from daemon.service.secret_files import open_to_all
from daemon.setup import Setup
from daemon.sinks import Sinks
from daemon.status.report import StatusReport

log = logging.getLogger(__name__)


class Outlets:
    """Started after the output's writer and stopped last; if a port cannot be opened, the others are closed."""

    def __init__(
        self,
        setup: Setup,
        config: Config,
        hub: UpdateHub,
        *,
        metrics: Metrics,
        view: StatusReport,
        frames: FrameLookup,
        probes: ProbeLookup,
    ) -> None:
        for words in open_to_all(config.http):
            log.warning("%s", words)
        self._hub = hub
        shares = share_out(Shares(config.http.max_connections, MOST_CONNECTIONS))
        self.publisher = ZmqPublisher(
            hub, config.publish.endpoint, curve=setup.publish_curve, most_connections=shares.updates
        )
        try:
            self.history = History(hub)
            http = config.http
            app = create_app(
                view,
                hub,
                http.max_viewers,
                http.viewer_bytes_per_s,
                history=self.history,
                frames=frames,
                probes=probes,
                attacher=PageWizard(lambda: config.output.directory, config.frames),
            )
            self.http = open_server(
                app,
                http,
                token=setup.http_token,
                tls=setup.http_tls,
                on_refused=metrics.count_http_refused,
                max_connections=shares.http,
            )
        except BaseException:
            self.publisher.close()
            raise
        self._sinks = Sinks(hub, setup.sinks, config.output.sinks, metrics.count_sink)
        self._webhook = self._make_webhook(config, metrics)
        view.sinks = self._sinks.status
        view.viewers = lambda: self.publisher.subscribers + int(app.state.viewers.count)
        view.viewer_handshake_failures = lambda: self.publisher.handshake_failures

    def _make_webhook(self, config: Config, metrics: Metrics) -> Webhook | None:
        url, count = config.notify.url, metrics.webhook_messages
        if url is None:
            return None
        return Webhook(
            self._hub, url.get_secret_value(), lambda: self.http.url, lambda result: count.labels(result).inc()
        )

    def start(self) -> None:
        """Start to tell."""
        self._sinks.start()
        if self._webhook is not None:
            self._webhook.start()
        self.http.start()

    def finish(self) -> None:
        """Tell sinks and webhook the rest."""
        self._sinks.stop()
        if self._webhook is not None:
            self._webhook.stop()

    def close(self) -> None:
        """Close the ports."""
        self.publisher.close()
        self.http.stop()
