"""What can undo a step, and what is said of what can't."""

import json

import pytest

from gorkflow import Engine, Limit, StepContext, StepInvalidError, Workflow, step, testing
from gorkflow.definition import compile_chain
from gorkflow.errors import WorkflowInvalidError
from gorkflow.flow import (
    StepSpec,
    fingerprint,
    from_json,
    is_template,
    template_of,
    to_json,
    undo_path,
    undone_path,
)
from gorkflow.insight.diagram import mermaid, text


@step
async def charge(order: int) -> float:
    return float(order)


@step
async def refund(order: int, cents: float | None) -> None: ...


@step
async def pair(order: int, name: str) -> float:
    return float(order)


@step
async def none() -> str:
    return ""


def undoing(step_, undo) -> str:
    with pytest.raises(StepInvalidError) as error:
        step_.undo(undo)
    return str(error.value)


def spec_of(workflow: Workflow, **defaults) -> StepSpec:
    definition, problems = compile_chain(workflow, defaults)
    assert not problems
    (spec,) = definition.tree.nodes
    assert isinstance(spec, StepSpec)
    return spec


def test_a_step_that_can_be_undone_is_a_copy():
    with_undo = charge.undo(refund)
    assert charge.undone_by is None
    assert with_undo.undone_by is refund
    assert with_undo.options(retries=2).undone_by is refund
    assert with_undo.bind("other").undone_by is refund
    assert with_undo.renamed("other").undone_by is refund


def test_the_later_undo_step_takes_the_place_of_the_earlier():
    assert charge.undo(refund).undo(refund.options(id="back")).undone_by.id == "back"


@pytest.mark.parametrize(
    ("undo", "says"),
    [
        (lambda order: None, "a lambda is not a step; write a function, with @step above it"),
        (charge.fn, "is a plain function; write @step above"),
        (7, "7 is not a step"),
        (Workflow("w", input=int).then(charge), "is not a single step"),
        (refund.options(continue_on_error=True), "has continue_on_error=True"),
        (refund.options(reads=(none,)), "reads 'none', but an undo step has only"),
    ],
)
def test_what_can_not_undo(undo, says):
    assert says in undoing(charge, undo)


def test_an_undo_step_has_none_itself():
    @step
    async def again(order: int, cents: float | None, back: None) -> None: ...

    says = undoing(charge, refund.undo(again))
    assert "'refund' has an undo step itself, 'again', and nothing undoes an undo step" in says


def test_what_was_called_is_told():
    assert "'refund' was called; give the step itself" in undoing(charge, refund(1, None))


def test_inputs_must_fit():
    @step
    async def certain(order: int, cents: float) -> None: ...

    @step
    async def other(order: str, cents: float | None) -> None: ...

    @step
    async def alone(order: int) -> None: ...

    says = undoing(charge, certain)
    assert "takes (order: int, cents: float), but gets the inputs of 'charge', and then its" in says
    assert "is None where it is unknown whether 'charge' worked" in says
    assert "write certain(order: int, output: float | None)" in says
    assert "takes (order: str, cents: float | None), but gets" in undoing(charge, other)
    assert "takes (order: int), but gets the inputs of 'charge'" in undoing(charge, alone)
    assert "write refund(order: int, name: str, output: float | None)" in undoing(pair, refund)
    assert "write refund(output: str | None)" in undoing(none, refund)


def test_shapes_that_fit():
    @step
    async def every(order: int, name: str, cents: float | None) -> None: ...

    @step
    async def whole(given: tuple[int, str, float | None]) -> None: ...

    @step
    async def nothing() -> None: ...

    @step
    async def with_context(ctx: StepContext, result: str | None, dry: bool = False) -> None: ...

    for undo in (every, whole, nothing):
        assert spec_of(Workflow("w", input=tuple[int, str]).then(pair.undo(undo))).undo.inputs == 2
    assert spec_of(Workflow("w").then(none.undo(with_context))).undo.inputs == 0


def test_options_are_inherited_but_for_those_that_make_no_sense():
    flow = Workflow("w", input=int, defaults={"retries": 3, "continue_on_error": True})
    undo = spec_of(flow.then(charge.undo(refund)), timeout=5).undo
    assert (undo.step.retry.retries, undo.step.timeout) == (3, 5)
    assert not undo.step.continue_on_error


def test_a_limit_of_an_undo_step_is_one_limit():
    one, other = Limit("bank", concurrency=1), Limit("bank", concurrency=2)
    flow = Workflow("w", input=int)
    assert flow.then(charge.options(limits=(one,)).undo(refund.options(limits=(one,))))
    with pytest.raises(WorkflowInvalidError, match="step 'refund' knows limit 'bank' as"):
        flow.then(charge.options(limits=(one,)).undo(refund.options(limits=(other,))))


def test_one_undo_step_may_serve_several():
    flow = Workflow("w", input=int).parallel(
        charge.undo(refund), charge.options(id="fee").undo(refund)
    )
    definition, _ = compile_chain(flow, {})
    assert set(definition.steps) == {"charge", "charge~undo", "fee", "fee~undo"}


def test_a_tree_comes_back():
    tree = compile_chain(Workflow("w", input=int).then(charge.undo(refund)), {})[0].tree
    assert from_json(to_json(tree)) == tree
    bare = compile_chain(Workflow("w", input=int).then(charge), {})[0]
    assert fingerprint(bare.text) == bare.fingerprint


def test_only_a_step_can_undo_in_a_tree():
    tree = to_json(compile_chain(Workflow("w", input=int).then(charge.undo(refund)), {})[0].tree)
    with pytest.raises(ValueError, match=r"undo\.step"):
        from_json(_with_passthrough(tree))


def _with_passthrough(tree: str) -> str:
    body = json.loads(tree)
    body["nodes"][0]["undo"]["step"] = {"kind": "passthrough", "id": "p"}
    return json.dumps(body)


@pytest.mark.parametrize("path", ["charge", "resize[3]", "poll#2", "child[a~b]/charge"])
def test_paths_of_undo_steps(path):
    assert undone_path(undo_path(path)) == path
    assert undone_path(path) is None
    assert not is_template(undo_path(path))
    assert template_of(undo_path(path)) == undo_path(template_of(path))
    assert is_template(undo_path(template_of(path))) is is_template(template_of(path))


def test_an_undo_step_can_be_replaced():
    flow = Workflow("w", input=int).then(charge.undo(refund))

    @step
    async def fake(order: int, cents: float | None) -> None: ...

    replaced = flow.replace(refund, fake)
    assert compile_chain(replaced, {})[0].steps["charge~undo"].fn is fake.fn


def test_it_is_drawn():
    flow = Workflow("w", input=int).then(charge.undo(refund))
    tree = compile_chain(flow, {})[0].tree
    assert "undone by refund" in mermaid(tree)
    assert "charge  (undone by refund)" in text(tree)


def test_an_undo_step_must_be_where_the_engine_has_an_executor():
    @step
    def slow(order: int) -> int:
        return order

    undo = step(_top_level, id="back", executor="cluster")
    with pytest.raises(Exception, match="step 'back' runs on executor 'cluster'"):
        Engine("memory:", workflows=[Workflow("w", input=int).then(slow.undo(undo))])


def _top_level(order: int, result: int | None) -> None: ...


class TestFakes:
    flow = Workflow("w", input=int).then(charge.undo(refund))

    @pytest.mark.parametrize("key", [refund, "refund", "charge~undo"])
    def test_an_undo_step_can_be_faked(self, key):
        said = []

        @step
        async def fail(cents: float) -> None:
            raise ValueError("no")

        result = testing.run_sync(
            self.flow.then(fail), 7, fakes={key: lambda order, cents: said.append((order, cents))}
        )
        assert result.status == "failed"
        assert said == [(7, 7.0)]
        assert result.steps["charge~undo"].status == "completed"
        assert result.steps["charge"].undone == "completed"
