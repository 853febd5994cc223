"""Commands that read: phases out of a diffraction pattern, recipes out of a paper."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from controller.errors import CampaignError


def add_knowledge_commands(commands: Any, add: Callable[..., Any]) -> None:
    """Add ``phases`` and ``extract`` to the parser."""
    example = "athanor phases pattern.xy --elements Ti,Zn,O --json"
    phases = add(commands, "phases", _phases, "identify and weigh the phases of a powder pattern", example)
    phases.add_argument("pattern", type=Path, metavar="PATTERN", help=".xy, .xye, .csv, .json; .jsonl: one a line")
    phases.add_argument("--elements", required=True, metavar="Ti,O,...", help="all that the powder may hold")
    phases.add_argument("--references", type=Path, metavar="FOLDER", help="structures; default: ATHANOR_DATA, if set")
    phases.add_argument("--wavelength", metavar="λ", help="anode (Cu, Co, Mo, ...) or Å; default: the file's, or Cu")
    phases.add_argument("--json", action="store_true", help="one object a pattern for programs")

    about = "read the recipe in a synthesis paragraph"
    extract = add(commands, "extract", _extract, about, "athanor extract paragraph.txt --json")
    extract.add_argument("file", type=Path, metavar="FILE", help="text; with --spans: JSON lines with `id` and `text`")
    extract.add_argument("--spans", action="store_true", help="print labelled spans, one object a line")
    extract.add_argument("--json", action="store_true", help="one object for programs")


def _phases(arguments: Any) -> int:
    from models.characterization import analyse, read_patterns
    from models.errors import ModelError

    elements = [e for e in arguments.elements.replace(",", " ").split() if e]
    try:
        for pattern in read_patterns(arguments.pattern):
            found = analyse(pattern, elements, references=arguments.references, wavelength=arguments.wavelength)
            _tell_phases(pattern.name, found, as_json=arguments.json)
    except ModelError as error:
        raise CampaignError(str(error)) from error
    return 0


def _tell_phases(name: str, found: Any, *, as_json: bool) -> None:
    rows = [
        {
            "formula": p.formula,
            "space_group": p.space_group,
            "name": p.name,
            "weight_fraction": round(p.weight_fraction, 5),
            "std": round(p.std, 5),
        }
        for p in found.phases
    ]
    if as_json:
        print(json.dumps({"name": name, "phases": rows, "r_wp": round(found.r_wp, 5)}), flush=True)
        return
    if name:
        print(name)
    for row in rows:
        share = f"{100 * row['weight_fraction']:6.1f} ± {100 * row['std']:.1f} %"
        print(f"{share}  {row['formula']:<12} {row['space_group']:<10} {row['name']}".rstrip())
    print(f"R_wp {100 * found.r_wp:.1f} %" if rows else "no reference explains the pattern", flush=True)


def _extract(arguments: Any) -> int:
    from models.errors import ModelError

    try:
        text = arguments.file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CampaignError(f"cannot read {arguments.file}: {error}") from error
    try:
        if arguments.spans:
            _tell_spans(text, arguments.file)
        else:
            _tell_recipe(text, as_json=arguments.json)
    except ModelError as error:
        raise CampaignError(str(error)) from error
    return 0


def _tell_spans(lines: str, file: Path) -> None:
    from models.knowledge.recipes import extract_spans

    for number, line in enumerate(lines.splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            identity, text = row["id"], row["text"]
        except (ValueError, KeyError, TypeError):
            raise CampaignError(f"{file}, line {number}: not an object with `id` and `text`") from None
        if not isinstance(text, str):
            raise CampaignError(f"{file}, line {number}: `text` must be a string")
        spans = [{"start": s.start, "end": s.end, "label": s.label} for s in extract_spans(text)]
        print(json.dumps({"id": identity, "spans": spans}), flush=True)


def _tell_recipe(text: str, *, as_json: bool) -> None:
    from models.knowledge.recipes import extract_recipe, routes_of

    recipe = extract_recipe(text)
    routes = routes_of(recipe)
    if as_json:
        steps = [
            {
                "action": s.action,
                "text": s.text,
                "temperature_C": s.temperature_C,
                "hours": s.hours,
                "atmosphere": s.atmosphere,
            }
            for s in recipe.steps
        ]
        told = {
            "targets": recipe.targets,
            "precursors": recipe.precursors,
            "materials": recipe.others,
            "amounts": recipe.amounts,
            "steps": steps,
            "routes": [r.model_dump(mode="json") for r in routes],
        }
        print(json.dumps(told))
        return
    if not routes:
        print("athanor: no synthesis was found in the text", file=sys.stderr)
    for route in routes:
        print(route.reason)
    for n, step in enumerate(recipe.steps, 1):
        conditions = []
        if step.temperature_C:
            conditions.append("-".join(f"{t:.0f}" for t in dict.fromkeys(step.temperature_C)) + " °C")
        if step.hours:
            conditions.append("-".join(f"{h:g}" for h in dict.fromkeys(step.hours)) + " h")
        if step.atmosphere:
            conditions.append(f"in {step.atmosphere}")
        print(f"{n:3d}. {step.action:<8} {', '.join(conditions)}".rstrip())
