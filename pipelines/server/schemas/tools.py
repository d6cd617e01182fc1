"""Functions that a model may call, as OpenAI's clients describe them, and the calls themselves."""

from typing import Annotated, Any, Literal

from pydantic import Field

from pipelines.server.schemas.base import RequestModel, ResponseModel

FunctionName = Annotated[str, Field(pattern=r"^[a-zA-Z0-9_.-]{1,128}$")]


class Function(RequestModel):
    """A function; without `parameters` it takes none."""

    name: FunctionName
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(RequestModel):
    """A function that may be called."""

    type: Literal["function"]
    function: Function


class FunctionChoice(RequestModel):
    """Names a function."""

    name: FunctionName


class NamedToolChoice(RequestModel):
    """Asks for a call of one function."""

    type: Literal["function"]
    function: FunctionChoice


ToolChoice = Literal["none", "auto", "required"] | NamedToolChoice


class CalledFunction(ResponseModel):
    """The name of the function and its arguments, as JSON in a string."""

    name: str
    arguments: str


class ToolCall(ResponseModel):
    """A call that the model asks for."""

    id: str
    type: Literal["function"] = "function"
    function: CalledFunction
