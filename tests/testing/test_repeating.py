"""Fakes inside maps and loops, and results by the paths of items and iterations."""

import pytest

from gorkflow import StepContext, Workflow, WorkflowInvalidError, step, testing


@step
async def fetch(name: str) -> int:
    raise AssertionError("tests don't fetch")


@step
async def shorten(number: int) -> int:
    return number // 2


def is_small(number: int) -> bool:
    return number < 10


page = Workflow("page", input=str).then(fetch).loop(shorten, until=is_small, max_iterations=9)
site = Workflow("site", input=list[str]).map(page, key=lambda name: name)


def run(fakes, *names):
    return testing.run_sync(site, list(names), fakes=fakes)


@pytest.mark.parametrize("key", [fetch, "fetch", "page[]/fetch"], ids=["step", "id", "path"])
def test_one_fake_stands_in_for_all_items(key):
    result = run({key: len}, "a" * 20, "b" * 4)
    assert result.output == [5, 2]


def test_a_fake_can_tell_the_items_apart():
    def fake(ctx: StepContext, name: str) -> int:
        if ctx.path == "page[b%2F1]/fetch":
            raise ConnectionError(name)
        return 8

    result = run({fetch: fake}, "a", "b/1")
    assert result.status == "failed"
    assert [failure.path for failure in result.error.failures] == ["page[b%2F1]/fetch"]
    assert result.steps["page[a]/fetch"].output == 8


def test_a_body_can_be_faked_as_a_whole():
    assert run({page: 3}, "a", "b").output == [3, 3]
    assert run({"page": len}, "a", "bb").output == [1, 2]


def test_the_body_of_a_loop_can_be_faked():
    counts = iter([30, 20, 9])
    result = run({fetch: 100, "page[]/shorten#": lambda _: next(counts)}, "a")
    assert result.output == [9]
    assert result.steps["page[a]/shorten#3"].output == 9


def test_a_single_item_has_no_fake_of_its_own():
    with pytest.raises(WorkflowInvalidError, match=r"did you mean 'page\[\]/fetch'"):
        run({"page[a]/fetch": 3}, "a")
