"""What an engine needs of a workflow: the flow tree as data, and the code by path."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gorkflow import flow
from gorkflow._record import named_record
from gorkflow.codec import canonical, codec_of
from gorkflow.language._elements import (
    Block,
    Chain,
    Choice,
    Condition,
    Element,
    Loop,
    Map,
    Passthrough,
    Sleep,
    Time,
    Wait,
)
from gorkflow.language._fit import NOTHING, Value
from gorkflow.language._options import StepDefaults, merged
from gorkflow.language._walk import Place, Record, Walk
from gorkflow.step import Step, is_step

if TYPE_CHECKING:
    from collections.abc import Mapping


@named_record
class Definition:
    """A compiled workflow. Plain data and functions; every option is resolved.

    What is kept by path is kept by the template of the path, where maps and loops are concerned.
    """

    workflow_id: str
    version: str
    tags: Mapping[str, str]
    tree: flow.WorkflowSpec
    text: str
    """The tree as canonical JSON; what a started run keeps."""
    fingerprint: str
    """Of the text."""
    input: Any
    """The annotation of what the workflow takes; ``None``: nothing."""
    output: Any
    """The annotation of what it gives."""
    steps: Mapping[str, Step[Any, Any]]
    """By path."""
    conditions: Mapping[str, tuple[Condition, ...]]
    """The conditions of each choice, in order, and of each loop, by the choice's or loop's path."""
    keys: Mapping[str, Condition]
    """The functions that give the items of maps their keys, by the map's path."""
    times: Mapping[str, Condition]
    """The functions that say how long a sleep or wait takes, by its path."""
    outputs: Mapping[str, Any]
    """The annotation that each node's output is written under, by path: of a step, what its
    function returns, also where ``continue_on_error`` may put ``None`` in its place."""
    readable: Mapping[str, frozenset[str]]
    """Ids of the nodes that each step may read through its context, by the step's path. An id
    stands for the node in the nearest workflow around the step that has it, and for no other
    while that one has not ended."""
    defaults_of: Mapping[str, tuple[bytes, Any]]
    """The ``default=`` of choices and waits that have one, as JSON and its annotation, by path."""
    payloads: Mapping[str, Any]
    """The annotation of the signal that each wait is for, by the wait's path."""
    signals: Mapping[str, Any]
    """The annotation of each signal that is waited for, by its name."""


def without_code(workflow_id: str, tree: flow.WorkflowSpec, text: str) -> Definition:
    """Return what a stored tree alone says of a workflow: enough to record a run of it.

    Args:
        workflow_id: the workflow.
        tree: what its runs execute.
        text: the tree as it is stored.
    """
    return Definition(
        workflow_id=workflow_id,
        version=tree.version,
        tags={},
        tree=tree,
        text=text,
        fingerprint=flow.fingerprint(text),
        input=None,
        output=None,
        steps={},
        conditions={},
        keys={},
        times={},
        outputs={},
        readable={},
        defaults_of={},
        payloads={},
        signals={},
    )


def compile_chain(chain: Chain[Any, Any], defaults: StepDefaults) -> tuple[Definition, list[str]]:
    """Return a workflow compiled under an engine's defaults, and every problem found.

    Args:
        chain: the workflow.
        defaults: what steps inherit last.
    """
    record = Record()
    walk = Walk(record)
    inherited = merged(defaults, chain.defaults)
    own: set[str] = set()
    place = Place("", inherited, (own,))
    start = Value(NOTHING if chain.input is None else chain.input)
    end = walk.sequence(chain.elements, start, place, own)
    if not chain.elements:
        walk.problems.append(
            "it is empty; give it a step and keep what that returns: workflow = workflow.then(step)"
        )
    walk.problems += [
        f"step {reader!r} reads {wanted!r}, which is not part of the workflow before it"
        for wanted, reader in walk.unresolved.items()
    ]
    output = None if end.annotation is NOTHING else end.annotation
    record.outputs[""] = output
    tree = _Specs(record).workflow(chain, "", defaults)
    text = flow.to_json(tree)
    definition = Definition(
        workflow_id=chain.id,
        version=chain.version,
        tags=chain.tags,
        tree=tree,
        text=text,
        fingerprint=flow.fingerprint(text),
        input=canonical(chain.input),
        output=output,
        steps=record.steps,
        conditions=record.conditions,
        keys=record.keys,
        times=record.times,
        outputs=record.outputs,
        readable=record.readable,
        defaults_of=record.defaults_of,
        payloads=record.payloads,
        signals=chain.signals,
    )
    return definition, walk.problems


class _Specs:
    """Turns elements into the specs of the flow tree."""

    def __init__(self, record: Record) -> None:
        self._record = record

    def workflow(
        self, chain: Chain[Any, Any], path: str, defaults: StepDefaults
    ) -> flow.WorkflowSpec:
        inherited = merged(defaults, chain.defaults)
        return flow.WorkflowSpec(
            id=chain.id,
            nodes=tuple([self._element(item, path, inherited) for item in chain.elements]),
            name=chain.name,
            description=chain.description,
            version=chain.version,
            timeout=chain.timeout,
            takes_input=chain.input is not None,
            input_schema="" if chain.input is None else codec_of(chain.input).digest(),
            output_schema=self._output_schema(chain, path),
        )

    def _output_schema(self, chain: Chain[Any, Any], path: str) -> str:
        """Return the digest of what a workflow ends in, unless a step says it already."""
        last = chain.elements[-1] if chain.elements else None
        return self._step(last, path).spec({}).output_schema if is_step(last) else ""

    def _step(self, step: Step[Any, Any], path: str, mark: str = "") -> Step[Any, Any]:
        """Return a step as it was recorded: a generic one has the types of what arrives there."""
        return self._record.steps.get(flow.join_path(path, step.id) + mark, step)

    def _element(
        self, element: Element, path: str, defaults: StepDefaults, mark: str = ""
    ) -> flow.NodeSpec:
        if is_step(element):
            return self._step(element, path, mark).spec(defaults)
        if isinstance(element, Passthrough):
            return flow.PassthroughSpec(id=element.id)
        if isinstance(element, Chain):
            return self.workflow(element, flow.join_path(path, element.id) + mark, defaults)
        if isinstance(element, Map | Loop):
            return self._repeated(element, path, defaults)
        if isinstance(element, Block):
            return flow.ParallelSpec(
                id=element.id,
                branches=tuple(self._element(item, path, defaults) for item in element.branches),
                join=element.join,
                on_failure=element.on_failure,
                max_concurrency=element.max_concurrency,
                timeout=element.timeout,
            )
        if isinstance(element, Choice):
            return self._choice(element, path, defaults)
        if isinstance(element, Sleep):
            time = element.time
            return flow.SleepSpec(
                id=element.id, seconds=time.seconds, until=time.until, asks=_asks(time)
            )
        if isinstance(element, Wait):
            return self._wait(element, path)
        raise TypeError(f"{element!r} is an element of an unknown kind")

    def _repeated(self, element: Map | Loop, path: str, defaults: StepDefaults) -> flow.NodeSpec:
        if isinstance(element, Loop):
            return flow.LoopSpec(
                id=element.id,
                body=self._element(element.body, path, defaults, "#"),
                condition=element.until.name,
                max_iterations=element.max_iterations,
            )
        return flow.MapSpec(
            id=element.id,
            body=self._element(element.body, path, defaults, "[]"),
            join=element.join,
            on_failure=element.on_failure,
            max_concurrency=element.max_concurrency,
            timeout=element.timeout,
            keyed=element.key is not None,
        )

    def _wait(self, wait: Wait, path: str) -> flow.WaitSpec:
        return flow.WaitSpec(
            id=wait.id,
            signal=wait.signal,
            schema=codec_of(wait.annotation).digest(),
            timeout=wait.time.seconds,
            until=wait.time.until,
            asks=_asks(wait.time),
            default=self._default(flow.join_path(path, wait.id)),
        )

    def _default(self, path: str) -> str | None:
        found = self._record.defaults_of.get(path)
        return None if found is None else found[0].decode()

    def _choice(self, choice: Choice, path: str, defaults: StepDefaults) -> flow.ChoiceSpec:
        otherwise = choice.otherwise
        return flow.ChoiceSpec(
            id=choice.id,
            arms=tuple(
                flow.ArmSpec(
                    condition=arm.condition.name, node=self._element(arm.node, path, defaults)
                )
                for arm in choice.arms
            ),
            otherwise=None if otherwise is None else self._element(otherwise, path, defaults),
            default=self._default(flow.join_path(path, choice.id)),
        )


def _asks(time: Time) -> flow.TimeSpec | None:
    if time.function is None:
        return None
    return flow.TimeSpec(function=time.function.name, is_due=time.is_due)
