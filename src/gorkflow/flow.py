"""The flow tree: what a workflow compiles to, and what a started run keeps. Plain frozen data.

Every option is resolved here (inheritance is over), so the tree and the events decide everything a
run does; code only supplies the functions, found by id. The tree is stored once per fingerprint.

A ``WorkflowSpec`` is a sequence with a name: the root of a run, or a nested workflow, which adds
its id to the path of what is inside. Blocks and choices add no path segment.

The body of a map or loop runs at several paths: ``resize[3]`` is item 3 (or the item with that
key), ``poll#2`` the second iteration. In the tree it stands once, at its *template*: ``resize[]``,
``poll#``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, is_dataclass
from functools import lru_cache
from typing import Any, ClassVar, cast, get_args

from gorkflow._record import named_record
from gorkflow.policy import Join, Limit, OnFailure, RetryPolicy

_SPARSE = frozenset({"limits", "settings", "undo"})
"""Fields that are left out of the text when empty: trees without them keep their fingerprints."""


@named_record
class StepSpec:
    """A step, with its options resolved."""

    kind: ClassVar[str] = "step"
    id: str
    name: str
    description: str = ""
    executor: str = "loop"
    """Where it runs: ``loop``, ``thread``, ``process``, or a name that the engine has one for."""
    timeout: float | None = None
    """Seconds per attempt, from when the handler begins."""
    retry: RetryPolicy = RetryPolicy(retries=0)
    continue_on_error: bool = False
    reads: tuple[str, ...] = ()
    """Ids of the earlier nodes that the step declared to read."""
    limits: tuple[Limit, ...] = ()
    """Sorted by name."""
    input_schema: str = ""
    """Digest of the JSON schema of what the step takes."""
    output_schema: str = ""
    settings: tuple[tuple[str, str], ...] = ()
    """What ``bind`` fixed: JSON by parameter, sorted by name."""
    undo: UndoSpec | None = None


@named_record
class UndoSpec:
    """What undoes a step, should the run fail: another step."""

    step: StepSpec
    inputs: int
    """How many the step to undo has: they are handed on, and its output after them."""


@named_record
class PassthroughSpec:
    """Hands its input on, without work."""

    kind: ClassVar[str] = "passthrough"
    id: str


@named_record
class ParallelSpec:
    """Branches that run side by side."""

    kind: ClassVar[str] = "parallel"
    id: str
    branches: tuple[NodeSpec, ...]
    join: Join = Join("all")
    on_failure: OnFailure = "drain"
    max_concurrency: int | None = None
    """How many branches may be live at a time."""
    timeout: float | None = None
    """Seconds from when the block is entered."""


@named_record
class ArmSpec:
    """One arm of a choice: a condition, found in the code by the choice's id and its own name."""

    condition: str
    """The condition's name; of a lambda, one that says its line."""
    node: NodeSpec
    timeout: float | None = 10.0
    """Seconds that the condition may take."""


@named_record
class ChoiceSpec:
    """The first arm whose condition holds; else ``otherwise``; else the node is skipped."""

    kind: ClassVar[str] = "choice"
    id: str
    arms: tuple[ArmSpec, ...]
    otherwise: NodeSpec | None = None
    default: str | None = None
    """When skipped: this value as JSON text; ``None``: the choice's own input."""

    @property
    def nodes(self) -> tuple[NodeSpec, ...]:
        """What may be chosen, by number: the arms, then ``otherwise``, if there is one."""
        arms = tuple(arm.node for arm in self.arms)
        return arms if self.otherwise is None else (*arms, self.otherwise)


@named_record
class MapSpec:
    """A body that runs for every item of a list, side by side."""

    kind: ClassVar[str] = "map"
    id: str
    body: NodeSpec
    join: Join = Join("all")
    on_failure: OnFailure = "drain"
    max_concurrency: int | None = None
    """How many items may be live at a time."""
    timeout: float | None = None
    """Seconds from when the map is entered."""
    keyed: bool = False
    """Whether a function in the code, found by the map's id, gives the items their keys."""


@named_record
class LoopSpec:
    """A body that runs again with what it gave, until a condition holds."""

    kind: ClassVar[str] = "loop"
    id: str
    body: NodeSpec
    condition: str
    """Its name, for people; the function is found in the code by the loop's id."""
    max_iterations: int
    condition_timeout: float | None = 10.0
    """Seconds that the condition may take."""

    @property
    def arms(self) -> tuple[ArmSpec, ...]:
        """The condition, as a choice has it: its first and only arm is to stop."""
        return (ArmSpec(condition=self.condition, node=self.body, timeout=self.condition_timeout),)


@named_record
class TimeSpec:
    """A time that a function says as the node begins. The code has it, found by the node's path."""

    function: str
    is_due: bool
    """Whether it says when the time is over; else how long it takes."""
    timeout: float | None = 10.0


@named_record
class SleepSpec:
    """Hands its input on, after a time that outlives the process. One of three says how long."""

    kind: ClassVar[str] = "sleep"
    id: str
    seconds: float | None = None
    until: float | None = None
    """When it is over, in seconds since the epoch."""
    asks: TimeSpec | None = None


@named_record
class WaitSpec:
    """Waits for a signal; gives the pair of its input and the signal's payload."""

    kind: ClassVar[str] = "wait"
    id: str
    signal: str
    """The signal's name."""
    schema: str
    """Digest of the JSON schema of the payload."""
    timeout: float | None = None
    """Seconds from when the wait is entered."""
    until: float | None = None
    """When it times out, in seconds since the epoch."""
    asks: TimeSpec | None = None
    default: str | None = None
    """When timed out: this payload as JSON text; ``None``: the wait fails."""


@named_record
class WorkflowSpec:
    """A workflow: nodes one after another, each getting what the one before it gave."""

    kind: ClassVar[str] = "workflow"
    id: str
    nodes: tuple[NodeSpec, ...]
    name: str = ""
    description: str = ""
    version: str = "1"
    timeout: float | None = None
    """Seconds from when the workflow is entered."""
    takes_input: bool = True
    """Else what is inside gets ``None``, whatever comes before the workflow."""
    input_schema: str = ""
    output_schema: str = ""


# A new kind adds its spec here, a frame in ``machine``, and a branch to ``children``.
NodeSpec = (
    StepSpec
    | PassthroughSpec
    | ParallelSpec
    | MapSpec
    | ChoiceSpec
    | LoopSpec
    | SleepSpec
    | WaitSpec
    | WorkflowSpec
)


def children(node: NodeSpec) -> tuple[NodeSpec, ...]:
    """Return the nodes directly inside a node, in declared order."""
    if isinstance(node, ParallelSpec):
        return node.branches
    if isinstance(node, ChoiceSpec | WorkflowSpec):
        return node.nodes
    if isinstance(node, MapSpec | LoopSpec):
        return (node.body,)
    return ()


def join_path(prefix: str, node_id: str) -> str:
    """Return the path of a node inside the workflow at ``prefix`` (empty for the root)."""
    return f"{prefix}/{node_id}" if prefix else node_id


_ITEM = re.compile(r"\[[^\[\]/#]+\]")
_ITERATION = re.compile(r"#[1-9][0-9]*")


def item_mark(index: int, keys: Sequence[str] | None) -> str:
    """Return what the path of a map's body ends with for one item."""
    return f"[{index if keys is None else keys[index]}]"


def iteration_mark(number: int) -> str:
    """Return what the path of a loop's body ends with for one iteration, from 1."""
    return f"#{number}"


def template_of(path: str) -> str:
    """Return where in the tree the node at a path of a run stands."""
    if "[" in path:
        path = _ITEM.sub("[]", path)
    return _ITERATION.sub("#", path) if "#" in path else path


def is_template(path: str) -> bool:
    """Return whether a path names no item or iteration where it would have to."""
    return "[]" in path or "#/" in path or path.endswith(("#", f"#{UNDO}"))


UNDO = "~undo"
"""What the path of an undo step ends with, after that of the step it undoes. No id has a ``~``."""


def undo_path(path: str) -> str:
    """Return the path at which the step at a path is undone."""
    return path + UNDO


def undone_path(path: str) -> str | None:
    """Return the path of the step that the step at a path undoes; ``None``: it undoes none."""
    return path[: -len(UNDO)] if path.endswith(UNDO) else None


def id_at(path: str) -> str:
    """Return the id of the node at a path."""
    last = path.rpartition("/")[2]
    return last.partition("[")[0].partition("#")[0]


Marks = Callable[[str, "MapSpec | LoopSpec"], Sequence[str]]
"""Given the path of a map or loop, what the paths of its body end with."""


def _template_marks(_: str, node: MapSpec | LoopSpec) -> Sequence[str]:
    return ("[]",) if isinstance(node, MapSpec) else ("#",)


def walk(root: WorkflowSpec, marks: Marks = _template_marks) -> Iterator[tuple[str, NodeSpec]]:
    """Yield every node below the root with its path, in declared order, parents first.

    Args:
        root: the tree.
        marks: which items and iterations there are; without it, each body stands once, at its
            template.
    """
    stack: list[tuple[str, str, NodeSpec]] = [("", "", node) for node in reversed(root.nodes)]
    while stack:
        prefix, mark, node = stack.pop()
        path = join_path(prefix, node.id) + mark
        yield path, node
        if isinstance(node, MapSpec | LoopSpec):
            body = node.body
            stack.extend((prefix, each, body) for each in reversed(marks(path, node)))
        else:
            inner = path if isinstance(node, WorkflowSpec) else prefix
            stack.extend((inner, "", child) for child in reversed(children(node)))


def to_json(root: WorkflowSpec) -> str:
    """Return the tree as canonical JSON text: the same tree gives the same text."""
    return json.dumps(_to_json(root), separators=(",", ":"), sort_keys=True)


@lru_cache(maxsize=256)
def from_json(text: str) -> WorkflowSpec:
    """Return the tree that ``to_json`` wrote.

    Raises:
        ValueError: the text is no flow tree.
    """
    try:
        root = _from_json(json.loads(text))
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"not a flow tree: {error!r}") from error
    if not isinstance(root, WorkflowSpec):
        raise ValueError("not a flow tree: its root is no workflow")
    return root


def fingerprint(text: str) -> str:
    """Return the fingerprint of a tree's canonical text."""
    import hashlib  # it is slow to load, and importing gorkflow should be quick

    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _to_json(item: Any) -> Any:
    if isinstance(item, tuple):
        return [_to_json(child) for child in cast("tuple[object, ...]", item)]
    if not is_dataclass(item):
        return item
    body = {
        field.name: _to_json(value)
        for field in fields(item)
        if (value := getattr(item, field.name)) or field.name not in _SPARSE
    }
    kind = getattr(item, "kind", None)
    return body if kind is None else {**body, "kind": kind}


def _from_json(body: dict[str, Any]) -> NodeSpec:
    args = {name: _FIELDS.get(name, _same)(value) for name, value in body.items()}
    kind = args.pop("kind")
    if kind not in _SPECS:
        raise ValueError(f"not a flow tree: unknown node kind {kind!r}")
    node: NodeSpec = _SPECS[kind](**args)
    return node


def _arm_from_json(body: dict[str, Any]) -> ArmSpec:
    args: dict[str, Any] = {**body, "node": _from_json(body["node"])}
    return ArmSpec(**args)


def _undo_from_json(body: dict[str, Any]) -> UndoSpec:
    step = _from_json(body["step"])
    if not isinstance(step, StepSpec):
        raise ValueError(f"not a flow tree: {step.kind} {step.id!r} undoes a step")
    return UndoSpec(step=step, inputs=body["inputs"])


def _same(value: Any) -> Any:
    return value


_SPECS: dict[str, Callable[..., Any]] = {cls.kind: cls for cls in get_args(NodeSpec)}
_FIELDS: dict[str, Callable[[Any], Any]] = {
    "reads": tuple,
    "settings": lambda pairs: tuple((name, text) for name, text in pairs),
    "limits": lambda limits: tuple(Limit(**limit) for limit in limits),
    "retry": lambda body: RetryPolicy(**body),
    "join": lambda body: Join(**body),
    "branches": lambda bodies: tuple(map(_from_json, bodies)),
    "nodes": lambda bodies: tuple(map(_from_json, bodies)),
    "arms": lambda bodies: tuple(map(_arm_from_json, bodies)),
    "otherwise": lambda body: None if body is None else _from_json(body),
    "body": _from_json,
    "undo": _undo_from_json,
    "asks": lambda body: None if body is None else TimeSpec(**body),
}
"""How to read those fields that are not plain JSON data."""
