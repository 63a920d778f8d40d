"""Completions of held-out prompts beside what their authors wrote: repetition, and whether they parse."""

from codenas.decode.generate import generate
from codenas.decode.sampling import SamplingParams
from codenas.decode.sequence import fit
from codenas.evaluate.collapse import CollapseReport, completion_quality
from codenas.evaluate.suites.base import Subject, Suite, SuiteResult
from codenas.seeds import derive


class CompletionsResult(SuiteResult):
    """The model and the human reference, side by side."""

    completions: CollapseReport


def run(subject: Subject) -> CompletionsResult:
    """Sample completions of the whole length: their authors went on, so the end of the text is not offered as an answer.

    Raises:
        CorpusError: too few held-out documents are long enough.
    """
    model, vocabulary, settings = subject.model, subject.vocabulary, subject.settings
    context_len = model.arch.context_len
    never = dict.fromkeys(vocabulary.specials.values(), -100.0)
    completion_tokens = min(settings.completion_tokens, context_len // 2)
    drawn = iter(range(settings.prompts))

    def answer(prompt: list[int], count: int) -> list[int]:
        seed = derive(settings.seed, "completion", next(drawn)) % 2**63
        params = SamplingParams(max_tokens=count, temperature=settings.temperature, seed=seed, logit_bias=never)
        return list(generate(model, fit(prompt, params, vocabulary, context_len)))

    report = completion_quality(
        answer,
        vocabulary.decode,
        subject.held_out.documents(),
        temperature=settings.temperature,
        prompts=settings.prompts,
        prompt_tokens=min(settings.prompt_tokens, context_len - completion_tokens),
        completion_tokens=completion_tokens,
        seed=settings.seed,
    )
    return CompletionsResult(completions=report)


SUITE = Suite("completions", CompletionsResult, ("split", "prompts", "prompt_tokens", "completion_tokens", "temperature", "seed"), run)
