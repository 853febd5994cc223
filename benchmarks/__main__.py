"""`make bench`: every benchmark, one after the other; each is a command too, ``python -m benchmarks.NAME --help``."""

import subprocess
import sys

SCRIPTS = ("overhead", "fault_table", "discovery")

for name in SCRIPTS:
    print(f"\n== {name} ==", flush=True)
    subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=True)
