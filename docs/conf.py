"""The documentation site: `make docs`.

Three pages are made here, from the program itself: its commands, the keys of a scenario, and a gallery of what a small
run of the main scenario draws.
"""

from __future__ import annotations

import os
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

project, author = "vtrial", "the vtrial authors"
version = release = installed("vtrial")
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "numpydoc"]
html_show_copyright = False
html_theme = "furo"
html_title = f"vtrial {release}"
exclude_patterns = ["_build"]
myst_heading_anchors = 3
numpydoc_show_class_members = False
autodoc_typehints = "none"
# files of the repository beside the pages are no pages: scenarios, tests, reports
suppress_warnings = ["myst.xref_missing"]

MADE = Path(__file__).parent / "_made"
NOTICE = "Research software: not for dosing decisions in patients."


def commands() -> str:
    """Every command as it explains itself."""
    from typer.main import get_command
    from typer.testing import CliRunner

    from vtrial.cli import app

    runner, pages = CliRunner(env={"COLUMNS": "84", "NO_COLOR": "1", "TERM": "dumb"}), ["# Commands\n", f"{NOTICE}\n"]
    names = sorted(get_command(app).commands)  # type: ignore[attr-defined]
    for name in ("", *names):
        text = runner.invoke(app, [*([name] if name else []), "--help"], prog_name="vtrial").output
        pages.append(f"## vtrial {name}\n\n```text\n{text.strip()}\n```\n")
    return "\n".join(pages)


def keys() -> str:
    """Every key of a scenario file, from its JSON schema."""
    from vtrial.scenario import json_schema

    schema = json_schema()
    parts = [("scenario", schema), *sorted(schema["$defs"].items())]
    pages = [
        "# Keys of a scenario\n",
        "Made from the schema that `vtrial schema` prints. Amounts are written with units.\n",
    ]
    for name, part in parts:
        if "properties" not in part:
            continue
        pages.append(f"## {name}\n\n{part.get('description', '')}\n\n| key | what it is |\n|---|---|")
        needed = part.get("required", [])
        for key, own in part["properties"].items():
            told = " ".join(str(own.get("description", "")).split()).replace("|", "\\|")
            pages.append(f"| `{key}`{' (needed)' if key in needed else ''} | {told or _kind(own)} |")
        pages.append("")
    return "\n".join(pages)


def _kind(own: dict[str, Any]) -> str:
    """What a key without words takes: the name of its part, or its type."""
    found = own.get("$ref") or next((one["$ref"] for one in own.get("anyOf", []) if "$ref" in one), "")
    return found.rsplit("/", 1)[-1] or str(own.get("type", ""))


def gallery() -> str:
    """What a small run of the main scenario draws."""
    from vtrial import load_scenario, run
    from vtrial.library import SCENARIOS
    from vtrial.report.figures import draw_figures

    result = run(load_scenario(SCENARIOS / "starting_dose.yaml", size="small"))
    pages = ["# Gallery\n", "Drawn when this site was built, from a run too small to be quoted.\n"]
    for figure in draw_figures(result):
        (MADE / f"{figure.name}.svg").write_bytes(figure.svg)
        pages.append(
            f"## {figure.title}\n\n`vtrial figure RESULT {figure.name}`\n\n![{figure.title}]({figure.name}.svg)\n"
        )
        pages.append(f"{figure.caption}\n")
    return "\n".join(pages)


def make(app: Any) -> None:
    """Write the pages that are made."""
    MADE.mkdir(exist_ok=True)
    os.environ.setdefault("MPLBACKEND", "agg")
    for name, text in (("commands", commands()), ("keys", keys()), ("gallery", gallery())):
        (MADE / f"{name}.md").write_text(text, encoding="utf-8")


def setup(app: Any) -> None:
    """Have them made before anything is read."""
    app.connect("builder-inited", make)
