"""The rerun of a run: which results of the run that it repeats are kept.

A completed result is kept, unless it is *downstream* of something that runs again: of the step that
the rerun starts from, or of one that did not complete. Downstream of a node is

* what is inside it;
* what comes after it in every sequence around it;
* every join around it, and what comes after that. Its parallel branches are not, nor the other
  items of a map;
* the later iterations of every loop around it.

A step that reads a node with ``reads`` comes after it, in a sequence around it. Other reads can't
be built, so readers need no rule of their own.

So the tree is entered as the machine enters it, as far as what is done reaches: what is not reached
has to wait for something that runs again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from gorkflow import events as ev
from gorkflow.errors import InputInvalidError
from gorkflow.flow import (
    LoopSpec,
    NodeSpec,
    Place,
    StepSpec,
    WorkflowSpec,
    id_at,
    is_template,
    iteration_mark,
    template_of,
    undone_path,
    walk,
)
from gorkflow.machine.history import Done, History, marks_of
from gorkflow.machine.machine import FRAMES
from gorkflow.state_changes import Write

_LISTED = 10  # more names than this don't help


class Result(NamedTuple):
    """A result that may be kept: what a ``ResultKept`` event says of it."""

    what: str
    output: bytes | None
    choice: int | None
    source_seq: int
    keys: tuple[str, ...] | None = None
    state: tuple[Write, ...] = ()


def results(history: History, events: Sequence[ev.Event]) -> dict[str, Result]:
    """Return what a run completed, by path: the exact bytes, never re-encoded.

    A failure that ``continue_on_error`` made into ``None`` is not a result, nor is one that a join
    handled: what failed runs again. Nor is a result that was undone, or should have been: whether
    that worked or not, nothing can be built on it.
    """
    return {path: _result(done, events[done.seq - 1]) for path, done in history.done.items()}


def _result(done: Done, event: ev.Event) -> Result:
    output: bytes | None = None
    state: tuple[Write, ...] = ()
    if isinstance(event, ev.StepCompleted | ev.ResultKept):
        output, state = event.output, event.state
    elif isinstance(event, ev.SignalReceived):
        output = event.payload
    return Result(done.what, output, done.choice, done.seq, done.keys, state)


def kept(
    tree: WorkflowSpec, done: Mapping[str, Result], start: str | None = None
) -> dict[str, Result]:
    """Return the results that a rerun keeps, by path, in declared order.

    Args:
        tree: what both runs execute.
        done: the results of the run that is repeated.
        start: the path of the node from which to run again, or its template: in every item or
            iteration; ``None``: from what did not complete.
    """
    keeping = _Keeping(done, start, _around(tree, start))
    all(map(keeping.enter, Place("", tree).inside()))  # up to the first that is not done
    return keeping.kept


class _Keeping:
    """Enters the nodes of a tree as far as what is done reaches."""

    def __init__(self, done: Mapping[str, Result], start: str | None, around: set[str]) -> None:
        self.kept: dict[str, Result] = {}
        self._done = done
        self._start = () if start is None else tuple(start.split("/"))
        self._around = around

    def enter(self, place: Place) -> bool:
        """Keep what is done of a node; return whether that is all of it."""
        path, spec = place
        if self._start and self._is_start(path):
            return False
        if isinstance(spec, LoopSpec):
            return self._loop(place, spec) and not self._is_around(path)
        return FRAMES[type(spec)].is_whole(place, self) and not self._is_around(path)

    def find(self, path: str) -> Result | None:
        """Keep the result at a path, if there is one, and return it."""
        result = self._done.get(path)
        if result is not None:
            self.kept[path] = result
        return result

    def _is_start(self, path: str) -> bool:
        segments = path.split("/")
        return len(segments) == len(self._start) and all(map(_same, segments, self._start))

    def _is_around(self, path: str) -> bool:
        if template_of(path) not in self._around:
            return False
        # Of items and iterations only the one that the start is in.
        pairs = zip(path.split("/"), self._start, strict=False)
        return all(_same(here, there) for here, there in pairs if template_of(here) != here)

    def _loop(self, place: Place, spec: LoopSpec) -> bool:
        """Keep iterations, each with what was decided after it, up to one that has to run."""

        def enter(number: int) -> bool:
            return all(map(self.enter, place.inside(lambda _, __: (iteration_mark(number),))))

        result = self._done.get(place.path)
        judged = 0 if result is None or result.choice is None else result.choice
        kept, held = 0, False
        while kept < judged and not held:
            if not enter(kept + 1):
                break
            held = result is not None and result.what == "looped" and kept + 1 == judged
            if not held and kept + 1 == spec.max_iterations:
                break  # that is what the loop failed of: it is asked again
            kept += 1
        else:
            if not held:  # the next iteration may be done, and not judged
                enter(kept + 1)
        if result is not None and kept:
            what = "looped" if held else "looping"
            self.kept[place.path] = result._replace(what=what, choice=kept)
        return held


def _same(segment: str, start: str) -> bool:
    return start in {segment, template_of(segment)}


def _around(tree: WorkflowSpec, start: str | None) -> set[str]:
    """Return the templates of the nodes that the node at ``start`` is inside of."""
    places = Place("", tree).walk()
    around = {inner.path: place.path for place in places for inner in place.inside()}
    found: set[str] = set()
    path = around.get(template_of(start), "") if start is not None else ""
    while path:
        found.add(path)
        path = around[path]
    return found


def locate(tree: WorkflowSpec, name: str, done: Mapping[str, Result] | None = None) -> str:
    """Return the path of the node that a name stands for: a path, or an id that only one has.

    Inside a map or loop, an id stands for all items and iterations, as its template does.

    Raises:
        InputInvalidError: If no node fits, or several do.
    """
    paths = [path for path, _ in walk(tree)]
    if name in paths:
        return name
    if template_of(name) in paths and not is_template(name):
        results = done or {}

        def marks(at: str, node: NodeSpec) -> Sequence[str]:
            first = (iteration_mark(1),) if isinstance(node, LoopSpec) else ()
            return marks_of(results.get(at)) or first  # a loop may not have been judged yet

        if any(path == name for path, _ in walk(tree, marks)):
            return name
        raise InputInvalidError(
            f"the run had no {name!r}: there were fewer items or iterations, or other keys; all of "
            f"them are {template_of(name)!r}"
        )
    ids = [id_at(path) for path in paths]
    same = [path for path, node_id in zip(paths, ids, strict=True) if node_id == name]
    if len(same) == 1:
        return same[0]
    if same:
        listed = ", ".join(map(repr, same))
        raise InputInvalidError(
            f"{name!r} stands at several places of workflow {tree.id!r}; give the path: {listed}"
        )
    raise InputInvalidError(_nowhere(tree, name, paths, ids))


def _nowhere(tree: WorkflowSpec, name: str, paths: list[str], ids: list[str]) -> str:
    """Return why a rerun can't begin at a name that no node has, and what to write instead."""
    undoes = (
        path
        for path, node in walk(tree)
        if isinstance(node, StepSpec) and node.undo is not None and node.undo.step.id == name
    )
    undone = undone_path(name) or next(undoes, "")
    if template_of(undone) in paths:
        return (
            f"{name!r} is an undo step, and a rerun can't begin there; name the step that it "
            f"undoes: {undone!r}"
        )
    import difflib  # only needed here

    close = difflib.get_close_matches(name, {*paths, *ids}, 3)
    shown = " or ".join(map(repr, close))
    more = ", …" if len(paths) > _LISTED else ""
    hint = f"did you mean {shown}?" if close else f"it has {', '.join(paths[:_LISTED])}{more}"
    return f"workflow {tree.id!r} has no step {name!r}; {hint}"
