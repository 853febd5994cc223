"""``python -m instruments.simulators NAME --port N``: a simulated instrument on loopback, until it is interrupted."""

from __future__ import annotations

import argparse
import json
import sys
import threading

from instruments.errors import LabError
from instruments.simulators.dial import FaultDial
from instruments.simulators.eurotherm import EurothermFurnace
from instruments.simulators.mt_sics import Balance
from instruments.simulators.scpi import LcrMeter, SourceMeter
from instruments.simulators.server import TcpServer

DEVICES = {
    "eurotherm": (EurothermFurnace, 1502),
    "source_meter": (SourceMeter, 5025),
    "lcr_meter": (LcrMeter, 5026),
    "balance": (Balance, 4305),
}
"""Name -> device and the port that it listens on."""


def main(arguments: list[str] | None = None) -> int:
    """Serve until interrupted. Returns 0, or 2 for a wrong dial or a port that is taken."""
    parser = argparse.ArgumentParser(
        prog="python -m instruments.simulators",
        description="A simulated instrument that speaks its real protocol on loopback.",
        epilog=f"the dial is a JSON object of: {', '.join(FaultDial.names())}",
    )
    parser.add_argument("device", choices=sorted(DEVICES))
    parser.add_argument("--port", type=int)
    parser.add_argument(
        "--dial", type=json.loads, default={}, help='for instance \'{"seed": 1, "noise": 0.5, "drop": 0.01}\''
    )
    given = parser.parse_args(arguments)
    make, port = DEVICES[given.device]
    try:
        dial = FaultDial(**given.dial)
        with TcpServer(make(dial), dial, port=given.port if given.port is not None else port) as server:
            print(f"{given.device} on {server.host}:{server.port}", flush=True)
            threading.Event().wait()
    except KeyboardInterrupt:
        return 0
    except (LabError, TypeError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
