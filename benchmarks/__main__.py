"""`make bench`: every benchmark, one after the other; each is a command too, ``python -m benchmarks.NAME --help``."""

import subprocess
import sys

SCRIPTS = ("overhead", "network", "fault_table", "makespan", "deciding", "discovery")

for name in SCRIPTS:
    print(f"\n== {name} ==", flush=True)
    subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=True)
