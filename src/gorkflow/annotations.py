"""Questions about annotations: does a value of this one fit where that one is wanted?

Subtyping itself is beartype's business (``is_subhint``), loaded when first needed. This module
decides what differs because values travel as JSON: every receiver gets its own copy, so containers
are covariant; an ``int`` is good for a ``float``; and an annotation that leaves a value open until
the run (``Any``, a constraint) fits. Its value is validated when it arrives.
"""

from __future__ import annotations

import enum
import sys
import types
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from typing import (
    Annotated,
    Any,
    ForwardRef,
    Literal,
    ParamSpec,
    TypeVar,
    TypeVarTuple,
    Union,
    cast,
    get_args,
    get_origin,
)

from typing_extensions import is_typeddict

from gorkflow.model import Outcome

NO_ITEMS: Any = type("NoItems", (), {"__doc__": "Stands for the items of no list."})
_MAX_DEPTH = 40
_cache: dict[tuple[Any, Any], Relation] = {}
# The annotations are kept along, so that their identities stay taken.
_by_identity: dict[tuple[int, int], tuple[Any, Any, Relation]] = {}
_MAX_CACHED = 2_000
_MAX_SHOWN = 6
_CONTAINERS = frozenset({list, tuple, set, frozenset, dict})


class Relation(enum.Enum):
    """The relation of one annotation to another."""

    SURE = "sure"
    """Every value of the one is a value of the other."""
    MAYBE = "maybe"
    """It depends on the value, which has to be validated."""
    NO = "no"


def fits(given: Any, wanted: Any) -> bool:
    """Return whether a value annotated ``given`` may go to a parameter annotated ``wanted``."""
    return relation(given, wanted) is not Relation.NO


def needs_validation(given: Any, wanted: Any) -> bool:
    """Return whether a value annotated ``given`` has to be validated for ``wanted``."""
    return relation(given, wanted) is not Relation.SURE


def relation(given: Any, wanted: Any) -> Relation:
    if given is wanted:
        return Relation.SURE
    # By identity first: the same value goes to every branch of a block, and hashing the annotation
    # of a wide block for each of them would cost its width squared.
    same = _by_identity.get((id(given), id(wanted)))
    if same is not None:
        return same[2]
    found = _remembered(given, wanted)
    if len(_by_identity) >= _MAX_CACHED:
        _by_identity.clear()
    _by_identity[id(given), id(wanted)] = (given, wanted, found)
    return found


def _remembered(given: Any, wanted: Any) -> Relation:
    try:
        found = _cache.get((given, wanted))
    except Exception:  # noqa: BLE001 - unhashable, or metadata with an odd __eq__
        return _judge(given, wanted, 0)
    if found is None:
        if len(_cache) >= _MAX_CACHED:
            _cache.clear()
        found = _cache[given, wanted] = _judge(given, wanted, 0)
    return found


def _worst(relations: list[Relation]) -> Relation:
    if Relation.NO in relations:
        return Relation.NO
    return Relation.MAYBE if Relation.MAYBE in relations else Relation.SURE


def _best(relations: list[Relation]) -> Relation:
    if Relation.SURE in relations:
        return Relation.SURE
    return Relation.MAYBE if Relation.MAYBE in relations else Relation.NO


def _judge(given: Any, wanted: Any, depth: int) -> Relation:
    given, wanted = unconstrained(given), _unwrapped(wanted)
    if given is wanted or wanted is Any or wanted is object or _equal(given, wanted):
        return Relation.SURE
    if depth > _MAX_DEPTH or _open(given) or _open(wanted):
        return Relation.MAYBE
    if get_origin(wanted) is Annotated:
        # A constraint may hold or not; the value tells.
        inner = _judge(given, get_args(wanted)[0], depth + 1)
        return Relation.NO if inner is Relation.NO else Relation.MAYBE
    if is_union(given):
        return _worst([_judge(item, wanted, depth + 1) for item in get_args(given)])
    if is_union(wanted):
        return _best([_judge(given, item, depth + 1) for item in get_args(wanted)])
    return _judge_single(given, wanted, depth)


def _judge_single(given: Any, wanted: Any, depth: int) -> Relation:
    if hasattr(given, "__supertype__"):  # a NewType
        return _judge(given.__supertype__, wanted, depth + 1)
    if given is None or wanted is None:
        return Relation.NO
    if wanted is float and given is int:
        return Relation.MAYBE  # it becomes one, unless it has too many digits
    return _judge_generic(given, wanted, depth)


def _judge_generic(given: Any, wanted: Any, depth: int) -> Relation:
    origin, target = get_origin(given), get_origin(wanted)
    if origin is tuple and target is tuple:
        return _judge_tuples(get_args(given), get_args(wanted), depth)
    if origin is not None and origin is target and origin is not Literal:
        pairs = list(zip(get_args(given), get_args(wanted), strict=False))
        return _worst([_judge(left, right, depth + 1) for left, right in pairs])
    if origin in _CONTAINERS and isinstance(target, type) and issubclass(origin, target):
        items = get_args(given)
        if origin is tuple:
            items = (union_of([item for item in items if item is not ...] or [Any]),)
        pairs = list(zip(items, get_args(wanted), strict=False))
        return _worst([_judge(left, right, depth + 1) for left, right in pairs])
    if isinstance(given, type) and isinstance(wanted, type) and origin is None and target is None:
        return _judge_classes(given, wanted)
    if target is not None and given is target:
        return Relation.MAYBE  # a bare list for a list[int]
    if is_typeddict(given) and (target or wanted) in {dict, Mapping, MutableMapping}:
        return Relation.SURE if get_args(wanted)[1:] in {(), (Any,), (object,)} else Relation.MAYBE
    return _ask_beartype(given, wanted)


def _judge_tuples(given: tuple[Any, ...], wanted: tuple[Any, ...], depth: int) -> Relation:
    if wanted[1:] == (...,):
        items = given[:1] if given[1:] == (...,) else dict.fromkeys(map(_Key, given))
        return _worst(
            [_judge(getattr(item, "value", item), wanted[0], depth + 1) for item in items]
        )
    if given[1:] == (...,) or len(given) != len(wanted):
        return Relation.NO
    return _worst([relation(left, right) for left, right in zip(given, wanted, strict=True)])


class _Key:
    """An annotation as a key by identity, to judge equal branches of a wide block once."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __hash__(self) -> int:
        return id(self.value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and other.value is self.value


def _judge_classes(given: type, wanted: type) -> Relation:
    if is_typeddict(given) and wanted is dict:
        return Relation.SURE
    if is_typeddict(wanted):
        # A key that the wanted one does not declare would be lost on the way.
        is_dict = given is dict or is_typeddict(given)
        there: frozenset[str] = getattr(given, "__required_keys__", frozenset())
        names = ("__required_keys__", "__optional_keys__")
        declared = frozenset[str]().union(*[getattr(wanted, name) for name in names])
        return Relation.MAYBE if is_dict and there <= declared else Relation.NO
    try:
        if issubclass(given, wanted):
            return Relation.SURE
    except TypeError:  # a protocol that can't be tested at run time
        return Relation.MAYBE
    # A generic model without arguments is one with Any for each of them.
    generic = _model(wanted)
    if generic.get("origin") is not None:
        mine = _model(given)
        if given is generic["origin"] or issubclass(given, generic["origin"]):
            same = mine.get("origin") is generic["origin"]
            if not same:
                return Relation.MAYBE
            pairs = zip(mine["args"], generic["args"], strict=False)
            return _worst([relation(left, right) for left, right in pairs])
    return Relation.NO


def _ask_beartype(given: Any, wanted: Any) -> Relation:
    from beartype.door import is_subhint

    try:
        return Relation.SURE if is_subhint(given, wanted) else Relation.NO
    except Exception:  # noqa: BLE001 - an annotation that beartype does not know: validate
        return Relation.MAYBE


def unconstrained(annotation: Any) -> Any:
    """Return what is promised, constraints aside."""
    annotation = _unwrapped(annotation)
    while get_origin(annotation) is Annotated:
        annotation = _unwrapped(get_args(annotation)[0])
    return annotation


def _unwrapped(annotation: Any) -> Any:
    """Return what a ``type X = …`` alias stands for; ``None`` for its class."""
    if annotation is type(None):
        return None
    while type(annotation).__name__ == "TypeAliasType":
        annotation = annotation.__value__
    return annotation


def _open(annotation: Any) -> bool:
    """Return whether only the value decides."""
    if annotation is Any or annotation is object or isinstance(annotation, str | TypeVar):
        return True
    origin = get_origin(annotation)
    return origin is not None and type(origin).__name__ == "TypeAliasType"


def _equal(given: Any, wanted: Any) -> bool:
    try:
        return bool(given == wanted)
    except Exception:  # noqa: BLE001 - metadata with an odd __eq__
        return False


def is_union(annotation: Any) -> bool:
    """Return whether the annotation is a union, in either spelling."""
    return get_origin(annotation) in {Union, types.UnionType}


def union_of(annotations: list[Any]) -> Any:
    """Return the union of annotations; of one, itself."""
    unique: list[Any] = []
    seen: set[Any] = set()
    for item in annotations:
        try:
            if item in seen:
                continue
            seen.add(item)
        except TypeError:  # unhashable
            pass
        unique.append(item)
    return unique[0] if len(unique) == 1 else Union[tuple(unique)]  # noqa: UP007 - made at run time


def is_optional(annotation: Any) -> bool:
    annotation = unconstrained(annotation)
    if annotation is None:
        return True
    return is_union(annotation) and any(map(is_optional, get_args(annotation)))


def without_none(annotation: Any) -> Any:
    """Return a union without its ``None``; anything else as it is."""
    annotation = unconstrained(annotation)
    if not is_union(annotation):
        return annotation
    kept = [item for item in get_args(annotation) if item is not type(None)]
    return union_of(kept)


def tuple_items(annotation: Any) -> tuple[Any, ...] | None:
    """Return the items of a tuple of known length; of anything else ``None``."""
    annotation = unconstrained(annotation)
    if get_origin(annotation) is not tuple:
        return None
    items = get_args(annotation)
    return None if items[1:] == (...,) else items


def item_of(annotation: Any) -> Any:
    """Return what the items of a list or another sequence are; ``NO_ITEMS`` where it is none."""
    annotation = unconstrained(annotation)
    while hasattr(annotation, "__supertype__"):  # a NewType
        annotation = unconstrained(annotation.__supertype__)
    if _open(annotation):
        return Any
    if is_union(annotation):
        items = [item_of(item) for item in get_args(annotation)]
        return NO_ITEMS if NO_ITEMS in items else union_of(items)
    origin, args = get_origin(annotation) or annotation, get_args(annotation)
    if not isinstance(origin, type) or not issubclass(origin, Sequence):
        return NO_ITEMS
    if issubclass(origin, str | bytes | bytearray | memoryview | range):
        return NO_ITEMS
    known = [item for item in args if item is not ...]
    return union_of(known) if known else Any


def outcome_of(annotation: Any) -> Any:
    generic: Any = Outcome  # made at run time, which no checker follows
    return generic[annotation]


_OUTCOMES = ("Completed", "Failed", "Skipped", "Cancelled")


def describe(annotation: Any) -> str:
    """Return an annotation as a person would write it, with short names."""
    if annotation is None or annotation is type(None):
        return "None"
    if annotation is ...:
        return "..."
    if isinstance(annotation, list):  # the parameters of a Callable
        items = cast("Sequence[Any]", annotation)
        return f"[{', '.join(map(describe, items))}]"
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return describe(args[0])
    if is_union(annotation):
        return _describe_union(args)
    if origin is Literal:
        return f"Literal[{', '.join(map(repr, args))}]"
    if origin is not None:
        more = ", …" if len(args) > _MAX_SHOWN else ""
        inner = ", ".join(map(describe, args[:_MAX_SHOWN])) or "()"
        return f"{describe(origin)}[{inner}{more}]"
    name = getattr(annotation, "__name__", None)
    return name if isinstance(name, str) else repr(annotation).replace("typing.", "")


def _describe_union(args: tuple[Any, ...]) -> str:
    names = [getattr(get_origin(item) or item, "__name__", "") for item in args]
    if all(names.count(name) == 1 for name in _OUTCOMES):
        completed = args[names.index("Completed")]
        rest = [item for item, name in zip(args, names, strict=True) if name not in _OUTCOMES]
        outcome = f"Outcome[{', '.join(map(describe, get_args(completed)))}]"
        return " | ".join([outcome, *map(describe, rest)])
    return " | ".join(map(describe, args))


# ---- generic annotations -------------------------------------------------------------------------

Types = dict[TypeVar, list[Any]]


def type_variables(annotation: Any, *, of_models: bool = True) -> list[Any]:
    """Return the type variables in an annotation.

    To pydantic ``Page`` and ``Page[T]`` are one class, if T is the model's own. ``of_models`` says
    whether such a T counts where nothing is written for it.
    """
    if isinstance(annotation, TypeVar | TypeVarTuple | ParamSpec):
        return [annotation]
    model = _model(annotation)
    if model.get("parameters") and not model.get("args"):
        return list(model["parameters"]) if of_models else []
    inner = model.get("args") or get_args(annotation)
    return [one for item in inner for one in type_variables(item, of_models=of_models)]


def arriving(wanted: Sequence[Any], given: Any) -> dict[Any, Any]:
    """Return what the type variables of a step's inputs stand for where a value arrives.

    A variable that nothing is found for is left out. So is one that the value does not fit, whose
    bound or constraints then say what would. For several inputs, the value is a tuple.
    """
    found: Types = {}
    if len(wanted) == 1:
        _match(wanted[0], given, found)
    else:
        items = tuple_items(given)
        if items is None:
            items = (Any,) * len(wanted) if given is Any else ()
        for annotation, item in zip(wanted, items, strict=False):
            _match(annotation, item, found)
    variables = dict.fromkeys(item for annotation in wanted for item in type_variables(annotation))
    types: dict[Any, Any] = {}
    for variable in variables:
        allowed = _allowed(variable)
        kind = union_of(found[variable]) if variable in found else None
        if variable in found and (allowed is None or fits(kind, allowed)):
            types[variable] = kind
        elif allowed is not None:
            types[variable] = allowed
    return types


def _allowed(variable: TypeVar) -> Any:
    """Return the bound of a type variable, or the union of its constraints; ``None``: anything."""
    if variable.__constraints__:
        return union_of(list(variable.__constraints__))
    bound: Any = variable.__bound__
    if isinstance(bound, ForwardRef):
        module = sys.modules.get(variable.__module__)
        try:
            bound = eval(bound.__forward_arg__, vars(module) if module else {})  # noqa: S307 - the user's own annotation
        except Exception:  # noqa: BLE001 - whatever it is, the value tells
            return None
    return bound


def substituted(annotation: Any, types: Mapping[Any, Any]) -> Any:
    """Return an annotation with types in the place of its type variables."""
    if isinstance(annotation, TypeVar):
        return types.get(annotation, annotation)
    if not any(item in types for item in type_variables(annotation)):
        return annotation
    origin, args = _parts(annotation)
    items = [substituted(item, types) for item in args]
    if is_union(annotation):
        return union_of(items)
    if origin is Annotated:
        return Annotated[items[0], *annotation.__metadata__]
    return origin[tuple(items)]


def _match(wanted: Any, given: Any, found: Types, depth: int = 0) -> None:
    """Find what the type variables of an annotation stand for, in a value's."""
    kept, wanted, given = given, unconstrained(wanted), unconstrained(given)
    if depth > _MAX_DEPTH or not type_variables(wanted):
        return
    if isinstance(wanted, TypeVar):
        found.setdefault(wanted, []).append(kept)
        return
    if is_union(wanted):
        _match_union(get_args(wanted), given, found, depth + 1)
        return
    pairs = list(_pairs(wanted, given))
    for left, right in pairs:
        _match(left, right, found, depth + 1)
    if not pairs and relation(given, wanted) is not Relation.NO:  # such as a bare list
        for item in type_variables(wanted):
            found.setdefault(item, []).append(Any)


def _match_union(wanted: tuple[Any, ...], given: Any, found: Types, depth: int) -> None:
    """Match the members of a union that look alike; a type variable gets the others."""
    left = list(get_args(given)) if is_union(given) else [given]
    alone = [item for item in wanted if isinstance(item, TypeVar)]
    for member in wanted:
        if isinstance(member, TypeVar):
            continue
        same = [item for item in left if item is not Any and fits(item, member)]
        for item in same:
            _match(member, item, found, depth)
        if alone:
            left = [item for item in left if item not in same]
    for variable in alone:
        if left:
            _match(variable, union_of(left), found, depth)


def _pairs(wanted: Any, given: Any) -> Iterator[tuple[Any, Any]]:
    """Yield the arguments of a generic type, each with what the value has in its place."""
    origin, args = _parts(wanted)
    if is_union(given):
        for member in get_args(given):
            yield from _pairs(wanted, member)
        return
    if origin is tuple and args[1:] != (...,):
        yield from zip(args, tuple_items(given) or (), strict=False)
        return
    if (same := _arguments_of(given, origin)) is not None:
        yield from zip(args, same, strict=False)
    elif len(args) == 1 or origin is tuple:
        item = item_of(given)
        if item is not NO_ITEMS and fits(given, substituted(wanted, {args[0]: Any})):
            yield args[0], item
    elif (given_args := get_args(given)) and len(given_args) == len(args):
        yield from zip(args, given_args, strict=True)  # a dict for a Mapping


def _arguments_of(given: Any, origin: Any) -> tuple[Any, ...] | None:
    """Return the arguments with which an annotation is, or derives from, a generic type."""
    if origin is tuple:
        return None
    cls, args = _parts(given)
    if cls is origin:
        return args
    if not isinstance(cls, type):
        return None
    types = dict(zip(getattr(cls, "__parameters__", ()), args, strict=False))
    for base in (*cls.__dict__.get("__orig_bases__", ()), *cls.__bases__):
        if base is not object and (found := _arguments_of(substituted(base, types), origin)):
            return found
    return None


def _parts(annotation: Any) -> tuple[Any, tuple[Any, ...]]:
    """Return a generic type and its arguments; of any other annotation, itself and none."""
    model = _model(annotation)
    if model:
        return model["origin"] or annotation, model["args"] or model["parameters"]
    return get_origin(annotation) or annotation, get_args(annotation)


def _model(annotation: Any) -> dict[str, Any]:
    """Return what pydantic keeps of a generic model."""
    return getattr(annotation, "__pydantic_generic_metadata__", None) or {}
