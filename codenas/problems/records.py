"""One record type per benchmark format. The files are other people's: unknown keys are ignored."""

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, field_validator

_MBPP_TEST_IDS = range(11, 511)


class HumanEvalProblem(BaseModel):
    """A problem in the format of HumanEval (Chen et al. 2021), which HumanEval Infilling (Bavarian et al. 2022) and EvalPlus share.

    Attributes:
        prompt: code up to the place where the model writes: imports, signature and docstring, and for infilling the lines before the gap.
        canonical_solution: the reference completion.
        suffix: the code after the gap; empty unless it is an infilling problem.
        test: code that defines `check(candidate)`; empty where the file has none.
        entry_point: the function that is tested.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    task_id: str
    prompt: str
    canonical_solution: str
    suffix: str = ""
    test: str = ""
    entry_point: str = ""

    @field_validator("suffix", "test", "entry_point", mode="before")
    @classmethod
    def _null_is_empty(cls, value: object) -> object:
        return "" if value is None else value


class MbppProblem(BaseModel):
    """A problem of MBPP (Austin et al. 2021), in its full or its sanitised form.

    Attributes:
        text: the task in words; the sanitised form calls it `prompt`.
        code: the reference solution.
        test_list: assertions on the solution.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    task_id: int
    text: str = Field(validation_alias=AliasChoices("text", "prompt"))
    code: str
    test_list: tuple[str, ...] = ()

    @property
    def is_test(self) -> bool:
        """Whether it belongs to the test split (task ids 11 to 510)."""
        return self.task_id in _MBPP_TEST_IDS


Problem = HumanEvalProblem | MbppProblem
