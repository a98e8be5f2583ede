"""A metric's verdicts on a page: estimates as a picture, each pair with its error, and what the seeds' spread is of."""

from collections.abc import Sequence

from ablations.chart import Estimate, interval_chart
from ablations.findings import Finding
from ablations.page import Block, Picture, pipe_table, plain
from ablations.plan import slug
from ablations.standing import Standing
from ablations.summary import NO_BREAK, number
from ablations.variance import spread
from ablations.verdict import Pair, Rule, by_seed

SHOWN = 45  # pairs, all of ten settings; of more those that are decided


def verdict_blocks(finding: Finding, rule: Rule) -> list[Block]:
    """Empty where no setting has two seeds."""
    decidable = [pair for pair in finding.pairs if len(pair.differences) > 1]
    if not decidable:
        return []
    decided = [pair for pair in decidable if pair.verdict != "inconclusive"]
    shown = decidable if len(decidable) <= SHOWN else decided
    mean = max(abs(one.mean) for one in finding.summaries if one)
    rows = [_row(finding, pair, mean) for pair in shown]
    heads = ["pair", "difference", "p", "verdict", "could have seen", "the paper"]
    blocks: list[Block] = [_picture(finding)]
    if rows:
        blocks.append(pipe_table(heads, rows))
    return [*blocks, _in_words(finding, decidable, rule)]


def seeds_block(finding: Finding, standings: Sequence[Standing]) -> list[Block]:
    """Which seeds make the spread: of each setting where they vary different streams, else of all together."""
    if len({one.row.setting.varies for one in standings}) > 1:
        return _by_stream(finding, standings)
    training, sampling = spread(finding.values)
    if training is None or sampling is None or finding.metric.lower_is_better is None:
        return []
    total = training**2 + sampling**2
    shares = f"{training**2 / total:.0%} and {sampling**2 / total:.0%} of the variance" if total else "both none"
    return [
        f"Which seeds matter: single runs spread by {number(training)} over training seeds and by {number(sampling)} "
        f"over samplings of one model, {shares}."
    ]


def _by_stream(finding: Finding, standings: Sequence[Standing]) -> list[Block]:
    """Each setting's spread beside that of the one in which all streams of a training vary."""
    spreads = [
        (one.row.label, one.row.setting.varies, summary.spread)
        for one, summary in zip(standings, finding.summaries, strict=True)
        if summary is not None and summary.spread is not None
    ]
    whole = next((deviation for _, varies, deviation in spreads if varies == "seed"), 0.0)
    rows = [
        (plain(label), f"`{varies}`", number(deviation), f"{(deviation / whole) ** 2:.0%}" if whole else "")
        for label, varies, deviation in spreads
    ]
    heads = ("what varies alone", "key", "standard deviation", "its variance beside that of all")
    return [pipe_table(heads, rows)] if rows else []


def _picture(finding: Finding) -> Picture:
    estimates = [
        Estimate(label, summary.mean, finding.half_width(place), [*by_seed(values).values()])
        for place, (label, summary, values) in enumerate(
            zip(finding.labels, finding.summaries, finding.values, strict=True)
        )
        if summary is not None
    ]
    caption = f"{finding.name}: mean and its 95 % interval over training seeds (rings), each setting by itself"
    return Picture(f"estimates-{slug(finding.name)}.svg", interval_chart(estimates, finding.name), caption)


def _row(finding: Finding, pair: Pair, like: float) -> tuple[str, ...]:
    first, second = finding.labels[pair.first], finding.labels[pair.second]
    sign = "−" if pair.difference < 0 else "+"
    difference = f"{sign}{number(abs(pair.difference), like)}{NO_BREAK}±{NO_BREAK}{number(pair.half_width, like)}"
    words = {
        "better": f"**{plain(first)}** is better",
        "worse": f"**{plain(second)}** is better",
        "inconclusive": f"inconclusive: {pair.why}",
    }
    return (
        f"{plain(first)} against {plain(second)}",
        f"{difference} ({sign}{abs(pair.relative):.1%})",
        "< 0.001" if pair.p < 0.001 else f"{pair.p:.3f}",
        words[pair.verdict],
        number(pair.detectable, like),
        finding.agreement(pair),
    )


def _in_words(finding: Finding, pairs: Sequence[Pair], rule: Rule) -> str:
    decided = sum(pair.verdict != "inconclusive" for pair in pairs)
    agreements = [finding.agreement(pair) for pair in pairs]
    looks = f", which was looked at up to {rule.looks} times" if rule.looks > 1 else ""
    text = (
        f"Decided: {decided} of {len(pairs)} {'pair' if len(pairs) == 1 else 'pairs'}, wrong about any with a chance "
        f"of at most {rule.alpha:.0%} in this table{looks}; differences below {rule.floor:.1%} decide nothing "
        "(docs/verdicts.md)."
    )
    ranked = [one for one in agreements if one]
    if ranked:
        counts = ", ".join(f"{word} in {ranked.count(word)}" for word in ("agrees", "contradicts", "cannot tell"))
        text += f" With the paper's order it {counts} of {len(ranked)}."
    return text
