"""A secret is of the type that it marks."""

from dataclasses import dataclass
from typing import Annotated, assert_type

from pydantic import BaseModel

from gorkflow import Secret, Workflow, step


class Login(BaseModel):
    user: str
    token: Annotated[str, Secret]
    pins: list[Annotated[int, Secret]] = []


@dataclass
class Key:
    text: Annotated[bytes, Secret]


assert_type(Login(user="ann", token="hunter2").token, str)
assert_type(Login(user="ann", token="hunter2").pins, list[int])
assert_type(Key(b"x").text, bytes)
Login(user="ann", token=5)  # error


@step
def sign_in(login: Login) -> Annotated[str, Secret]:
    return login.token


@step
def length(token: str) -> int:
    return len(token)


flow = Workflow("sign-in", input=Login).then(sign_in).then(length)
assert_type(flow, Workflow[Login, int])
