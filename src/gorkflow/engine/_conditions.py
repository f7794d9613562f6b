"""Which conditions of the code at hand stand for those that a run was started with."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from gorkflow.flow import ArmSpec, DecisionSpec, NodeSpec, WorkflowSpec, walk

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping, Sequence

    from gorkflow.language.callables import Condition


def _name(arm: ArmSpec) -> str:
    # A lambda's name is its line, which any edit above it moves: to another one's, even.
    return "<lambda>" if arm.condition.startswith("<lambda") else arm.condition


_ALIKE: tuple[Callable[[ArmSpec], Hashable], ...] = (
    lambda arm: (_name(arm), arm.node.id),
    _name,
)
"""What tells conditions, the surest first. Several of one name are told by what they lead to, and
where that does not help, by their order."""


def places(then: DecisionSpec, now: NodeSpec | None) -> list[int | None]:
    """Return, for each condition of a run, which one of the code stands for it.

    That is the one of its name, wherever it stands now. Where only one is left of each, it was
    given another name.

    Args:
        then: the choice or loop that the run executes.
        now: what the code has in its place.

    Returns:
        Numbers of arms of ``now``; ``None``: there is none, or it is not clear which.
    """
    arms = now.conditions if isinstance(now, DecisionSpec) else ()
    asked = then.conditions
    found: list[int | None] = [None] * len(asked)
    wanted, free = list(range(len(asked))), list(range(len(arms)))
    for key in _ALIKE:
        theirs = _grouped(arms, free, key)
        for same, mine in _grouped(asked, wanted, key).items():
            if len(theirs.get(same, ())) == len(mine):
                for index, place in zip(mine, theirs[same], strict=True):
                    found[index] = place
        wanted = [index for index in wanted if found[index] is None]
        free = [place for place in free if place not in found]
    if len(wanted) == len(free) == 1:
        found[wanted[0]] = free[0]
    return found


def _grouped(
    arms: Sequence[ArmSpec], indices: Sequence[int], key: Callable[[ArmSpec], Hashable]
) -> dict[Hashable, list[int]]:
    groups: defaultdict[Hashable, list[int]] = defaultdict(list)
    for index in indices:
        groups[key(arms[index])].append(index)
    return groups


def problem(path: str, then: DecisionSpec, now: NodeSpec | None) -> str | None:
    """Return what keeps the code from deciding as the run would; ``None``: nothing does."""
    found = zip(then.conditions, places(then, now), strict=True)
    gone = [repr(arm.condition) for arm, place in found if place is None]
    if not gone:
        return None
    are = "is" if len(gone) == 1 else "are"
    return (
        f"the conditions of {path!r} have changed: {' and '.join(gone)} {are} gone, or no longer "
        "to be told from others"
    )


def in_order_of(
    tree: WorkflowSpec, code: WorkflowSpec, conditions: Mapping[str, tuple[Condition, ...]]
) -> dict[str, tuple[Condition, ...]]:
    """Return the code's conditions by path, each choice's in the order that a run asks them.

    Left out are those that can't be told: only a run that asks them no more is carried on.

    Args:
        tree: what the run executes.
        code: the tree of the code at hand.
        conditions: of the code.
    """
    here = dict(walk(code))
    ordered: dict[str, tuple[Condition, ...]] = {}
    for path, node in walk(tree):
        if isinstance(node, DecisionSpec):
            known = [place for place in places(node, here.get(path)) if place is not None]
            if len(known) == len(node.conditions):
                ordered[path] = tuple(conditions[path][place] for place in known)
    return ordered
