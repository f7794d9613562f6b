"""The flow tree: what a workflow compiles to, and what a started run keeps. Plain, frozen data.

Every option is resolved here (inheritance is over), so the tree and the events decide everything a
run does; code only supplies the functions, found by id. The tree is stored once per fingerprint.

A ``WorkflowSpec`` is a sequence with a name: the root of a run, or a nested workflow, which adds
its id to the path of what is inside. Blocks and choices add no path segment.

The body of a map or loop runs at several paths: ``resize[3]`` is item 3 (or the item with that
key), ``poll#2`` the second iteration. In the tree it stands once, at its *template*: ``resize[]``,
``poll#``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar, NamedTuple, Union

from msgspec import Struct, json

from gorkflow.policy import Join, Limit, OnFailure, RetryPolicy


class _Spec(
    Struct,
    frozen=True,
    kw_only=True,
    gc=False,
    forbid_unknown_fields=True,
    tag_field="kind",
    tag=lambda name: name.removesuffix("Spec").lower(),
):
    """A part of a tree. Its JSON has every field, so that new defaults leave older runs alone."""


class NodeSpec(_Spec, frozen=True, kw_only=True):
    """A node of the tree: what all kinds share. A new kind is a subclass in ``KINDS``."""

    kind: ClassVar[str] = ""
    """The word for it in the text of the tree."""
    noun: ClassVar[str] = ""
    """The word for it in messages; the kind unless given."""
    mark: ClassVar[str] = ""
    """The end of a body's template, where the body may run several times: ``[]`` or ``#``."""
    is_scope: ClassVar[bool] = False
    """True if the paths of the nodes inside begin with its own path."""
    is_listed: ClassVar[bool] = False
    """True if the steps of a run include it: it does something, or waits for something."""
    id: str

    def children(self) -> tuple[NodeSpec, ...]:
        """Return the nodes directly inside, in declared order."""
        return ()

    @property
    def label(self) -> str:
        """One line that names it in a tree of nodes."""
        return self.id


class BlockSpec(NodeSpec, frozen=True, kw_only=True):
    """Branches that run side by side: those of a parallel block, or the items of a map."""

    join: Join = Join("all")
    on_failure: OnFailure = "drain"
    max_concurrency: int | None = None
    """The most branches that are live at a time."""
    timeout: float | None = None
    """Seconds from when the block is entered."""

    @property
    def label(self) -> str:
        """One line: its kind and name, and its join unless that waits for all."""
        name = f"{self.kind}{self._named()}"
        return name if self.join.kind == "all" else f"{name}, join {self.join}"

    def _named(self) -> str:
        return "" if self.id.startswith("&") else f" {self.id}"


class DecisionSpec(NodeSpec, frozen=True, kw_only=True):
    """A node that conditions of the code decide over: a choice, or a loop."""

    @property
    def conditions(self) -> tuple[ArmSpec, ...]:
        """The conditions, in the order in which they are asked, each with what it leads to."""
        raise NotImplementedError


class PauseSpec(NodeSpec, frozen=True, kw_only=True):
    """A time to wait: a sleep, or the time after which a wait for a signal ends."""

    may_be_endless: ClassVar[bool] = False
    """True if it may have no time at all."""
    is_listed: ClassVar[bool] = True
    until: float | None = None
    """When it is over, in seconds since the epoch."""
    asks: TimeSpec | None = None
    """The function that says its time."""


class StepSpec(NodeSpec, frozen=True, kw_only=True):
    """A step, with its options resolved."""

    kind: ClassVar[str] = "step"
    is_listed: ClassVar[bool] = True
    name: str
    description: str = ""
    executor: str = "loop"
    """One of ``loop``, ``thread``, ``process``, or the name of an executor: where it runs."""
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
    """The values that ``bind`` fixed: JSON by parameter, sorted by name."""
    undo: UndoSpec | None = None


class UndoSpec(_Spec, frozen=True, kw_only=True):
    """The step that undoes another one, should the run fail."""

    step: StepSpec
    inputs: int
    """The number of the other step's inputs. This one gets them, and then the other's output."""


class PassthroughSpec(NodeSpec, frozen=True, kw_only=True):
    """Hands its input on, without work."""

    kind: ClassVar[str] = "passthrough"


class ParallelSpec(BlockSpec, frozen=True, kw_only=True):
    """Branches that run side by side, each with its own node."""

    kind: ClassVar[str] = "parallel"
    noun: ClassVar[str] = "block"
    branches: tuple[Node, ...]

    def children(self) -> tuple[NodeSpec, ...]:
        """Return the branches."""
        return self.branches


class ArmSpec(_Spec, frozen=True, kw_only=True):
    """One arm of a choice: a condition, found in the code by the choice's id and its own name."""

    condition: str
    """The condition's name; of a lambda, one that says its line."""
    node: Node
    timeout: float | None = 10.0
    """Seconds that the condition may take."""


class ChoiceSpec(DecisionSpec, frozen=True, kw_only=True):
    """The first arm whose condition holds; else ``otherwise``; else the node is skipped."""

    kind: ClassVar[str] = "choice"
    arms: tuple[ArmSpec, ...]
    otherwise: Node | None = None
    default: str | None = None
    """When skipped: this value as JSON text; ``None``: the choice's own input."""

    def children(self) -> tuple[NodeSpec, ...]:
        """Return the nodes of the arms, then ``otherwise``, if there is one."""
        arms = tuple(arm.node for arm in self.arms)
        return arms if self.otherwise is None else (*arms, self.otherwise)

    @property
    def conditions(self) -> tuple[ArmSpec, ...]:
        """The arms."""
        return self.arms

    @property
    def label(self) -> str:
        """One line with its name."""
        return f"choice {self.id.removeprefix('?')}"


class MapSpec(BlockSpec, frozen=True, kw_only=True):
    """A body that runs for every item of a list, side by side."""

    kind: ClassVar[str] = "map"
    mark: ClassVar[str] = "[]"
    body: Node
    keyed: bool = False
    """True if a function in the code, found by the map's id, gives the items their keys."""

    def children(self) -> tuple[NodeSpec, ...]:
        """Return the body."""
        return (self.body,)

    def _named(self) -> str:
        return f" of {self.body.id}" if self.id.startswith("*") else f" {self.id}"


class LoopSpec(DecisionSpec, frozen=True, kw_only=True):
    """A body that runs again with its own output, until a condition holds."""

    kind: ClassVar[str] = "loop"
    mark: ClassVar[str] = "#"
    body: Node
    condition: str
    """Its name, for people; the function is found in the code by the loop's id."""
    max_iterations: int
    condition_timeout: float | None = 10.0
    """Seconds that the condition may take."""

    def children(self) -> tuple[NodeSpec, ...]:
        """Return the body."""
        return (self.body,)

    @property
    def conditions(self) -> tuple[ArmSpec, ...]:
        """The condition, as a choice has it: its first and only arm is to stop."""
        return (ArmSpec(condition=self.condition, node=self.body, timeout=self.condition_timeout),)

    @property
    def label(self) -> str:
        """One line with its body and its condition."""
        name = f"of {self.body.id}" if self.id.startswith("@") else self.id
        return f"loop {name} until {self.condition}"


class TimeSpec(_Spec, frozen=True, kw_only=True):
    """A time that a function says as a node begins. The code has it, found by the node's path."""

    function: str
    is_due: bool
    """True if it says when the time is over; else it says how long it takes."""
    timeout: float | None = 10.0


class SleepSpec(PauseSpec, frozen=True, kw_only=True):
    """Hands its input on, after a time that outlives the process. One of three says how long."""

    kind: ClassVar[str] = "sleep"
    seconds: float | None = None


class WaitSpec(PauseSpec, frozen=True, kw_only=True):
    """Waits for a signal; its output is the pair of its input and the signal's payload."""

    kind: ClassVar[str] = "wait"
    may_be_endless: ClassVar[bool] = True
    signal: str
    """The signal's name."""
    schema: str
    """Digest of the JSON schema of the payload."""
    timeout: float | None = None
    """Seconds from when the wait is entered."""
    default: str | None = None
    """When timed out: this payload as JSON text; ``None``: the wait fails."""


class WorkflowSpec(NodeSpec, frozen=True, kw_only=True):
    """A workflow: nodes one after another, each with the output of the one before it."""

    kind: ClassVar[str] = "workflow"
    is_scope: ClassVar[bool] = True
    nodes: tuple[Node, ...]
    name: str = ""
    description: str = ""
    version: str = "1"
    timeout: float | None = None
    """Seconds from when the workflow is entered."""
    takes_input: bool = True
    """Else its nodes get ``None``, not the output of the node before the workflow."""
    input_schema: str = ""
    output_schema: str = ""

    def children(self) -> tuple[NodeSpec, ...]:
        """Return the nodes, in the order in which they run."""
        return self.nodes


KINDS: tuple[type[NodeSpec], ...] = (
    StepSpec,
    PassthroughSpec,
    ParallelSpec,
    MapSpec,
    ChoiceSpec,
    LoopSpec,
    SleepSpec,
    WaitSpec,
    WorkflowSpec,
)
"""Every kind of node."""
if TYPE_CHECKING:
    Node = NodeSpec
else:
    Node = Union[KINDS]  # noqa: UP007 - of a tuple; JSON is read as the one that ``kind`` names


def join_path(prefix: str, node_id: str) -> str:
    """Return the path of a node inside the workflow at ``prefix`` (empty for the root)."""
    return f"{prefix}/{node_id}" if prefix else node_id


_ITEM = re.compile(r"\[[^\[\]/#]+\]")
_ITERATION = re.compile(r"#[1-9][0-9]*")


_KINDS = {"&": "parallel", "*": "map of", "@": "loop of", "?": "choice"}
"""The words for the marks that begin the ids of nodes without a name of their own."""


def spoken(path: str) -> str:
    """Return a path as people call it: ``map of fetch`` for ``*fetch``.

    Example:
        >>> spoken("shipping/*fetch"), spoken("fetch[2]"), spoken("@poll/check")
        ('shipping/map of fetch', 'fetch[2]', 'poll/check')
    """
    around, slash, name = path.rpartition("/")
    parts = [part.lstrip("".join(_KINDS)) for part in around.split("/")]
    kind = _KINDS.get(name[:1])
    return "/".join(parts) + slash + (name if kind is None else f"{kind} {name[1:]}")


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
"""The end of the path of an undo step, after that of the step it undoes. No id has a ``~``."""


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


Marks = Callable[[str, NodeSpec], Sequence[str]]
"""Given a node with a mark and its path, returns the ends of the paths of its body."""


def _template_marks(_: str, node: NodeSpec) -> Sequence[str]:
    return (node.mark,)


class Place(NamedTuple):
    """A node and its path, which is empty for the root."""

    path: str
    spec: NodeSpec

    def inside(self, marks: Marks = _template_marks) -> list[Place]:
        """Return the places directly inside, in declared order.

        Args:
            marks: which items and iterations there are; by default, each body stands once, at its
                template.
        """
        path, spec = self
        children = spec.children()
        if not children:
            return []
        prefix = path if spec.is_scope else path.rpartition("/")[0]
        ends = marks(path, spec) if spec.mark else ("",)
        return [Place(join_path(prefix, node.id) + end, node) for end in ends for node in children]

    def walk(self, marks: Marks = _template_marks) -> Iterator[Place]:
        """Yield every place below the root, in declared order, parents first."""
        stack: list[Place] = [self]
        while stack:
            place = stack.pop()
            yield place
            stack.extend(reversed(place.inside(marks)))

    def __str__(self) -> str:
        """Return what it is and its path, for messages."""
        return f"{self.spec.noun or self.spec.kind} {(self.path or self.spec.id)!r}"


def walk(root: WorkflowSpec, marks: Marks = _template_marks) -> Iterator[Place]:
    """Yield every place below the root, in declared order, parents first."""
    places = Place("", root).walk(marks)
    next(places)
    return places


def defaults_of(root: WorkflowSpec) -> dict[str, str]:
    """Return the defaults of choices and waits that have one, as JSON text by template."""
    return {
        path: node.default
        for path, node in walk(root)
        if isinstance(node, ChoiceSpec | WaitSpec) and node.default is not None
    }


_encode = json.Encoder(order="sorted").encode


def to_json(root: WorkflowSpec) -> str:
    """Return the tree as canonical JSON text: the same tree gives the same text."""
    return _encode(root).decode()


@lru_cache(maxsize=256)
def from_json(text: str) -> WorkflowSpec:
    """Return the tree that ``to_json`` wrote.

    Raises:
        ValueError: If the text is not a flow tree.
    """
    try:
        return json.decode(text, type=WorkflowSpec)
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"not a flow tree: {error}") from error


def fingerprint(text: str) -> str:
    """Return the fingerprint of a tree's canonical text."""
    import hashlib  # it is slow to load, and importing gorkflow should be quick

    # A damaged text of a store may hold what UTF-8 can not: it has a fingerprint of its own.
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:32]
