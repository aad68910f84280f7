"""The page: tiles, charts, tables, and how to do it all again. It loads nothing."""

from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files
from statistics import pstdev

import yaml

from tuning.ledger import Trial, TrialState
from tuning.reporting.charts import (
    MOST_LINES,
    history,
    importance_bars,
    parallel_coordinates,
)
from tuning.reporting.effort import Effort, effort
from tuning.reporting.facts import Facts
from tuning.reporting.figures import (
    confusion,
    fold_spread,
    learning_curves,
    residuals,
    timeline,
)
from tuning.reporting.importance import importances
from tuning.reporting.pareto import pareto_section
from tuning.reporting.svg import color, counted, number, seconds

MOST_ROWS = 500
"""Trials in the table."""

POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
"""What the page may load: nothing, from nowhere."""

DOTS = (
    '<div class="legend"><span><i class="won"></i>winner</span><span><i></i>complete</span>'
    '<span><i class="broken"></i>breaks a constraint</span>'
    '<span><i class="pruned"></i>stopped early</span>'
    '<span><i class="failed"></i>failed</span></div>'
)


def render(facts: Facts) -> str:
    """Write the page about a sweep."""
    cost = effort(facts)
    shares = importances(
        [trial.params for trial in facts.complete], [facts.score(each) for each in facts.complete]
    )
    sections = [
        _section("Optimization history", _HISTORY, history(facts) + DOTS, wide=True),
        *_pareto(facts),
        _section("Parallel coordinates", _PARALLEL, _with_ramp(facts), wide=True),
        _section("Parameter importance", _IMPORTANCE, importance_bars(shares)),
        _section("Spread over the folds", _SPREAD, fold_spread(facts)),
        _section("Learning curves", _CURVES, learning_curves(facts)),
        _section("Early stopping and resources", _resources(facts, cost), timeline(facts)),
        _section("Hold-out", _HOLDOUT, _holdout(facts), wide=False),
        _section("Reproduce", _REPRODUCE, _reproduce(facts)),
        _section("Trials", f"{len(facts.trials)} in all.", _trials(facts), wide=True),
    ]
    name = escape(facts.spec.name)
    return "".join(
        (
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{name} · Rayfleet sweep</title><style>{_resource('style.css')}</style></head>",
            f"<body><main>{_header(facts)}{_tiles(facts, cost)}",
            f'<div class="grid">{"".join(sections)}</div>{_footer(facts)}',
            f'</main><div id="tip" role="tooltip"></div><script>{_resource("page.js")}</script>',
            "</body></html>\n",
        )
    )


_HISTORY = (
    "Each trial's mean over the folds in its turn, and the best so far that keeps the constraints."
)
_PARETO = "Trials that no other beats in every objective; the best in {} of them wins."
_PARALLEL = "Each complete trial is a line through its parameters to its score."
_IMPORTANCE = (
    "How much worse a random forest guesses the score once a parameter is shuffled; shares."
)
_SPREAD = "Best trials; a dot is a fold, a stroke their mean."
_CURVES = (
    "The mean so far, report by report; a ring is where a trial was stopped. Of more than "
    f"{MOST_LINES} trials every second, third and so on, and the winner."
)
_AGAIN = (
    "The spec below is what the file says that the command names. A plus behind the commit: files "
    "had been changed, and how is not kept."
)
_HOLDOUT = "Rows that no fold saw, scored once by the winner, fitted on all training rows."
_RESIDUALS = "Residuals: measured less predicted, against predicted; a dot is a row."
_REPRODUCE = "What it ran on, and the commands that do it again."


def _header(facts: Facts) -> str:
    outcome, ending, spec = facts.outcome, facts.ending, facts.spec
    badge = ""
    if outcome is not None:
        words = f"{outcome.model} version {outcome.version} @{outcome.alias}"
        badge = f'<span class="badge">{escape(words)}</span>'
    elif ending is not None and ending.refused:
        badge = '<span class="badge refused">not registered</span>'
    obstacle = _obstacle(facts)
    refused = f"<p>{escape(obstacle)}</p>" if obstacle else ""
    return (
        f"<header><h1>{escape(spec.name)}{badge}</h1><p>{escape(spec.trainer)} · "
        f"{escape(spec.metric)} ({spec.mode}) · {spec.folds.n_folds} folds · "
        f"{escape(spec.searcher.kind)} · {escape(spec.scheduler.kind)}</p>{refused}</header>"
    )


def _obstacle(facts: Facts) -> str | None:
    """Say why there is no version, where that can be told."""
    if facts.ending is not None and facts.ending.refused:
        return facts.ending.refused
    if facts.ending is not None and not facts.complete:
        return f"None of {counted(len(facts.trials), 'trial')} completed."
    if facts.winner is None and facts.complete:
        count, bounds = counted(len(facts.complete), "completed trial"), facts.spec.constraints
        return f"None of {count} keeps to {', '.join(bounds)}."
    return None


def _tiles(facts: Facts, cost: Effort) -> str:
    spec, winner = facts.spec, facts.winner
    tiles = []
    if winner is not None:
        scores = facts.scores(winner)
        tiles.append((f"{facts.score(winner):.4f}", f"{spec.metric}, cross-validated",
                      f"± {pstdev(scores):.4f} over {len(scores)} folds"))  # fmt: skip
        tiles.append((f"trial {winner.number}", "winner", f"of {len(facts.trials)} trials"))
    if facts.ending is not None and spec.metric in facts.ending.holdout:
        tiles.append((f"{facts.ending.holdout[spec.metric]:.4f}", f"{spec.metric}, hold-out",
                      f"{facts.ending.rows[1]} rows"))  # fmt: skip
    stopped = f"{counted(cost.stopped, 'trial')} stopped, about {seconds(cost.spared_s)}"
    tiles.append((f"{cost.spared_share:.0%}", "spared by early stopping", stopped))
    tiles.append((seconds(cost.wall_s), "wall time",
                  f"{cost.at_once:.1f} trials at once, {seconds(cost.cpu_s)} of CPU"))  # fmt: skip
    inner = "".join(
        f'<div class="tile"><span>{escape(label)}</span><b>{escape(value)}</b>'
        f"<small>{escape(more)}</small></div>"
        for value, label, more in tiles
    )
    return f'<div class="tiles">{inner}</div>'


def _section(title: str, words: str, inner: str, *, wide: bool = False) -> str:
    shown = inner or '<div class="none">Too few trials, or nothing to compare.</div>'
    kind = ' class="wide"' if wide else ""
    return f"<section{kind}><h2>{title}</h2><p>{escape(words)}</p>{shown}</section>"


def _pareto(facts: Facts) -> list[str]:
    if not facts.spec.objectives:
        return []
    words = _PARETO.format(facts.spec.metric)
    return [_section("Pareto set", words, pareto_section(facts), wide=True)]


def _with_ramp(facts: Facts) -> str:
    drawn = parallel_coordinates(facts)
    if not drawn:
        return ""
    stops = ", ".join(color(step / 7) for step in range(8))
    return (
        f'{drawn}<div class="legend"><span>worst<span class="ramp" '
        f'style="background: linear-gradient(90deg, {stops})"></span>best</span>'
        '<span><i class="won"></i>winner</span></div>'
    )


def _resources(facts: Facts, cost: Effort) -> str:
    gpu = f", {seconds(cost.gpu_s)} of GPU" if cost.gpu_s else ""
    whole = cost.reports_done + cost.reports_spared
    spared = (
        f"Of {counted(len(facts.trials), 'trial')}, {cost.stopped} stopped early: "
        f"{cost.reports_spared} of {whole} reports not made, about "
        f"{seconds(cost.spared_s)} spared. "
        if cost.stopped
        else "No trial was stopped early. "
    )
    return f"{spared}{seconds(cost.busy_s)} of trials, {seconds(cost.cpu_s)} of CPU{gpu}."


def _holdout(facts: Facts) -> str:
    ending = facts.ending
    if ending is None or not ending.holdout:
        return '<div class="none">The winner was not fitted.</div>'
    rows = "".join(
        f"<tr><th>{escape(name)}</th><td>{value:.4f}</td></tr>"
        for name, value in ending.holdout.items()
    )
    drawn = confusion(ending.confusion, ending.classes) if ending.confusion else ""
    if ending.predictions:
        drawn = f"<p>{_RESIDUALS}</p>{residuals(ending.predictions)}"
    return f'{drawn}<table class="facts"><tbody>{rows}</tbody></table>'


def _reproduce(facts: Facts) -> str:
    ending = facts.ending
    rows = [("data", facts.manifest.data_sha256), ("sweep id", facts.manifest.sweep_id)]
    commands = ""
    if ending is not None:
        rows[1:1] = [
            ("rows", f"{ending.rows[0]} training, {ending.rows[1]} hold-out"),
            ("columns", str(ending.columns)),
            ("code", ending.commit or "not a git repository"),
            ("seed", f"{facts.spec.seed}, folds {facts.spec.folds.seed}"),
            ("versions", ", ".join(f"{name} {each}" for name, each in ending.versions.items())),
            ("MLflow run", ending.sweep_run_id),
        ]
        again = f"git checkout {ending.commit.rstrip('+')}\n" if ending.commit else ""
        again += f"{ending.command}\n"
        if ending.trial_run_id:
            again += f"python -m tuning reproduce {ending.trial_run_id}\n"
        commands = f"<pre>{escape(again)}</pre><div>{_AGAIN}</div>"
    table = "".join(
        f'<tr><th>{label}</th><td class="hash">{escape(value)}</td></tr>' for label, value in rows
    )
    spec = yaml.safe_dump(facts.spec.model_dump(mode="json", by_alias=True), sort_keys=False)
    return (
        f'<table class="facts"><tbody>{table}</tbody></table>{commands}'
        f"<details><summary>The whole spec</summary><pre>{escape(spec)}</pre></details>"
    )


def _trials(facts: Facts) -> str:
    best = [each.number for each in facts.complete]
    order = {name: index for index, name in enumerate(best)}
    trials = sorted(facts.trials, key=lambda each: (order.get(each.number, len(best)), each.number))
    names = list(dict.fromkeys(name for trial in trials for name in trial.params))
    further = facts.further_metrics
    heads = ["trial", "state", facts.spec.metric, "± std", *further, "reports", "took", *names]
    head = "".join(f"<th>{escape(each)}</th>" for each in heads)
    body = "".join(_row(facts, trial, names) for trial in trials[:MOST_ROWS])
    more = len(trials) - MOST_ROWS
    rest = f'<div class="none">{more} more are in MLflow.</div>' if more > 0 else ""
    return (
        f'<div class="scroll"><table class="sortable"><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>{rest}"
    )


def _row(facts: Facts, trial: Trial, names: Sequence[str]) -> str:
    won = facts.winner is not None and trial.number == facts.winner.number
    score, spread = "", ""
    if trial.state is TrialState.COMPLETE:
        score, spread = f"{facts.score(trial):.4f}", f"{pstdev(facts.scores(trial)):.4f}"
    elif trial.reports:
        score = f"{trial.reports[-1].mean:.4f}"
    took = trial.ended_at_s - trial.started_at_s if trial.ended_at_s is not None else 0.0
    made = trial.reports[-1].progress if trial.reports else 0
    broken = "".join(f", breaks {each.text}" for each in facts.broken(trial))
    further = [facts.value(trial, name) for name in facts.further_metrics]
    cells: Iterable[str] = (
        str(trial.number),
        {"pruned": "stopped early"}.get(trial.state, str(trial.state)) + broken,
        score,
        spread,
        *("" if value is None else number(value) for value in further),
        f"{made} of {facts.spec.n_reports}",
        f"{took:.2f} s",
        *(_value(trial.params.get(name, "")) for name in names),
    )
    error = (trial.error or "").strip().rpartition("\n")[2]
    tip = f' data-tip="{escape(error, quote=True)}"' if error else ""
    kind = ' class="won"' if won else ""
    return f"<tr{kind}{tip}>{''.join(f'<td>{escape(each)}</td>' for each in cells)}</tr>"


def _value(value: object) -> str:
    return number(value) if isinstance(value, float) else str(value)


def _footer(facts: Facts) -> str:
    version = facts.ending.versions.get("rayfleet", "") if facts.ending is not None else ""
    return f"<footer>Made by Rayfleet {escape(version)}. This page loads nothing.</footer>"


def _resource(name: str) -> str:
    return files("tuning.reporting").joinpath(name).read_text(encoding="utf-8")
