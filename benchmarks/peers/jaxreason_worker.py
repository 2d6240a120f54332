"""Ours, through the public engine: `Sampler`, its session, `prepare`, `start`, `submit`, `pump`.

Settings: `model` (preset, folder, or `nano` for random weights of the nano policy), `dtype`, and any setting of `Sampler`.
Encoding prompts and laying out the cache (`prepare`) comes before the clock, as do the peers' token ids and key-value pools;
prefill is timed.
"""

import dataclasses

from worker_loop import rows_of_prompts, serve


class Jaxreason:
    """One model; a fresh session for each run, so that no prompt is kept."""

    def load(self, settings):
        from jaxreason.cli.runtime import start_jax

        start_jax()
        import jax
        import jaxlib
        from nano_model import load_nano

        from jaxreason.data.prompts import PromptSpec
        from jaxreason.engine.language_model import load

        own = dict(settings)
        model, dtype, prompt = own.pop('model'), own.pop('dtype'), PromptSpec(**own.pop('prompt'))
        lm = load_nano(dtype) if model == 'nano' else load(model, dtype=dtype)
        self._lm, self._prompt, self._settings = dataclasses.replace(lm, eos_ids=()), prompt, own
        return {'jax': jax.__version__, 'jaxlib': jaxlib.__version__}

    def ready(self, workload, greedy):
        from jaxreason.core.types import Question
        from jaxreason.engine.sampler import Sampler

        most = workload['most_tokens']
        sampler = Sampler(lm=self._lm, prompt=self._prompt, max_tokens=most, temperature=1.0, **self._settings)
        self._questions = [Question(f'{index}', text) for index, text in enumerate(workload['texts'])]
        for question, ids in zip(self._questions, workload['prompts'], strict=True):
            found = sampler.prompt.encode(self._lm.need_tokenizer(), question.text)
            if list(found) != list(ids):
                raise ValueError(f'question {question.id} must become the {len(ids)} token ids of the workload')
        self._session = sampler.session()
        self._session.prepare(self._questions)

    def run(self, workload, seed, greedy):
        from jaxreason.core.protocols import Job

        session, number = self._session, {}
        for question, rows in zip(self._questions, rows_of_prompts(workload), strict=True):
            started, _ = session.start(question, len(rows), 0, seed)
            for row, place in zip(started, rows, strict=True):
                number[row.handle] = place
                session.submit(Job(row, False, workload['rows'][place][1], greedy))
        tokens = [()] * len(number)
        left = set(number)
        while left:
            for row in session.pump():
                tokens[number[row.handle]] = row.tokens
                left.discard(row.handle)
                session.release([row])
        return tokens


if __name__ == '__main__':
    serve(Jaxreason())
