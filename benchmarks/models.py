"""How well and how fast the models of properties are: `athanor bench models accuracy|speed|device|shift`.

``accuracy`` trains on the public data that ``ATHANOR_DATA`` names and prints one table beside the published numbers;
``--only perov5,supercon`` chooses, ``--device cuda``, ``--budget-minutes`` bounds each training, ``--out`` keeps what
was trained (a run that was killed goes on). ``speed`` prints rates per CPU second of one core, and a peer's where it is
installed. ``device --device cuda``: structures a second there, and the share of its peak. ``shift``: whether 90 %
intervals hold after 50 results of a campaign that went where the model had not been (``--seeds``). Needs neither ray
nor the floors above ``models``.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from models.predictors.training import Order, train


@dataclass(frozen=True)
class Task:
    file: str
    target: str
    models: tuple[str, ...]
    goal: str
    published: str
    split: str | None = None
    where: tuple[str, ...] = ()
    metric: str = "mae"
    crude: str = ""


BLEND, GRAPHS = ("blend",), ("cgcnn", "blend-structure")
TASKS = {
    "perov5": Task(
        "structures/perov5.parquet", "heat_of_formation_all_refs_eV_per_cell",
        ("ward", "cgcnn", "alignn", "blend-structure"),
        "CGCNN 0.08", "CGCNN 0.0452 (of 15,100 rows)",
    ),
    "perov5-crude": Task(
        "structures/perov5.parquet", "heat_of_formation_all_refs_eV_per_cell", ("chgnet", "blend-chgnet"),
        "best 0.055", "ALIGNN 0.0288 (of 15,100 rows)", crude="chgnet",
    ),
    "mp20": Task("structures/mp20.parquet", "formation_energy_eV_per_atom", GRAPHS, "0.06", "none", "split"),
    "mp20-crude": Task(
        "structures/mp20.parquet", "formation_energy_eV_per_atom", ("chgnet",), "0.03", "none", "split", crude="chgnet"
    ),
    "phonons": Task(
        "structures/matbench_phonons.parquet", "last_phdos_peak_cm1", ("chgnet-phonons", "atomsets-chgnet"),
        "29", "MegNet 28.8", "official_matbench_test_fold",
    ),
    "supercon": Task("compositions/supercon.csv.gz", "Tc_K", ("supercon", "blend"), "4.7", "4.85"),
    "curie": Task(
        "compositions/curie_temperature.csv.gz", "curie_temperature_K", ("supercon", "blend"), "55", "about 50"
    ),
    "heusler": Task(
        "compositions/heusler_full.csv.gz", "formation_energy_eV_per_atom", ("heusler", "blend"), "0.05", "none"
    ),
    "melting": Task(
        "compositions/melting_binary.csv.gz", "melting_temperature_K", ("melting", "melting-gp"), "RMSE 260",
        "none", metric="rmse",
    ),
}  # fmt: skip
CRABNET = {  # task: Roost, CrabNet, ElemNet, RF
    "mp_mu_b": (2.51, 2.11, 2.69, 2.73),
    "mp_e_hull": (0.0938, 0.0886, 0.110, 0.126),
    "mp_bulk_modulus": (11.4, 11.2, 15.1, 14.4),
    "mp_shear_modulus": (12.8, 12.8, 15.1, 12.8),
    "aflow__ael_bulk_modulus_vrh": (8.82, 8.69, 12.1, 11.9),
    "aflow__ael_shear_modulus_vrh": (9.98, 9.08, 13.3, 10.1),
    "aflow__ael_debye_temperature": (37.2, 33.5, 45.7, 36.5),
    "aflow__agl_thermal_conductivity_300K": (2.70, 2.32, 3.32, 2.66),
    "aflow__agl_thermal_expansion_300K": (3.7e-6, 3.8e-6, 5.4e-6, 5.4e-6),
    "aflow__Egap": (0.337, 0.301, 0.372, 0.384),
    "aflow__energy_atom": (0.086, 0.093, 0.122, 0.224),
    "CritExam__Ef": (0.0547, 0.0593, 0.0706, 0.0997),
    "CritExam__Ed": (0.0669, 0.0632, 0.0787, 0.0759),
}
TASKS |= {
    name: Task(
        "compositions/crabnet_benchmarks.parquet", "value", ("roost", "blend"), f"{min(published):g}",
        " / ".join(f"{x:g}" for x in published), "split", (f"task={name}",),
    )
    for name, published in CRABNET.items()
}  # fmt: skip


def accuracy(arguments: argparse.Namespace) -> None:
    data = Path(os.environ["ATHANOR_DATA"])
    only = arguments.only.split(",") if arguments.only else list(TASKS)
    print("| data | model | error | 90 % interval holds | n | goal | published | members | minutes |")
    print("|---|---|---|---|---|---|---|---|---|", flush=True)
    for name in only:
        task = TASKS[name]
        for model in arguments.models.split(",") if arguments.models else task.models:
            out = arguments.out / f"{name}-{model}"
            if (out / "metrics.json").exists():
                metrics = json.loads((out / "metrics.json").read_text())
            else:
                budget = None if arguments.budget_minutes is None else 60 * arguments.budget_minutes
                order = Order(
                    model, data / task.file, (task.target,), out, split=task.split, where=task.where, crude=task.crude,
                    device=arguments.device, seed=arguments.seed, budget_s=budget, members=arguments.members,
                    epochs=arguments.epochs,
                )  # fmt: skip
                metrics = train(order)
            test = metrics["test"]
            print(
                f"| {name} | {model} | {task.metric.upper()} {test[task.metric]:.4g} "
                f"| {100 * test['coverage90']:.1f} % | {test['n']} | {task.goal} | {task.published} "
                f"| {metrics['members']} | {metrics['train_seconds'] / 60:.1f} |",
                flush=True,
            )


def speed(arguments: argparse.Namespace) -> None:
    from benchmarks.model_speed import table

    for line in table(Path(os.environ["ATHANOR_DATA"])):
        print(line, flush=True)


def device(arguments: argparse.Namespace) -> None:
    from benchmarks.model_device import table

    for line in table(Path(os.environ["ATHANOR_DATA"]), arguments.device):
        print(line, flush=True)


def shift(arguments: argparse.Namespace) -> None:
    from benchmarks.shift import table

    only = arguments.only.split(",") if arguments.only else None
    for line in table(Path(os.environ["ATHANOR_DATA"]), arguments.seeds, only):
        print(line, flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="athanor bench models", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("accuracy", "speed", "device", "shift"))
    parser.add_argument("--only", help=f"of {', '.join(TASKS)}")
    parser.add_argument("--models", help="instead of each task's own")
    parser.add_argument("--out", type=Path, default=Path("runs/models"))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=5, help="repetitions of `shift`")
    parser.add_argument("--members", type=int, default=5)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--budget-minutes", type=float)
    arguments = parser.parse_args(argv)
    if "ATHANOR_DATA" not in os.environ:
        parser.error("set ATHANOR_DATA to the folder of the public data (docs/data.md)")
    {"accuracy": accuracy, "speed": speed, "device": device, "shift": shift}[arguments.what](arguments)
    return 0


if __name__ == "__main__":
    sys.exit(main())
