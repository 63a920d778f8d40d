"""Completions of held-out prompts compared with the human reference: repetition and parse rate."""

from codenas.decode.engine import Engine
from codenas.decode.generate import generate
from codenas.decode.sampling import SamplingParams
from codenas.decode.sequence import fit_to_context
from codenas.decode.torch_backend import TorchBackend
from codenas.evaluate.collapse import CollapseReport, completion_quality
from codenas.evaluate.evaluation import Row
from codenas.evaluate.suites.base import EvaluationSubject, Suite, SuiteResult
from codenas.seeds import derive


class CompletionsResult(SuiteResult):
    """The model and the human reference, side by side."""

    completions: CollapseReport

    def rows(self) -> tuple[Row, ...]:
        """Repetition and parse rate of the model and of the human continuations."""
        report, model, human = self.completions, self.completions.model, self.completions.human
        heading = f"{report.prompts} completions of {report.completion_tokens} tokens at temperature {report.temperature:g}"
        return (
            Row(name=heading, reference="human, same prompts"),
            Row(name="  collapsed", value=str(model.collapsed), reference=str(human.collapsed)),
            Row(name="  seq-rep-4", value=f"{model.seq_rep_4:.3f}", reference=f"{human.seq_rep_4:.3f}"),
            Row(name="  longest run of a token", value=f"{model.longest_token_run:.1f}", reference=f"{human.longest_token_run:.1f}"),
            Row(
                name="  parses with the code before it",
                value=f"{100 * model.parse_rate:.0f} %",
                reference=f"{100 * human.parse_rate:.0f} %",
            ),
        )


def run(subject: EvaluationSubject) -> CompletionsResult:
    """Sample completions of full length. Special tokens are excluded: the human references do not end either.

    Raises:
        CorpusError: too few held-out documents are long enough.
    """
    model, vocabulary, settings = subject.model, subject.vocabulary, subject.settings
    context_len = model.arch.context_len
    no_special = dict.fromkeys(vocabulary.specials.values(), -100.0)
    completion_tokens = min(settings.completion_tokens, context_len // 2)
    numbers = iter(range(settings.prompts))
    engine = Engine(TorchBackend(model))

    def complete(prompt: list[int], count: int) -> list[int]:
        seed = derive(settings.seed, "completion", next(numbers)) % 2**63
        params = SamplingParams(max_tokens=count, temperature=settings.temperature, seed=seed, logit_bias=no_special)
        return list(generate(engine, fit_to_context(prompt, params, vocabulary, context_len)))

    report = completion_quality(
        complete,
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
