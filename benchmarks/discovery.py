"""How many experiments the main job needs, against random search over the same space.

    python -m benchmarks.discovery [--seeds 10] [--budget 60] [--jobs 2] [--out DIR]

Both methods run the whole program (hosts, CURVE, journal, CHGNet physics) on campaigns/heusler-magnets.yaml and
differ in the acquisition alone; random search draws from the same screened candidates. The compute is local, since
Ray changes no decision (`athanor replay` shows it). Prints the figures of docs/benchmarks.md and writes curves.csv.
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from controller.rundir import RunDirectory
from controller.state import State
from controller.summary import is_feasible
from models.acquisition.hypervolume import hypervolume

ROOT = Path(__file__).resolve().parents[1]
CAMPAIGN = ROOT / "campaigns" / "heusler-magnets.yaml"
METHODS = {"athanor": "acquisition: {name: pareto, initial: 8}", "random": "acquisition: {name: random}"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--budget", type=int, default=60)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "discovery")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    cases = [(method, seed) for seed in range(arguments.seeds) for method in METHODS]
    with ThreadPoolExecutor(arguments.jobs) as pool:
        list(pool.map(lambda case: run(*case, arguments.budget, arguments.out), cases))
    tell(arguments.out, arguments.seeds, arguments.budget)


def run(method: str, seed: int, budget: int, out: Path) -> None:
    """Run one campaign, or leave it where it is finished already."""
    directory = out / f"{method}-{seed:02d}"
    text = CAMPAIGN.read_text()
    line = next(line for line in text.splitlines() if line.startswith("acquisition:"))
    text = text.replace(line, METHODS[method]).replace("backend: ray", "backend: local")
    if method == "random":
        text = text.replace("predictor: {name: ensemble}\n", "")
    file = out / f"{method}.yaml"
    file.write_text(text)
    command = [sys.executable, "-m", "controller.cli"]
    if RunDirectory(directory).exists():
        command += ["resume", str(directory)]
    else:
        command += ["run", str(file), "--dir", str(directory), "--seed", str(seed), "--budget", str(budget)]
    subprocess.run([*command, "--quiet", "--no-report"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    print(f"done: {directory.name}", flush=True)


def curves(state: State) -> tuple[np.ndarray, np.ndarray]:
    """Best feasible first objective, and hypervolume, after 1, 2, ... experiments in the order in which they ended."""
    campaign = state.require()
    signs = [o.sign for o in campaign.objectives]
    reference = [o.reference for o in campaign.objectives]
    best, volumes, values = [], [], []
    for observation in state.observations:
        if is_feasible(observation, campaign.objectives, campaign.constraints):
            values.append([observation.values[o.name] for o in campaign.objectives])
        first = [signs[0] * v[0] for v in values]
        best.append(max(first) if first else 0.0)
        volumes.append(hypervolume(np.array(values), reference, signs) if values else 0.0)
    return np.array(best), np.array(volumes)


def needed(curve: np.ndarray, target: float) -> float:
    """Experiments until the curve reaches the target; infinity where it does not."""
    reached = np.flatnonzero(curve >= target)
    return float(reached[0] + 1) if reached.size else float("inf")


def idle(state: State) -> float:
    """Idle fraction of the busiest instrument from the first start to the last end of its own work."""
    spans: dict[str, list[tuple[float, float]]] = {}
    for experiment in state.experiments.values():
        for record in experiment.records:
            spans.setdefault(record.instrument, []).append((record.start_s, record.finish_s))
    busiest = max(spans.values(), key=lambda s: sum(b - a for a, b in s))
    return 1 - sum(b - a for a, b in busiest) / (max(b for _, b in busiest) - min(a for a, _ in busiest))


def tell(out: Path, seeds: int, budget: int) -> None:
    """Print the figures and write the curves."""
    found = {m: [RunDirectory(out / f"{m}-{s:02d}").load() for s in range(seeds)] for m in METHODS}
    lines = {m: [curves(state) for state in states] for m, states in found.items()}
    with (out / "curves.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["method", "seed", "experiments", "best_T", "hypervolume"])
        for method, runs in lines.items():
            for seed, (best, volume) in enumerate(runs):
                writer.writerows([method, seed, n + 1, b, v] for n, (b, v) in enumerate(zip(best, volume, strict=True)))
    for index, name in enumerate(("best feasible saturation magnetisation, T", "hypervolume, T")):
        ours = np.array([run[index][-1] for run in lines["athanor"]])
        theirs = np.array([run[index][-1] for run in lines["random"]])
        targets = [("each random run's own", theirs), ("the mean random run's", np.full(seeds, theirs.mean()))]
        print(f"\n{name}, after {budget} experiments, {seeds} seeds")
        print(f"  athanor {ours.mean():.4g} (from {ours.min():.4g} to {ours.max():.4g})")
        print(f"  random  {theirs.mean():.4g} (from {theirs.min():.4g} to {theirs.max():.4g})")
        for label, target in targets:
            counts = np.array([needed(lines["athanor"][s][index], target[s]) for s in range(seeds)])
            ratios = budget / counts
            generator = np.random.default_rng(0)
            means = np.median(generator.choice(ratios, (4000, seeds)), axis=1)
            low, high = np.quantile(means, [0.05, 0.95])
            print(
                f"  experiments to reach {label} {budget}: median {np.median(counts):g} (worst {counts.max():g}), "
                f"{np.median(ratios):.1f} times fewer (90 % interval {low:.1f} to {high:.1f})"
            )
    print(f"\nidle fraction of the busiest instrument: {np.mean([idle(s) for s in found['athanor']]):.4f} on average")


if __name__ == "__main__":
    main()
