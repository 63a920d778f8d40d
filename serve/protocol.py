"""OpenAI's completions protocol as clients use it: requests and responses.

Unknown keys are ignored and null means the default: editors send both. An unsupported option that would change the completion
is refused, never ignored.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from codenas.decode import MAX_LOGPROBS, FinishReason

MAX_CHOICES, MAX_SEQUENCES = 8, 64
MAX_STOPS, MAX_STOP_CHARACTERS = 64, 512
MAX_BIASES = 1024


def _replace_lone_surrogates(text: Any) -> Any:
    """Replace lone surrogates: editors that truncate text at a UTF-16 code unit send them."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace") if isinstance(text, str) else text


Text = Annotated[str, BeforeValidator(_replace_lone_surrogates)]


class _Wire(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, allow_inf_nan=False)


class StreamOptions(_Wire):
    """Extras of a stream."""

    include_usage: bool = False


class CompletionRequest(_Wire):
    """`POST /v1/completions`. `prompt` is one or several prompts, as text or as token ids; each gets `n` choices.

    With a `suffix` the completion is the text between prompt and suffix, from a model trained to fill in the middle.
    """

    prompt: list[Text | list[int]] = Field(min_length=1, max_length=MAX_SEQUENCES)
    model: str | None = None
    suffix: Text | None = None
    max_tokens: int = Field(64, ge=0, lt=2**31)
    temperature: float = Field(1.0, ge=0, le=2)
    top_p: float = Field(1.0, gt=0, le=1)
    top_k: int | None = Field(None, ge=-1, lt=2**31)
    n: int = Field(1, ge=1, le=MAX_CHOICES)
    best_of: int | None = Field(None, ge=1, le=MAX_CHOICES)
    stream: bool = False
    stream_options: StreamOptions | None = None
    logprobs: int | None = Field(None, ge=0, le=MAX_LOGPROBS)
    echo: bool = False
    stop: list[Annotated[Text, Field(max_length=MAX_STOP_CHARACTERS)]] = Field([], max_length=MAX_STOPS)
    min_p: float = Field(0.0, ge=0, le=1)
    repetition_penalty: float = Field(1.0, ge=0.1, le=10)
    presence_penalty: float = Field(0.0, ge=-2, le=2)
    frequency_penalty: float = Field(0.0, ge=-2, le=2)
    logit_bias: dict[int, Annotated[float, Field(ge=-100, le=100)]] = Field({}, max_length=MAX_BIASES)
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)

    @model_validator(mode="before")
    @classmethod
    def _drop_nulls(cls, data: Any) -> Any:
        return {key: value for key, value in data.items() if value is not None} if isinstance(data, dict) else data

    @field_validator("prompt", mode="before")
    @classmethod
    def _as_list_of_prompts(cls, prompt: Any) -> Any:
        if isinstance(prompt, str) or (isinstance(prompt, list) and prompt and _are_ids(prompt)):
            return [prompt]
        texts = isinstance(prompt, list) and all(isinstance(entry, str) for entry in prompt)
        if not texts and not (isinstance(prompt, list) and all(isinstance(entry, list) and _are_ids(entry) for entry in prompt)):
            raise ValueError("must be a string, a list of strings, a list of token ids, or a list of such lists")
        return prompt

    @field_validator("stop", mode="before")
    @classmethod
    def _as_list_of_stops(cls, stop: Any) -> Any:
        return [stop] if isinstance(stop, str) else stop

    @field_validator("logit_bias", mode="before")
    @classmethod
    def _keys_are_token_ids(cls, biases: Any) -> Any:
        if not isinstance(biases, dict):
            return biases
        if len(biases) > MAX_BIASES or not all(key.isascii() and key.isdigit() and len(key) < 10 for key in biases):
            raise ValueError(f"must have at most {MAX_BIASES} keys, and all of them token ids")
        return {int(key): value for key, value in biases.items()}

    @model_validator(mode="after")
    def _check_combinations(self) -> Self:
        if self.stream_options is not None and not self.stream:
            raise ValueError("stream_options needs stream: true")
        if self.best_of is not None and self.best_of != self.n:
            raise ValueError(f"best_of is not supported: leave it out or make it n ({self.n})")
        if len(self.prompt) * self.n > MAX_SEQUENCES:
            raise ValueError(f"{len(self.prompt)} prompts times n = {self.n} is more than {MAX_SEQUENCES} completions in one request")
        return self


def _are_ids(entries: list[Any]) -> bool:
    return all(type(entry) is int for entry in entries)  # True is an int, but no token


class Logprobs(BaseModel):
    """For each token: its text, its log-probability, the most likely alternatives, and its offset in the text.

    A token that is a part of a character is shown as U+FFFD.
    """

    tokens: list[str] = []
    token_logprobs: list[float | None] = []
    top_logprobs: list[dict[str, float] | None] = []
    text_offset: list[int] = []


class Choice(BaseModel):
    """One completion, or in a stream the next part of it."""

    text: str
    index: int
    logprobs: Logprobs | None = None
    finish_reason: FinishReason | None = None


class Usage(BaseModel):
    """Token counts. A truncated prompt counts with the tokens that were read."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class Completion(BaseModel):
    """The response, and every chunk of a stream."""

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    choices: list[Choice]
    usage: Usage | None = None


class ModelCard(BaseModel):
    """One model."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "codenas"
    max_model_len: int


class ModelList(BaseModel):
    """`GET /v1/models`."""

    object: Literal["list"] = "list"
    data: list[ModelCard]


class Health(BaseModel):
    """`GET /health` and `GET /ready`: the numbers of active and of waiting sequences."""

    status: Literal["ok", "busy", "down"]
    active: int
    waiting: int
