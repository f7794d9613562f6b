"""The redaction of a run: it leaves the secrets out of what views show.

The record of a secret is marked, so its place is known wherever it stands. Its text is looked for
in all other texts as well: in messages, tracebacks, logs and outputs that were made with it.
"""

# pyright: reportUnknownArgumentType=false, reportUnknownVariableType=false
from __future__ import annotations

import bisect
import dataclasses
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, TypeVar, cast

from msgspec import Struct, structs

from gorkflow.events import Event, ResultKept, RunCreated, SignalReceived, StepCompleted
from gorkflow.flow import StepSpec, WorkflowSpec, defaults_of, walk
from gorkflow.values.kind import MARK, VALUE
from gorkflow.values.records import plain
from gorkflow.values.secret import HEAD, has_mark, replaced, secrets_in

T = TypeVar("T")

MASK: Final = "•••"
"""Stands for a secret in what views show."""
SHORTEST: Final = 4
"""Characters from which on a secret is looked for in texts: a shorter one is in many by chance."""
_LINE = 8  # the same for one line of a secret: a key is a text of many
_PIECE = 256  # characters of a secret that are looked for at once: of a longer one, its pieces are
_FEW = 100  # secrets that are looked for one by one before a text is read through
_LONG = 1_000  # characters of a text that may have been cut where it ends
_LONGEST = 16_000  # those of a traceback: of a longer one the end is kept
_CUT = "…"
_MIDDLE = " … "
_HEAD = HEAD.decode()
_decoder = json.JSONDecoder()


class Redaction:
    """Leaves out the secrets that it has learned. It is false while there are none.

    Example:
        >>> redaction = Redaction()
        >>> bool(redaction)
        False
        >>> redaction.learn_record(b'{"token":{"$":"secret","$v":"hunter2"}}')
        >>> redaction.text("can't log in with 'hunter2'")
        "can't log in with '•••'"
        >>> redaction.view(b'{"token":{"$":"secret","$v":"hunter2"},"pin":1}')
        {'token': '•••', 'pin': 1}
    """

    __slots__ = ("_ends", "_forms", "_found", "_numbers", "_reversed", "_sorted", "_starts")

    def __init__(self) -> None:
        self._found = False
        self._numbers: set[str] = set()
        self._forms: set[str] = set()
        """The texts to look for. None is long, so that no place of a text is compared with much."""
        self._starts: dict[str, list[int]] = {}
        """Their lengths by their first characters, the largest first."""
        self._ends: set[str] = set()
        """Their last characters."""
        self._sorted: list[str] = []
        """The texts in order, as far as they were needed so."""
        self._reversed: list[str] = []
        """The same of the texts read from their ends."""

    def __bool__(self) -> bool:
        """Return whether there is anything to leave out."""
        return self._found

    # ---- learning -------------------------------------------------------------------------

    @classmethod
    def of(cls, tree: WorkflowSpec, events: Iterable[Event]) -> Redaction:
        """Return the redaction of a run."""
        found = cls()
        found.learn_tree(tree)
        for event in events:
            found.learn(event)
        return found

    @classmethod
    def of_record(cls, data: bytes | str) -> Redaction:
        """Return the redaction of one record."""
        found = cls()
        found.learn_record(data)
        return found

    def learn(self, event: Event) -> None:
        """Learn the secrets that an event records; the logs of threads may read meanwhile."""
        for data in records_of(event):
            if has_mark(data):
                self.learn_record(data)

    def learn_tree(self, tree: WorkflowSpec) -> None:
        """Learn the secrets among the settings and defaults of a workflow."""
        for text in _texts_of(tree):
            if has_mark(text):
                self.learn_record(text)

    def learn_record(self, data: bytes | str) -> None:
        """Learn the secrets in a record."""
        for inner in secrets_in(json.loads(data)):
            self._found = True
            for leaf in _leaves(inner):
                self._add(leaf)

    def _add(self, leaf: str | float) -> None:
        if not isinstance(leaf, str):
            self._numbers.add(repr(leaf))
        for form in _forms(leaf):
            for piece in _pieces(form):
                self._forms.add(piece)
                self._ends.add(piece[-SHORTEST:])
                start = piece[:SHORTEST]
                known = self._starts.get(start, [])
                if len(piece) not in known:
                    self._starts[start] = sorted([*known, len(piece)], reverse=True)

    # ---- what views show ------------------------------------------------------------------

    def text(self, text: str) -> str:
        """Return a text without secrets."""
        if _HEAD in text:
            text = _without_records(text)
        starts = tuple(self._starts)
        if len(starts) > _FEW or _begins(text) or any(start in text for start in starts):
            return _masked(text, self._parts(text))
        return text

    def holds(self, text: str) -> bool:
        """Return whether there is a secret in a text."""
        return self.text(text) != text

    def view(self, data: bytes | str) -> Any:
        """Return what a record says without its secrets, as plain data."""
        return self.value(plain(replaced(json.loads(data), _mask)))

    def value(self, data: Any) -> Any:
        """Return plain data without secrets: texts, keys, and numbers that are one."""
        if isinstance(data, str):
            return self.text(data)
        if isinstance(data, list):
            items: list[Any] = data
            return [self.value(item) for item in items]
        if isinstance(data, dict):
            found: dict[str, Any] = data
            return {self.text(key): self.value(item) for key, item in found.items()}
        if type(data) in {int, float} and repr(data) in self._numbers:
            return MASK if len(repr(data)) >= SHORTEST else data
        return data

    def shown(self, item: T) -> T:
        """Return anything made of a run without secrets: events, failures, steps, explanations.

        Records in it become records without secrets. The values of steps have to be plain data.
        """
        if not self._found:
            return item
        found: Any = self._shown(item)
        return cast("T", found)

    def _shown(self, item: Any) -> Any:
        if type(item) is str:
            return self._record(item) if _HEAD in item else self.text(item)
        if isinstance(item, bytes):
            return self._record(item.decode()).encode()
        if isinstance(item, Struct):
            return structs.replace(item, **self._changed(item, item.__struct_fields__))
        if dataclasses.is_dataclass(item) and not isinstance(item, type):
            names = [field.name for field in dataclasses.fields(item) if field.init]
            changed = self._changed(item, names)
            return dataclasses.replace(item, **changed) if changed else item
        if isinstance(item, Mapping):
            found: Mapping[Any, Any] = item
            return {self._shown(key): self._shown(each) for key, each in found.items()}
        if isinstance(item, tuple | list | frozenset):
            items: Iterable[Any] = item
            parts = [self._shown(each) for each in items]
            kind: Any = cast("Any", type(items))
            return kind._make(parts) if hasattr(kind, "_make") else kind(parts)
        return item

    def _changed(self, item: Any, names: Iterable[str]) -> dict[str, Any]:
        pairs = [(name, getattr(item, name)) for name in names]
        shown = [(name, each, self._shown(each)) for name, each in pairs]
        return {name: found for name, each, found in shown if found is not each}

    def _record(self, text: str) -> str:
        """Return a record without secrets; what is not a record is a text."""
        try:
            record = json.loads(text)
        except ValueError:
            return self.text(text)
        found = self.value(replaced(record, _mask))
        return json.dumps(found, ensure_ascii=False, separators=(",", ":"))

    def _parts(self, text: str) -> Iterator[tuple[int, int]]:
        """Yield where secrets begin and end in a text, also those that were cut."""
        starts, forms = self._starts, self._forms
        for at in range(len(text) - SHORTEST + 1):
            lengths = starts.get(text[at : at + SHORTEST])
            if lengths:
                whole = (size for size in lengths if text[at : at + size] in forms)
                size = next(whole, 0) or self._cut(text, at, lengths[0])
                if size:
                    yield at, at + size
        begins = _begins(text)
        if not begins:
            return
        last = range(len(text) - SHORTEST + 1)
        ends = [at + SHORTEST for at in last if text[at : at + SHORTEST] in self._ends]
        for begin in begins:  # within one, maybe
            first = bisect.bisect_left(ends, begin + SHORTEST)
            after = bisect.bisect_right(ends, begin + _PIECE)
            parts = (end for end in reversed(ends[first:after]) if self._is_end(text[begin:end]))
            end = next(parts, 0)
            if end:
                yield begin, end

    def _is_end(self, part: str) -> bool:
        """Return whether a secret ends with a text."""
        if len(self._reversed) < len(self._forms):
            self._reversed = sorted(form[::-1] for form in tuple(self._forms))
        return _begins_one(self._reversed, part[::-1])

    def _cut(self, text: str, at: int, longest: int) -> int:
        """Return how much of a secret that was cut stands at a place; 0: nothing."""
        part = text[at : at + longest]
        head, cut, _ = part.partition(_CUT)
        if cut and head.endswith(" "):
            head = head[:-1]  # of " … "
        is_cut = bool(cut) or (len(part) < longest and len(text) >= _LONG)
        if not is_cut or len(head) < SHORTEST:
            return 0
        if len(self._sorted) < len(self._forms):
            self._sorted = sorted(self._forms)
        return len(head) if _begins_one(self._sorted, head) else 0


def view_of(data: bytes | str) -> Any:
    """Return what one record says without its secrets, as plain data.

    Example:
        >>> view_of(b'{"token":{"$":"secret","$v":"hunter2"},"url":"/?t=hunter2"}')
        {'token': '•••', 'url': '/?t=•••'}
    """
    redaction = Redaction()
    if has_mark(data):
        redaction.learn_record(data)
    return redaction.view(data)


def _begins(text: str) -> list[int]:
    """Return where a long text begins, and where it continues after something was left out."""
    if len(text) < _LONG:
        return []
    found = [match.end() for match in re.finditer(_MIDDLE, text)]
    return [0, *found] if len(text) >= _LONGEST else found


def _begins_one(texts: list[str], head: str) -> bool:
    """Return whether one of these texts, which are in order, begins with another one."""
    place = bisect.bisect_left(texts, head)
    return any(text.startswith(head) for text in texts[place : place + 1])


def _mask(_: object) -> str:
    return MASK


def _masked(text: str, parts: Iterable[tuple[int, int]]) -> str:
    """Return a text with a mask in the place of its parts, which may overlap."""
    found: list[str] = []
    done = end = 0
    for begin, stop in sorted(parts):
        if begin >= end:
            found += [text[done:begin], MASK]
        end = done = max(end, stop)
    return "".join([*found, text[done:]])


def _without_records(text: str) -> str:
    """Return a text with a mask in the place of the records of secrets in it."""
    found: list[str] = []
    done = 0
    while (at := text.find(_HEAD, done)) >= 0:
        found += [text[done:at], f'"{MASK}"']
        try:
            done = _decoder.raw_decode(text, at)[1]
        except (ValueError, RecursionError):  # it was cut, or is none
            cut = text.find(_CUT, at)
            done = len(text) if cut < 0 else cut
    return "".join([*found, text[done:]])


# ---- what is learned -----------------------------------------------------------------------------


def has_secrets(event: Event) -> bool:
    """Return whether an event records a secret."""
    return any(map(has_mark, records_of(event)))


def records_of(event: Event) -> Iterator[bytes | str]:
    """Yield the records that an event brings: of values, and of writes into the state."""
    match event:
        case StepCompleted(output=data) | ResultKept(output=data) | RunCreated(input=data):
            if data is not None:
                yield data
            yield from (write.text for write in event.state)
        case SignalReceived():
            yield event.payload
        case _:
            pass


def _texts_of(tree: WorkflowSpec) -> Iterator[str]:
    yield from defaults_of(tree).values()
    for _, node in walk(tree):
        if isinstance(node, StepSpec):
            steps = (node,) if node.undo is None else (node, node.undo.step)
            yield from (text for step in steps for _, text in step.settings)


def _leaves(record: Any) -> Iterator[str | float]:
    """Yield the texts and numbers in what a secret holds, and its longer keys.

    Not the names of classes and fields.
    """
    if type(record) in {str, int, float}:
        yield record
    elif isinstance(record, list):
        items: list[Any] = record
        for item in items:
            yield from _leaves(item)
    elif isinstance(record, dict):
        found: dict[str, Any] = record
        if found.get(MARK) in {"bytes", "bytearray"}:
            yield from _texts_of_bytes(found.get(VALUE))
        elif found.get(MARK) == "datetime" and isinstance(found.get(VALUE), str):
            yield found[VALUE].replace("T", " ", 1)  # as ``str`` writes it
        for key, item in found.items():
            if not key.startswith(MARK) or key == VALUE:
                yield from _leaves(item)
                if MARK not in found and len(key) >= _LINE:
                    yield key


def _texts_of_bytes(text: Any) -> Iterator[str]:
    from base64 import b64decode  # few secrets are bytes

    try:
        data = b64decode(text)
    except (TypeError, ValueError):  # the record is damaged
        return
    yield repr(data)[2:-1]
    yield data.hex()
    yield data.decode(errors="replace")


def _forms(leaf: str | float) -> set[str]:
    """Return how a secret may stand in a text: as it is, quoted, encoded; and each line."""
    from unicodedata import normalize

    whole = leaf if isinstance(leaf, str) else repr(leaf)
    texts = {whole, whole.strip()}  # programs strip what they read from files
    if isinstance(leaf, int):
        texts |= {f"{leaf:,}", f"{leaf:_}"}
    if not whole.isascii():
        texts |= {normalize(form, whole) for form in ("NFC", "NFD")}
    forms = {form for text in texts for form in _encoded(text)}
    for _ in range(2):  # a text that quotes it may be quoted again
        forms |= {quoted for form in forms for quoted in _quoted(form)}
    lines = {line.strip() for line in whole.splitlines()}
    found = {form for form in forms if len(form.strip()) >= SHORTEST}
    found |= {line for line in lines if len(line) >= _LINE}
    return found.union(*map(_in_base64, texts))


_COMPONENT = "!~*'()"  # what encodeURIComponent of JavaScript leaves as it is, beside letters
_URI = f"{_COMPONENT};,/?:@&=+$#"  # the same of encodeURI
_PERCENT = re.compile("%[0-9A-F]{2}")


def _encoded(text: str) -> set[str]:
    """Return how URLs, HTML and the bytes of Python have a text."""
    from html import escape
    from urllib.parse import quote, quote_plus  # slow to load, and few runs have secrets

    in_html = escape(text)
    in_urls = {quote(text, safe, errors="replace") for safe in ("/", "", _COMPONENT, _URI)}
    in_urls.add(quote_plus(text, errors="replace"))
    in_urls |= {quote(form, safe) for form in in_urls for safe in ("/", "")}  # within another URL
    return {
        text,
        *in_urls,
        *(_PERCENT.sub(lambda code: code[0].lower(), form) for form in in_urls),
        repr(text.encode(errors="replace"))[2:-1],
        escape(text, quote=False),
        in_html,
        in_html.replace("&quot;", "&#34;").replace("&#x27;", "&#39;"),  # as templates write it
    }


def _in_base64(text: str) -> set[str]:
    """Return what a secret looks like within a longer text that is encoded in base64.

    Three bytes become four characters, so there are three ways. The characters at both ends that
    depend on the bytes around it are left out. So a short secret has hardly any.
    """
    from base64 import b64encode  # few runs have secrets

    data = text.encode(errors="replace")
    found: set[str] = set()
    for before, first in enumerate((0, 2, 3)) if len(data) >= _LINE else ():
        whole = (before + len(data)) * 8 // 6
        form = b64encode(bytes(before) + data).decode()[first:whole]
        found |= {form, form.replace("+", "-").replace("/", "_")}
    return found


def _pieces(form: str) -> Iterator[str]:
    """Yield the pieces of a text; they overlap, so that a cut leaves no part between them."""
    last = max(0, len(form) - _PIECE)
    for at in (*range(0, last, _PIECE - SHORTEST), last):
        yield form[at : at + _PIECE]


def _quoted(text: str) -> tuple[str, ...]:
    """Return how Python and JSON write a text within quotes."""
    both = "'\""  # a text with both has the first one escaped
    return (
        repr(text)[1:-1],
        repr(text + both)[1:-4],
        ascii(text)[1:-1],
        ascii(text + both)[1:-4],
        json.dumps(text)[1:-1],
        json.dumps(text, ensure_ascii=False)[1:-1],
    )
