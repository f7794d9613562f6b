"""`gorkflow runs diff`: the differences of two runs in definition, values and steps."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import click

from gorkflow import events as ev
from gorkflow._text import span_of
from gorkflow.cli._app import Command, json_option, store_option
from gorkflow.cli._named import find_run, run_argument
from gorkflow.cli._output import ExitCode, indented, json_text, one_line, put, table
from gorkflow.cli._target import opened
from gorkflow.codec import views
from gorkflow.engine import _json
from gorkflow.flow import NodeSpec, WorkflowSpec, undone_path, walk
from gorkflow.model import Failure, Run, StepExecution

Json = dict[str, Any]


class Side(NamedTuple):
    """One of the two runs."""

    run: Run
    tree: WorkflowSpec
    steps: dict[str, StepExecution]
    """With their secrets, to be compared: two secrets look the same."""
    shown: dict[str, StepExecution]
    """The steps without secrets."""
    kept: frozenset[str]
    """The paths of the steps that it did not run, because it is a rerun."""
    verdicts: dict[str, ev.BlockDecided]
    with_secrets: _json.Record
    """As the steps: to be compared."""


@click.command("diff", cls=Command, example=("gorkflow runs diff RUN_ID OTHER_RUN_ID",))
@run_argument("run_a", metavar="A")
@run_argument("run_b", metavar="B")
@store_option
@json_option
@click.pass_context
def diff_command(
    ctx: click.Context, *, run_a: str, run_b: str, store: str | None, as_json: bool
) -> None:
    """Show what differs between two runs: definition, input, steps, verdicts, output.

    The exit code is 0 where nothing does, and 1 where something does. How long steps took is shown,
    but makes no difference; nor does whether a step ran, or a rerun kept its result.
    """

    async def look() -> tuple[Side, Side]:
        async with opened(store) as reader:
            return (
                _side(await _json.record(reader, await find_run(reader, run_a))),
                _side(await _json.record(reader, await find_run(reader, run_b))),
            )

    a, b = asyncio.run(look())
    body = compare(a, b)
    put(json_text(body, short=None) if as_json else "\n".join(_text(body)))
    ctx.exit(ExitCode.OK if body["same"] else ExitCode.DIFFERENT)


def _side(found: _json.Record) -> Side:
    kept = (event.path for event in found.events if isinstance(event, ev.ResultKept))
    decided = (event for event in found.events if isinstance(event, ev.BlockDecided))
    bare = _json.with_secrets(found)
    return Side(
        run=found.run,
        tree=found.tree,
        steps={step.path: step for step in bare.steps},
        shown={step.path: step for step in found.steps},
        kept=frozenset(kept),
        verdicts={event.path: event for event in decided},
        with_secrets=bare,
    )


# ---- what differs -----------------------------------------------------------------------------


def compare(a: Side, b: Side) -> Json:
    """Return what differs, as JSON data.

    Times and workers always differ, so they don't count. Nor does it matter whether a step
    ran, or a rerun kept its result.
    """
    pairs = [(path, a.steps.get(path), b.steps.get(path)) for path in _both(a.steps, b.steps)]
    undone = _undone(pairs)
    alone = {path for side in undone.values() for path in side}
    steps = [_step(path, one, other, a, b) for path, one, other in pairs if path not in alone]
    different = [step for step in steps if step["differs"]]
    body: Json = {
        "a": _run(a.run),
        "b": _run(b.run),
        "definition": _definition(a, b),
        "input": _pair("input", a, b),
        "output": _pair("output", a, b),
        "state": _pair("state", a, b),
        "steps": different,
        "undone": undone if alone else None,
        "same_steps": len(steps) - len(different),
        "kept_steps": sum(1 for step in steps if step["kept"]),
        "verdicts": _verdicts(a, b),
    }
    same_run = all(body["a"][name] == body["b"][name] for name in ("workflow_id", "status"))
    compared = ("definition", "input", "output", "state", "undone", "verdicts")
    found = (body[name] for name in compared)
    return {"same": same_run and not different and not any(found), **body}


def _undone(
    pairs: Iterable[tuple[str, StepExecution | None, StepExecution | None]],
) -> dict[str, list[str]]:
    """Return the undo steps that only one run had; the other had nothing to undo there."""
    undo = [pair for pair in pairs if undone_path(pair[0]) is not None]
    return {
        "a": [path for path, _, other in undo if other is None],
        "b": [path for path, one, _ in undo if one is None],
    }


def _both(a: Mapping[str, Any], b: Mapping[str, Any]) -> Iterable[str]:
    return dict.fromkeys((*a, *b))


def _run(run: Run) -> Json:
    took = None
    if run.started_at is not None and run.finished_at is not None:
        took = (run.finished_at - run.started_at).total_seconds()
    names = ("run_id", "workflow_id", "workflow_version", "status", "reason", "origin", "from_step")
    return {**{name: _json.to_json(getattr(run, name)) for name in names}, "took": took}


def _pair(name: str, a: Side, b: Side) -> Json | None:
    one, other = (_json.to_json(getattr(each.with_secrets.run, name)) for each in (a, b))
    if one == other and type(one) is type(other):
        return None
    return {
        "a": _json.to_json(getattr(a.run, name)),
        "b": _json.to_json(getattr(b.run, name)),
    }


def _definition(a: Side, b: Side) -> list[Json]:
    """Return the nodes that only one has, and the options that differ."""
    trees = a.with_secrets.tree, b.with_secrets.tree
    if trees[0] == trees[1]:
        return []
    bare_a, bare_b = map(_nodes, trees)
    nodes_a, nodes_b = _nodes(a.tree), _nodes(b.tree)
    found: list[Json] = []
    for path in _both(nodes_a, nodes_b):
        one, other = _options(bare_a.get(path)), _options(bare_b.get(path))
        if not one or not other:
            found.append({"path": path, "only": "a" if one else "b"})
            continue
        shown_a, shown_b = _options(nodes_a.get(path)), _options(nodes_b.get(path))
        for name in _both(one, other):
            if one.get(name) != other.get(name):
                tell = _failure_text if name == "failure" else _as_it_is
                pair = {"a": tell(shown_a.get(name)), "b": tell(shown_b.get(name))}
                found.append({"path": path, "option": name, **pair})
    return found


def _nodes(tree: WorkflowSpec) -> dict[str, NodeSpec]:
    return {"": tree, **dict(walk(tree))}


def _options(node: NodeSpec | None) -> Json:
    """Return what a node says of itself; of those inside it only which they are, in order."""
    if node is None:
        return {}
    inside = {"nodes", "branches", "arms", "otherwise"}
    own = {name: getattr(node, name) for name in node.__struct_fields__}
    if "settings" in own:
        own["settings"] = views(dict(own["settings"]))
    plain = {name: _json.to_json(value) for name, value in own.items() if name not in inside}
    if "arms" in own:
        plain["conditions"] = [[arm.condition, arm.timeout] for arm in own["arms"]]
    ids = [child.id for child in node.children()]
    return {"kind": node.kind, **plain, **({"nodes": ids} if ids else {})}


def _step(
    path: str, a: StepExecution | None, b: StepExecution | None, side_a: Side, side_b: Side
) -> Json:
    kept_a, kept_b = path in side_a.kept, path in side_b.kept
    one, other = _told(a, kept=kept_a), _told(b, kept=kept_b)
    names = ["status", "output", "failure"]
    if not (kept_a or kept_b):  # what is kept took no attempt
        names.append("attempts")
    if one is None or other is None:
        differs = ["status"]
    else:
        differs = [name for name in names if one[name] != other[name]]
    one, other = (
        _told(side.shown.get(path), kept=kept)
        for side, kept in ((side_a, kept_a), (side_b, kept_b))
    )
    return {"path": path, "differs": differs, "kept": kept_a or kept_b, "a": one, "b": other}


def _told(step: StepExecution | None, *, kept: bool) -> Json | None:
    if step is None:
        return None
    took = None
    if step.started_at is not None and step.finished_at is not None:
        took = (step.finished_at - step.started_at).total_seconds()
    return {
        "status": step.status.value,
        "kept": kept,
        "attempts": step.attempt,
        "took": took,
        "output": _json.to_json(step.output),
        "failure": None if step.failure is None else _failure(step.failure),
    }


def _failure(failure: Failure) -> Json:
    """Return what makes a failure the same as another one: not when it was, nor in which try."""
    return {"code": failure.code.value, "type": failure.type, "message": failure.message}


def _verdicts(a: Side, b: Side) -> list[Json]:
    found: list[Json] = []
    for path in _both(a.verdicts, b.verdicts):
        one, other = a.verdicts.get(path), b.verdicts.get(path)
        if one is None or other is None or one.verdict != other.verdict:
            found.append({"path": path, "a": _verdict(one), "b": _verdict(other)})
    return found


def _verdict(event: ev.BlockDecided | None) -> Json | None:
    return None if event is None else {"verdict": event.verdict, "reason": event.reason}


# ---- for people -------------------------------------------------------------------------------


def _text(body: Json) -> list[str]:
    head = ("", "RUN", "WORKFLOW", "STATUS", "TOOK", "NOTE")
    lines = table(head, (_head(side, body[side]) for side in ("a", "b")))
    sections = (
        _definition_lines(body["definition"]),
        _value_lines("input", body["input"]),
        _value_lines("output", body["output"]),
        _value_lines("state", body["state"]),
        _step_lines(body["steps"]),
        _undone_lines(body["undone"]),
        _verdict_lines(body["verdicts"]),
    )
    for section in sections:
        if section:
            lines += ["", *section]
    return [*lines, "", _summary(body)]


def _head(name: str, run: Json) -> tuple[str, ...]:
    note = ""
    if run["origin"] is not None:
        note = f"repeats {run['origin']}"
        note += f" from {run['from_step']}" if run["from_step"] else ""
    workflow = f"{run['workflow_id']} (version {run['workflow_version']})"
    return (name, run["run_id"], workflow, run["status"], _seconds(run["took"]), note)


def _seconds(took: float | None) -> str:
    return "" if took is None else span_of(max(0.0, took))


def _definition_lines(found: list[Json]) -> list[str]:
    if not found:
        return []
    lines = ["definition:"]
    for item in found:
        where = item["path"] or "the workflow"
        if "only" in item:
            says = f"only in {item['only']}"
        else:
            says = f"{item['option']} is {_short(item['a'])} in a, {_short(item['b'])} in b"
        lines.append(f"  {one_line(where)}: {says}")
    return lines


_WIDTH = 60  # characters of a value in a line


def _short(value: Any) -> str:
    return _cut(one_line(json_text(value, short=None)))


def _cut(text: str) -> str:
    return text if len(text) <= _WIDTH else f"{text[: _WIDTH - 1]}…"


def _value_lines(name: str, pair: Json | None) -> list[str]:
    if pair is None:
        return []
    lines = [f"{name}:"]
    for side in ("a", "b"):
        text = json_text(pair[side])
        lines += [f"  {side}", indented(text)] if "\n" in text else [f"  {side}  {text}"]
    return lines


def _step_lines(steps: list[Json]) -> list[str]:
    if not steps:
        return []
    rows = ((s["path"], _state(s["a"]), _state(s["b"]), ", ".join(s["differs"])) for s in steps)
    lines = table(("STEP", "A", "B", "DIFFERS IN"), rows)
    for step in steps:
        one: Json = step["a"] or {}
        other: Json = step["b"] or {}
        for name in ("output", "failure"):
            if name in step["differs"]:
                pair = {"a": one.get(name), "b": other.get(name)}
                lines += ["", *_value_lines(f"{name} of {one_line(step['path'])}", pair)]
    return lines


def _undone_lines(undone: Json | None) -> list[str]:
    if undone is None:
        return []
    names = {side: ", ".join(map(one_line, undone[side])) for side in ("a", "b")}
    return ["undo steps:", *(f"  {side}  {names[side] or 'nothing to undo'}" for side in names)]


def _as_it_is(value: Any) -> Any:
    return value


def _failure_text(failure: Json | None) -> str | None:
    if failure is None:
        return None
    name = failure["type"].removeprefix("builtins.")
    return f"{failure['code']}: {name + ': ' if name else ''}{failure['message']}"


def _state(step: Json | None) -> str:
    if step is None:
        return "not in this workflow"
    if step["kept"]:
        return f"{step['status']}, kept"
    tries = f" at attempt {step['attempts']}" if step["attempts"] > 1 else ""
    took = f" in {_seconds(step['took'])}" if step["took"] is not None else ""
    return f"{step['status']}{tries}{took}"


def _verdict_lines(found: list[Json]) -> list[str]:
    if not found:
        return []
    rows = [(v["path"], *(_decided(v[side]) for side in ("a", "b"))) for v in found]
    return table(("BLOCK", "A", "B"), rows)


def _decided(verdict: Json | None) -> str:
    if verdict is None:
        return "not decided"
    return _cut(one_line(f"{verdict['verdict']}: {verdict['reason']}"))


def _summary(body: Json) -> str:
    kept = f" ({body['kept_steps']} kept, not run)" if body["kept_steps"] else ""
    if body["same"]:
        return f"no difference in {body['same_steps']} steps{kept}"
    return f"{len(body['steps'])} steps differ, {body['same_steps']} are the same{kept}"
