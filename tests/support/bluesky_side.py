"""Bluesky's own publisher and proxy, for an environment of their own: ``bluesky_side.py RUNS CASE PACKING``.

Prints the proxy's out address, and publishes the documents of a case of ``bluesky_runs.json`` once a line comes on its input.
"""

import json
import sys
import threading
from functools import partial

import msgpack
from bluesky.callbacks.zmq import Proxy, Publisher

SERIALIZERS = {
    "json": {"serializer": lambda document: json.dumps(document).encode()},
    "msgpack": {"serializer": partial(msgpack.packb)},
    "pickle": {},
}

runs, case, packing = sys.argv[1:]
proxy = Proxy()
threading.Thread(target=proxy.start, daemon=True).start()
out, into = (str(port).rpartition(":")[2] for port in (proxy.out_port, proxy.in_port))
print(f"at tcp://127.0.0.1:{out}", flush=True)
publisher = Publisher(f"127.0.0.1:{into}", **SERIALIZERS[packing])
for _ in sys.stdin:
    with open(runs) as file:
        for name, document in json.load(file)["runs"][case]:
            publisher(name, document)
