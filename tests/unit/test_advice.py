"""Each kind of advice: one workflow where it must be found, and near misses where it must not."""

# Steps that block are what is tested.

import functools
from typing import Any

import pytest

from gorkflow.context import StepContext
from gorkflow.insight.check import CODES, Advice, check
from gorkflow.policy import Limit, RetryPolicy
from gorkflow.signal import Signal
from gorkflow.step import Step, step
from gorkflow.workflow import Workflow


def told(workflow: Workflow[Any, Any], code: str) -> list[Advice]:
    """What there is to say of a kind, after a look at what does not depend on the kind."""
    found = check(workflow)
    assert {advice.code for advice in found} <= CODES
    assert not [advice for advice in check(workflow, ignore=[code]) if advice.code == code]
    return [advice for advice in found if advice.code == code]


def single(workflow: Workflow[Any, Any], code: str) -> Advice:
    (advice,) = told(workflow, code)
    return advice


@step
def prices() -> list[int]:
    return [1]


@step
def names() -> list[str]:
    return ["a"]


@step
def sizes(ctx: StepContext) -> list[float]:
    ctx.logger.info("run %s", ctx.run_id)
    return [1.0]


@step
def clear() -> None:
    pass


@step(reads=(prices,))
def joined(ctx: StepContext, names: list[str]) -> str:
    return f"{ctx.outputs[prices]} {names}"


@step(timeout=5)
def double(item: int) -> int:
    return 2 * item


@step
def shown(names: list[str]) -> str:
    return str(names)


# ---- step-in-step ------------------------------------------------------------------------------


def priced() -> int:
    return len(prices())


@step
def calls_a_step() -> int:
    return len(prices())


@step
def calls_it_through_a_helper() -> int:
    return priced()


@step
def calls_to_undo(_: int, made: int | None) -> None:
    prices()


class Unbound:
    """As the proxies of web frameworks: says that it isn't there, whatever is asked."""

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError(f"asked for {name}")


unbound = Unbound()


@step
async def uses_proxies() -> int:
    unbound()
    return unbound.current.user()


def test_nothing_is_asked_of_objects():
    assert {advice.code for advice in check(Workflow("w").then(uses_proxies))} == {"unbounded"}


class Fake:
    def calls(self) -> int:
        return len(prices())


@pytest.mark.parametrize("made", [functools.partial(calls_a_step.fn), Fake().calls])
def test_other_callables_are_read_too(made: Any):
    later = step(made, id="later")
    assert told(Workflow("w").then(later), "step-in-step")


def test_without_source_nothing_is_said():
    space: dict[str, Any] = {"__name__": "nowhere", "prices": prices}
    exec(compile("def f() -> int:\n    return prices()\n", "<no such file>", "exec"), space)
    assert not told(Workflow("w").then(step(space["f"])), "step-in-step")


def test_steps_of_one_function_are_named_once():
    copies = [calls_a_step.options(id=f"c{number}") for number in range(3)]
    advice = single(Workflow("w").parallel(*copies), "step-in-step")
    assert advice.message.startswith("steps 'c0', 'c1', 'c2' call step 'prices'")


def test_a_step_called_by_a_step_is_found():
    advice = single(Workflow("w").then(calls_a_step), "step-in-step")
    assert (advice.path, advice.level) == ("calls_a_step", "warning")
    assert "calls step 'prices' (line" in advice.message
    assert "prices.fn(…)" in advice.message


def test_also_through_a_helper_or_a_closure():
    @step
    async def local() -> int:
        return 1

    @step
    async def around() -> int:
        return await local()

    through = single(Workflow("w").then(calls_it_through_a_helper), "step-in-step")
    assert "in priced(), line" in through.message
    assert "'local'" in single(Workflow("w").then(around), "step-in-step").message


@step
def calls_the_function() -> int:
    return len(prices.fn())


@step
def mentions_a_step() -> str:
    return prices.id


@pytest.mark.parametrize("good", [calls_the_function, mentions_a_step])
def test_what_calls_no_step_is_left_alone(good: Step[Any, Any]):
    assert not told(Workflow("w").then(good), "step-in-step")


# ---- deadline and unbounded --------------------------------------------------------------------

ONCE = RetryPolicy(retries=1, initial_interval=10, jitter=0)
quick = prices.options(timeout=20)
slow = names.options(timeout=30, retries=ONCE)  # 30 + 10 + 30


def at_random() -> bool:
    return True


def test_what_does_not_fit_into_a_deadline_is_found():
    advice = single(Workflow("w", timeout=69).then(slow), "deadline")
    assert (advice.path, advice.level) == ("", "warning")
    assert "workflow 'w' may take 70 s" in advice.message
    assert "its timeout is 69 s" in advice.message


def test_what_fits_is_left_alone():
    assert not told(Workflow("w", timeout=70).then(slow), "deadline")
    assert not told(Workflow("w", timeout=90).then(quick).then(slow), "deadline")
    assert told(Workflow("w", timeout=89).then(quick).then(slow), "deadline")


@pytest.mark.parametrize(("places", "takes"), [(None, 70), (2, 90), (1, 160), (9, 70)])
def test_a_block_takes_as_long_as_its_branches_in_their_places(places: int | None, takes: float):
    branches = (quick, slow, names.options(id="third", timeout=70))

    def within(timeout: float) -> list[Advice]:
        workflow = Workflow("w", timeout=timeout).parallel(*branches, max_concurrency=places)
        return told(workflow, "deadline")

    assert not within(takes)
    assert within(takes - 1)


def test_a_timeout_inside_bounds_what_is_around_it():
    block = Workflow("w", timeout=50).parallel(slow, names.options(id="b"), timeout=50, id="both")
    assert not told(block, "deadline")  # nothing bounds b: the block's timeout is all there is
    nested = Workflow("w", timeout=50).then(Workflow("inner", timeout=50).then(slow))
    assert single(nested, "deadline").path == "inner"


def test_a_block_whose_join_goes_on_without_the_late_ones_may_cut_them_off():
    def block(join: Any) -> Workflow[Any, Any]:
        return Workflow("w").parallel(slow, quick, timeout=15, join=join)

    assert single(block("all"), "deadline").path == "&names"
    assert not told(block("settled"), "deadline")
    assert not told(block("first"), "deadline")


def test_a_sleep_past_the_deadline_never_ends():
    workflow = Workflow("w", timeout=60).then(prices).sleep(60, id="nap").then(names)
    assert "never completes" in single(workflow, "deadline").message
    either = Workflow("w", timeout=60).when(at_random, Workflow("nap").sleep(60)).otherwise(names)
    assert not told(either, "deadline")  # nothing is sure: the other arm takes any time


def test_a_choice_takes_its_longest_arm():
    def fits(timeout: float) -> bool:
        workflow = Workflow("w", timeout=timeout).when(at_random, quick).otherwise(slow)
        return not told(workflow, "deadline")

    assert fits(70)
    assert not fits(69)


def test_a_loop_takes_all_its_iterations():
    def fits(timeout: float) -> bool:
        looped = Workflow("w", input=int, timeout=timeout)
        return not told(looped.loop(double, until=at_random, max_iterations=3), "deadline")

    assert fits(15)
    assert not fits(14)


def test_a_map_takes_as_long_as_one_item_where_all_have_room():
    def mapped(places: int | None, timeout: float | None) -> Workflow[Any, Any]:
        listed = Workflow("w", input=list[int], timeout=timeout)
        return listed.map(double, max_concurrency=places)

    assert not told(mapped(None, 5), "deadline")
    assert told(mapped(None, 4), "deadline")
    assert not told(mapped(2, 4), "deadline")
    assert not told(mapped(None, None), "unbounded")
    assert told(mapped(2, None), "unbounded")


def test_very_many_retries_are_bounded_quickly():
    policy = RetryPolicy(retries=10**9, initial_interval=1, max_interval=1, jitter=0)
    workflow = Workflow("w", timeout=2.1e9).then(prices.options(timeout=1, retries=policy))
    assert not told(workflow, "deadline")
    assert told(Workflow("w", timeout=1.9e9).then(workflow), "deadline")


def test_what_nothing_bounds_is_named():
    workflow = Workflow("w").then(prices).wait_for(Signal("go", int)).then(clear)
    advice = single(workflow, "unbounded")
    assert (advice.path, advice.level) == ("", "info")
    assert "'prices', 'go', 'clear' may take any time" in advice.message
    assert not [advice for advice in check(workflow) if advice.level == "warning"]


def test_what_the_data_bounds_is_not_boundless():
    paused = Workflow("w", input=float).sleep(lambda seconds: seconds)
    assert not told(paused, "unbounded")
    timed = paused.wait_for(Signal("go", int), timeout=lambda seconds: seconds)
    assert not told(timed, "unbounded")
    assert not told(Workflow("v", input=float, timeout=60).then(timed.then(clear)), "deadline")
    assert "'clear' may take any time" in single(timed.then(clear), "unbounded").message


def test_a_deadline_bounds_everything():
    assert not told(Workflow("w", timeout=60).then(prices), "unbounded")
    assert not told(Workflow("w").then(quick), "unbounded")
    assert not told(Workflow("w").parallel(prices, names, timeout=9), "unbounded")
    assert not [
        advice
        for advice in check(Workflow("w").then(prices), defaults={"timeout": 5})
        if advice.code == "unbounded"
    ]


# ---- shared-limit and limit-calls --------------------------------------------------------------

gpu = Limit("gpu", concurrency=1)
api = Limit("api", concurrency=2, rate=10, per=60)


def limited(count: int, limit: Limit) -> list[Step[Any, Any]]:
    return [prices.options(id=f"p{number}", limits=(limit,)) for number in range(count)]


def test_branches_that_one_limit_makes_queue_are_found():
    advice = single(Workflow("w").parallel(*limited(3, gpu)), "shared-limit")
    assert (advice.path, advice.level) == ("&p0", "warning")
    assert "needs limit 'gpu', which allows 1 at a time" in advice.message
    assert "its branches run one after another" in advice.message


def test_a_limit_that_lets_some_through_is_good_to_know():
    advice = single(Workflow("w").parallel(*limited(3, api)), "shared-limit")
    assert advice.level == "info"
    assert "only 2 of its branches pass it at a time, though 3 could run" in advice.message
    chains = [Workflow(f"w{item.id}").then(names).then(item) for item in limited(3, gpu)]
    assert single(Workflow("w").parallel(*chains), "shared-limit").level == "info"


@pytest.mark.parametrize(
    "workflow",
    [
        Workflow("w").parallel(*limited(2, api)),
        Workflow("w").parallel(*limited(9, api), max_concurrency=2),
        Workflow("w").parallel(*limited(3, gpu), names),
        Workflow("w").parallel(*limited(3, Limit("api", rate=1, per=60))),
        Workflow("w", input=list[int]).map(double.options(limits=(api,))),
        Workflow("w", input=list[int]).map(double.options(limits=(api,)), max_concurrency=2),
    ],
)
def test_where_nobody_queues_nothing_is_said(workflow: Workflow[Any, Any]):
    assert not told(workflow, "shared-limit")


@pytest.mark.parametrize(
    ("limit", "places", "level"), [(gpu, None, "warning"), (gpu, 4, "warning"), (api, 4, "info")]
)
def test_so_do_the_items_of_a_map(limit: Limit, places: int | None, level: str):
    body = double.options(limits=(limit,))
    workflow = Workflow("w", input=list[int]).map(body, max_concurrency=places)
    assert single(workflow, "shared-limit").level == level


def test_the_calls_of_a_limit_are_counted():
    twice, thrice = limited(2, api)
    thrice = thrice.options(retries=2)
    looped = Workflow("l", input=int).loop(
        double.options(limits=(api,), retries=1), until=at_random, max_iterations=5
    )
    workflow = Workflow("w", input=int).then(looped).when(at_random, twice).otherwise(thrice)
    advice = single(workflow, "limit-calls")  # 5 times 2, and 3 of the longer arm
    assert (advice.path, advice.level) == ("", "info")
    assert "up to 13 calls, retries included, and these take 60 s or more" in advice.message


def test_nobody_knows_how_many_items_a_map_has():
    workflow = Workflow("w", input=list[int]).map(double.options(limits=(api,)))
    assert "as many calls as its maps have items" in single(workflow, "limit-calls").message


def test_a_rate_that_is_too_slow_for_the_deadline_is_found():
    def within(timeout: float, join: Any = "all") -> list[Advice]:
        workflow = Workflow("w", timeout=timeout).parallel(*limited(21, api), join=join)
        return [each for each in told(workflow, "limit-calls") if each.level == "warning"]

    assert within(119)[0].path == ""  # 10 at once, 10 after 60 s, 1 after 120 s
    assert "needs 21 calls of limit 'api', which take 2 min at" in within(119)[0].message
    assert not within(120)
    assert not within(119, "settled")


def test_without_limits_nothing_is_said_of_them():
    assert not told(Workflow("w").parallel(prices, names), "limit-calls")


# ---- all of it ---------------------------------------------------------------------------------


def test_advice_comes_in_the_order_of_the_nodes():
    inner = Workflow("inner", timeout=5).then(quick)
    undone = double.undo(calls_to_undo)
    workflow = Workflow("w").then(calls_a_step).then(inner).map(undone)
    found = [(advice.path, advice.code) for advice in check(workflow)]
    assert found == [
        ("", "unbounded"),
        ("calls_a_step", "step-in-step"),
        ("inner", "deadline"),
        ("double[]~undo", "step-in-step"),
    ]


def test_unknown_codes_are_refused():
    with pytest.raises(
        ValueError, match=r"there is no advice 'deadlin'; did you mean 'deadline'\?"
    ):
        check(Workflow("w").then(quick), ignore=["deadlin"])
