"""`python -m ablations`: run the paper's tables as DVC experiments, report them beside the paper's, and show all."""

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tabulate import tabulate

from ablations.plan import Plan, plan
from ablations.tables import Table, read_tables
from d2it.arguments import positive_float, positive_int, seconds
from d2it.errors import UserError
from d2it.files import write_text
from pipeline.root import find_root

if TYPE_CHECKING:
    from d2it.cost.rate import Rate

FIRST, MOST = 3, 8  # training seeds of `--until decided`


def main(arguments: list[str] | None = None) -> int:
    """Exit code: 0; 1 if an experiment has failed; 2 for a mistake that one line explains; 130 after Ctrl-C."""
    try:
        tables = read_tables()
        chosen = _parser(tables).parse_args(arguments)
        if chosen.command == "show":
            from ablations.show import show

            print(show(find_root(), chosen.all))
            return 0
        if chosen.command == "list":
            print(tabulate([(table.name, table.source) for table in tables.values()], tablefmt="plain"))
            return 0
        wanted = [*tables.values()] if chosen.table == "all" else [tables[chosen.table]]
        if chosen.command == "run":
            return _run(chosen, wanted, find_root())
        return _report(chosen, wanted, find_root())
    except UserError as error:
        print(error, file=sys.stderr)
        return 2


def _run(chosen: argparse.Namespace, tables: Sequence[Table], root: Path) -> int:
    from ablations.run import run_tables
    from d2it.cost.rate import assumed, given

    rate = given(chosen.rate) if chosen.rate else assumed()
    if chosen.until:
        return _run_until(chosen, tables, root, rate)
    if chosen.budget or chosen.max_seeds:
        raise UserError("--budget, --max-seeds: of --until decided alone")
    plans = [
        plan(table, root, chosen.preset, chosen.seeds, sampling_seeds=chosen.sampling_seeds or 1) for table in tables
    ]
    code = run_tables(plans, root, jobs=chosen.jobs, only=chosen.only, dry_run=chosen.dry_run, rate=rate)
    if not chosen.dry_run:
        _print_links(plans, root)
    return code


def _run_until(chosen: argparse.Namespace, tables: Sequence[Table], root: Path, rate: "Rate") -> int:
    from ablations.until import SequentialTable, Until

    first, most = chosen.seeds or FIRST, chosen.max_seeds or MOST
    if len(tables) > 1 or chosen.only:
        raise UserError("--until decided: of one table, and of all its settings")
    if not chosen.budget:
        raise UserError("--until decided: needs --budget, such as --budget 3h")
    if not 2 <= first <= most:
        raise UserError(f"--seeds {first} --max-seeds {most}: must be at least 2, and at most --max-seeds")
    asked = Until(first=first, most=most, sampling_seeds=chosen.sampling_seeds or 1, budget=chosen.budget,
                  jobs=chosen.jobs, rate=rate)  # fmt: skip
    table = SequentialTable(tables[0], root, chosen.preset, asked)
    code = table.run(chosen.dry_run)
    if not chosen.dry_run:
        _print_links([table.plan], root)
    return code


def _print_links(plans: list[Plan], root: Path) -> None:
    """Print where the pages are that compare what has been run."""
    from ablations import experiments
    from ablations.links import find_runs, keep_comparison

    known = experiments.known(experiments.done(root), tasks=())
    for plan_ in plans:
        runs = find_runs(root, [known[one.identity][0] for one in plan_.experiments if one.identity in known])
        if address := keep_comparison(root, plan_, runs):
            print(f"compare in MLflow (python -m tracking ui): {address}")
        print(f"its page: python -m ablations report {plan_.asked_for}")


def _report(chosen: argparse.Namespace, tables: Iterable[Table], root: Path) -> int:
    from ablations.findings import as_json, find
    from ablations.latex import latex
    from ablations.page import write
    from ablations.report import report

    all_findings = [
        find(table, root, chosen.preset, chosen.seeds, sampling_seeds=chosen.sampling_seeds) for table in tables
    ]
    if chosen.json:
        print(json.dumps([as_json(findings) for findings in all_findings], indent=1, ensure_ascii=False))
        return 0
    for findings in all_findings:
        tex = Path(chosen.to) / f"{findings.plan.table.name}.tex"
        print(*write(report(findings, root), Path(chosen.to)), tex, sep="\n", flush=True)
        write_text(tex, latex(findings))
    return 0


def _parser(names: Iterable[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m ablations", description=__doc__.partition(": ")[2])
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="the tables")
    run = commands.add_parser("run", help="run what is missing of a table; what exists is not run again")
    report = commands.add_parser("report", help="write a table's page with its verdicts, as Markdown, HTML and LaTeX, "
                                 "whatever of it is there")  # fmt: skip
    shown = commands.add_parser("show", help="all experiments: what differs from the workspace, and their numbers")
    shown.add_argument("--all", action="store_true", help="also those that started from other commits")
    for command in (run, report):
        command.add_argument("table", choices=[*names, "all"])
        command.add_argument("--preset", default="", help="of presets/; the table's own if not given, and for a report "
                             "the one that was run")  # fmt: skip
        command.add_argument("--seeds", type=positive_int, default=0, help="seeds 0 .. n - 1; 3 for most tables, 2 in "
                             "the demo, and for a report those that were run")  # fmt: skip
        command.add_argument("--sampling-seeds", type=positive_int, default=0, help="samplings of each model from "
                             "other noise (1), and for a report those that were run")  # fmt: skip
    run.add_argument("--until", choices=["decided"], help="add seeds where they decide most, until each pair of "
                     "settings is better or worse; --seeds are those of the first look")  # fmt: skip
    run.add_argument("--budget", type=seconds, default=0.0, help="of --until: of waiting, such as 3h or 45min; earlier "
                     "calls count")  # fmt: skip
    run.add_argument("--max-seeds", type=positive_int, default=0, help=f"of --until: of any setting ({MOST}); more "
                     "looks need stronger evidence")  # fmt: skip
    run.add_argument("--jobs", type=positive_int, default=1, help="experiments at a time (1)")
    run.add_argument("--only", action="append", default=[], metavar="SETTING",
                     help="its label, or an experiment's name")  # fmt: skip
    run.add_argument("--dry-run", action="store_true", help="print dvc's commands, run nothing")
    run.add_argument("--rate", type=positive_float, nargs="+", default=[], metavar="TFLOPS", help="TFLOP/s that a GPU "
                     "reaches, in bfloat16 and, if another, in float32 (40% of an H100's)")  # fmt: skip
    report.add_argument("--json", action="store_true", help="print numbers, pairs and verdicts instead, write nothing")
    report.add_argument("--to", default="reports", help="folder of the pages (reports)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
