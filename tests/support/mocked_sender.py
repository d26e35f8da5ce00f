"""Run in ``.venv-senders``: libertem's made-up detector, whose frame k is k everywhere; sends on a line of input."""

import sys

import libertem_dectris

sender = libertem_dectris.DectrisSim.new_mocked(
    uri="tcp://127.0.0.1", num_frames=int(sys.argv[1]), dwelltime=None, random_port=True
)
print("at", sender.get_uri(), flush=True)
sys.stdin.readline()
sender.send_headers()
sender.send_frames()
sender.send_footer()
print("sent", flush=True)
sys.stdin.readline()
