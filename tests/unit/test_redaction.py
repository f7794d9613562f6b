"""The redaction: which texts it leaves out, in which forms, and how it meets a cut."""

import json
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from html import escape
from unicodedata import normalize
from urllib.parse import quote, quote_plus, urlencode

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markupsafe import escape as in_template

from gorkflow.events import StepCompleted, StepFailed
from gorkflow.model import Failure, FailureCode
from gorkflow.redaction import MASK, Redaction
from gorkflow.state_changes import Write

SECRET = "sesame-Öffne/dich 'jetzt' & \"gleich\"\n"
texts = st.text(min_size=4, max_size=30).filter(lambda text: len(text.strip()) >= 4)


def marked(value: object) -> bytes:
    return json.dumps({"$": "secret", "$v": value}, separators=(",", ":")).encode()


def knowing(*secrets: object) -> Redaction:
    redaction = Redaction()
    for secret in secrets:
        redaction.learn_record(marked(secret))
    return redaction


@pytest.mark.parametrize(
    "form",
    [
        SECRET,
        repr(SECRET),
        ascii(SECRET),
        json.dumps(SECRET),
        json.dumps(SECRET, ensure_ascii=False),
        quote(SECRET),
        quote(SECRET, safe=""),
        quote_plus(SECRET),
        urlencode({"token": SECRET}),
        repr({"token": SECRET}),
        json.dumps([SECRET]),
        repr(SECRET.encode()),
        quote(SECRET).replace("%C3%96", "%c3%96").replace("%C3", "%c3"),
        quote(SECRET, safe="!~*'()"),
        quote(SECRET, safe="!~*'();,/?:@&=+$#"),
        quote(quote(SECRET)),
        quote(quote(SECRET, safe=""), safe=""),
        normalize("NFD", SECRET),
    ],
)
def test_secret_is_found_in_any_form(form: str):
    shown = knowing(SECRET).text(f"before {form} after")
    assert shown.startswith("before ")
    assert shown.endswith(" after")
    assert MASK in shown
    assert "sesame" not in shown
    assert "gleich" not in shown


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (12345678, "12,345,678"),
        (12345678, "12_345_678"),
        ({"key-sesame": 1}, "key-sesame"),
        ([{"key-sesame": {}}], "key-sesame"),
    ],
)
def test_secret_number_with_separators_and_a_secret_key_are_found(value: object, text: str):
    assert knowing(value).text(f"<{text}>") == f"<{MASK}>"


def test_names_of_fields_and_short_keys_are_no_secrets():
    redaction = knowing({"$": "Login", "user_name": "sesame"}, {"short": "sesame"})
    assert redaction.text("user_name short") == "user_name short"


@given(st.binary(max_size=5), st.text(min_size=8), st.binary(max_size=5))
@example(b"user:", "hunter2-hunter2", b"")
def test_secret_is_found_within_base64(before: bytes, secret: str, after: bytes):
    data = before + secret.encode() + after
    for encoded in (b64encode(data).decode(), urlsafe_b64encode(data).decode()):
        shown = knowing(secret).text(f"Basic {encoded}.")
        kept = len(shown.replace(MASK, "")) - len("Basic .")
        assert MASK in shown
        assert kept <= len(encoded) - len(secret.encode()) * 8 // 6 + 2


@pytest.mark.parametrize("secret", ["hunter2+hunter2\n", "\r\n hunter2+hunter2", "hunter+2 \n"])
def test_secret_is_found_without_the_blanks_around_it(secret: str):
    text, basic = secret.strip(), f"user:{secret.strip()}"
    shown = knowing(secret).text(f"{text} {quote_plus(text)} {b64encode(basic.encode()).decode()}")
    assert shown.startswith(f"{MASK} {MASK} ")
    assert shown.count(MASK) == 3


@pytest.mark.parametrize("written", [escape, partial(escape, quote=False), in_template])
def test_secret_is_found_in_html(written: Callable[[str], str]):
    secret = "<a&b'c\"d>"
    assert knowing(secret).text(f"<p>{written(secret)}</p>") == f"<p>{MASK}</p>"


def test_little_text_is_no_secret_in_base64():
    assert knowing("hunter2").text(f"Basic {b64encode(b'hunter').decode()}") == "Basic aHVudGVy"


@given(texts, st.text(), st.text())
def test_no_text_keeps_a_secret(secret: str, before: str, after: str):
    redaction = knowing(secret)
    for form in (secret, repr(secret), json.dumps(secret)):
        assert secret not in redaction.text(before + form + after).replace(MASK, "\0")
    assert secret not in json.dumps(redaction.value({secret: [secret]}), ensure_ascii=False)


@given(st.lists(texts, min_size=1, max_size=6), st.text())
def test_secrets_may_overlap(secrets: list[str], between: str):
    redaction = knowing(*secrets)
    joined = between.join(secrets)
    shown = redaction.text(joined)
    assert not any(secret in shown.replace(MASK, "\0") for secret in secrets)


@given(texts, st.text(alphabet="xyz "))
def test_other_texts_stay(secret: str, other: str):
    redaction = knowing("hunter2", secret)
    if not redaction.holds(other):
        assert redaction.text(other) == other
        assert redaction.value([other, 1, None, True, {"a": other}]) == [
            other, 1, None, True, {"a": other},
        ]  # fmt: skip


def test_two_that_overlap_leave_no_end():
    assert knowing("abcdef", "cdefgh").text("-abcdefgh-") == f"-{MASK}-"


def test_lines_of_a_key_are_found_alone():
    key = "-----BEGIN KEY-----\nMIIEvQIBADANBg\nkqhkiG9w0BAQEF\n-----END KEY-----\n"
    shown = knowing(key).text("    MIIEvQIBADANBg\n    kqhkiG9w0BAQEF\n    other")
    assert shown == f"    {MASK}\n    {MASK}\n    other"


def test_short_secret_is_left_in_texts_and_hidden_at_its_place():
    redaction = knowing("abc", 7)
    assert redaction.text("abc 7") == "abc 7"
    assert redaction.view(b'{"pin":{"$":"secret","$v":7},"note":"abc"}') == {
        "pin": MASK,
        "note": "abc",
    }


def test_number_is_found_in_texts_and_values():
    redaction = knowing(123456, 0.125)
    assert redaction.text("the pin 123456 is wrong") == f"the pin {MASK} is wrong"
    assert redaction.value([123456, 0.125, 123457, True]) == [MASK, MASK, 123457, True]


def test_bytes_are_found_in_their_forms():
    record = b'{"$":"secret","$v":{"$":"bytes","$v":"aHVudGVyMv8="}}'
    redaction = Redaction()
    redaction.learn_record(record)
    for form in (repr(b"hunter2\xff"), b"hunter2\xff".hex(), "aHVudGVyMv8="):
        assert MASK in redaction.text(form)


def test_datetime_is_found_as_str_writes_it():
    at = datetime(1999, 1, 2, 3, 4, tzinfo=UTC)
    redaction = Redaction()
    redaction.learn_record(
        b'{"$":"secret","$v":{"$":"datetime","$v":"%s"}}' % at.isoformat().encode()
    )
    assert redaction.text(f"{at} {at.isoformat()}") == f"{MASK} {MASK}"


@pytest.mark.parametrize("size", [4, 7, 11])
def test_cut_secret_is_found(size: int):
    redaction = knowing("hunter2hunter2")
    head = "hunter2hunter2"[:size]
    assert redaction.text(f"no such user {head}…") == f"no such user {MASK}…"
    assert redaction.text(f"no such user '{head}… and more") == f"no such user '{MASK}… and more"
    long = "x" * 3_000
    assert redaction.text(long + head) == long + MASK
    tail = "hunter2hunter2"[-size:]
    longest = "x" * 16_000
    assert redaction.text(tail + longest) == MASK + longest
    assert redaction.text(f"only {head}") == f"only {head}", "nothing was cut"


@given(st.text("ab…\"' ", min_size=4, max_size=12), st.text("ab… ", max_size=4))
def test_secret_with_a_cut_in_it_is_found_whole(secret: str, after: str):
    if len(secret.strip()) < 4:
        return
    redaction = knowing(secret)
    for form in (secret, repr(secret)[1:-1]):
        shown = redaction.text(f"x{form}x{after}")
        assert shown == f"x{MASK}x{redaction.text(after)}", (secret, shown)


def test_record_in_a_text_is_left_out_even_if_it_is_short_or_cut():
    redaction = Redaction()
    record = marked("ab").decode()
    assert redaction.text(f"'a' left {record}, 'b' 1") == f"'a' left \"{MASK}\", 'b' 1"
    assert redaction.text(f"'a' left {record[:-3]}…, 'b' 1") == f"'a' left \"{MASK}\"…, 'b' 1"


def test_events_are_shown_without_secrets():
    redaction = knowing("hunter2")
    failure = Failure(
        path="a",
        step_id="a",
        attempt=1,
        code=FailureCode.STEP_FAILED,
        type="ValueError",
        message="bad hunter2",
        traceback="raise ValueError('bad hunter2')",
        at=datetime.now(UTC),
    )
    failed = redaction.shown(StepFailed("r", 3, "a", 1.0, 1, failure, None, None))
    assert "hunter2" not in repr(failed)
    assert failed.failure.at == failure.at
    data = b'{"token":{"$":"secret","$v":"hunter2"},"note":"hunter2","count":5}'
    writes = (Write("key", "set", data.decode()),)
    event = StepCompleted("r", 2, "a", 1.0, 1, data, 1.0, None, writes)
    shown = redaction.shown(event)
    assert json.loads(shown.output) == {"token": MASK, "note": MASK, "count": 5}
    assert json.loads(shown.state[0].text) == {"token": MASK, "note": MASK, "count": 5}
    assert redaction.shown(shown) == shown
    assert (shown.seq, shown.at, shown.attempt) == (2, 1.0, 1)


def test_without_secrets_nothing_is_touched():
    redaction = Redaction()
    event = StepCompleted("r", 2, "a", 1.0, 1, b'{"a":1}', 1.0)
    redaction.learn(event)
    assert not redaction
    assert redaction.shown(event) is event


def test_many_secrets_are_found_in_time_that_does_not_multiply():
    redaction = knowing(*[f"token-{number:05}" for number in range(20_000)])
    text = " ".join(f"token-{number:05}" for number in range(0, 20_000, 100))
    assert redaction.text(text) == " ".join([MASK] * 200)


class Counted(str):  # noqa: SLOT000 - it counts
    """A text that counts the characters which are read of it."""

    read = 0

    def __getitem__(self, key: object) -> str:
        part = super().__getitem__(key)  # type: ignore[index]
        self.read += len(part)
        return part

    def startswith(self, prefix: str, *args: int) -> bool:  # type: ignore[override]
        self.read += len(prefix)
        return super().startswith(prefix, *args)


def alike(size: int) -> tuple[str, str]:
    return "a" * size, "a" * size


def all_but_the_end(size: int) -> tuple[str, str]:
    return "a" * size + "b", "a" * size


def cut_often(size: int) -> tuple[str, str]:
    return "ab … " * (size // 5), "ab … c" * (size // 6)


def without_a_beginning(size: int) -> tuple[str, str]:
    key = "".join(f"{number:x}," for number in range(size))
    return key[:size], f"{key[size // 2 : size]} {'x' * 16_000}"


@pytest.mark.parametrize("case", [alike, all_but_the_end, cut_often, without_a_beginning])
def test_long_secret_and_text_cost_as_much_as_they_are_long(
    case: Callable[[int], tuple[str, str]],
) -> None:
    read: list[int] = []
    for size in (3_000, 12_000):
        secret, given_text = case(size)
        text = Counted(given_text)
        knowing(secret).text(text)
        read.append(text.read)
    assert read[1] < 6 * read[0], "a text of four times the size"


def test_long_secret_is_found_whole_cut_and_in_part():
    secret = "".join(f"{number:x}," for number in range(2_000))
    redaction = knowing(secret)
    assert redaction.text(f"key {secret} end") == f"key {MASK} end"
    for size in (4, 252, 253, 255, 256, 257, 260, 504, 1_000):
        shown = redaction.text(f"key '{secret[:size]}… end")
        assert shown == f"key '{MASK}… end", size
        tail = redaction.text(secret[-size:] + " " + "x" * 16_000)
        assert tail == MASK + " " + "x" * 16_000, size
    assert MASK in redaction.text(f"a part: {secret[700:1_700]}")


def test_text_that_looks_like_nested_secrets_is_left_out():
    redaction = knowing("hunter2")
    assert redaction.text("a " + '{"$":"secret","$v":' * 20_000) == f'a "{MASK}"'
