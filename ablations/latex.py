"""A table as one LaTeX table, for booktabs: ours beside the paper's."""

import re
from collections.abc import Sequence

from ablations.findings import Finding, TableFindings
from ablations.summary import Summary, best, number

UNDECIDED = r"$^\dagger$"
ESCAPED = {
    "\\": r"\textbackslash{}",
    "²": r"$^2$",
    "±": r"$\pm$",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
}


def latex(table: TableFindings) -> str:
    """One row per setting; bold: the best; a dagger: not decided against the best."""
    heads, columns = ["setting"], [[escaped(label) for label in table.metrics[0].labels]]
    for finding in table.metrics:
        arrow = {None: "", True: r" $\downarrow$", False: r" $\uparrow$"}[finding.metric.lower_is_better]
        heads.append(escaped(finding.name) + arrow)
        columns.append(_ours(finding))
        if any(value is not None for value in finding.paper):
            heads.append("paper")
            columns.append(["" if value is None else f"{value:g}" for value in finding.paper])
    rows = [" & ".join(cells) + r" \\" for cells in zip(*columns, strict=True)]
    seeds = _count(table.plan.seeds, "training seed")
    samplings = _count(table.plan.sampling_seeds, "sampling seed")
    caption = (
        f"{escaped(table.plan.table.title)}, preset {escaped(table.plan.base)}: mean $\\pm$ standard deviation over "
        f"{seeds} with {samplings} each. Bold: the best; "
        f"{UNDECIDED}: not decided against it (paired $t$-test, Holm, {_percent(table.rule.alpha)}; floor "
        f"{_percent(table.rule.floor)})."
    )
    return "\n".join([
        r"\begin{table}", r"  \centering", rf"  \caption{{{caption}}}",
        rf"  \begin{{tabular}}{{l{'r' * (len(heads) - 1)}}}", r"    \toprule", f"    {' & '.join(heads)} \\\\",
        r"    \midrule", *(f"    {row}" for row in rows), r"    \bottomrule", r"  \end{tabular}", r"\end{table}", "",
    ])  # fmt: skip


def escaped(text: str) -> str:
    """Text that LaTeX prints as it is."""
    return re.sub(r"[\\&%$#_{}~^²±]", lambda one: ESCAPED.get(one[0], f"\\{one[0]}"), text)


def _ours(finding: Finding) -> list[str]:
    summaries = finding.summaries
    top = best([one.mean if one else None for one in summaries], finding.metric.lower_is_better)
    open_ = set(_not_decided_against(finding, summaries, top))
    cells = []
    for place, summary in enumerate(summaries):
        if summary is None:
            cells.append("--")
            continue
        spread = "" if summary.spread is None else f" $\\pm$ {number(summary.spread, summary.mean)}"
        text = number(summary.mean)
        cells.append((rf"\textbf{{{text}}}" if summary.mean == top else text) + spread + UNDECIDED * (place in open_))
    return cells


def _not_decided_against(finding: Finding, summaries: Sequence[Summary | None], top: float | None) -> list[int]:
    """Places of settings whose pair with the best has no verdict."""
    places = [place for place, one in enumerate(summaries) if one is not None and one.mean == top]
    return [
        pair.second if pair.first in places else pair.first
        for pair in finding.pairs
        if pair.verdict == "inconclusive" and (pair.first in places) != (pair.second in places)
    ]


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _percent(share: float) -> str:
    return rf"{100 * share:g}\,\%"
