"""transformers' `generate` on torch.

Settings: `model` (Hugging Face folder), `dtype`, `threads`, `group` (sequences in one call, most). Prompts of unequal length
are padded on the left; rows with unequal targets run to the longest of their call and are cut, which is what `generate` does.
"""

from worker_loop import serve


class Transformers:
    """One model."""

    def load(self, settings):
        import torch
        import transformers

        torch.set_num_threads(settings['threads'])
        self._torch, self._group = torch, settings['group']
        dtype = getattr(torch, settings['dtype'])
        self._model = transformers.AutoModelForCausalLM.from_pretrained(settings['model'], dtype=dtype)
        self._model.eval()
        self._model.generation_config.eos_token_id = None
        return {'transformers': transformers.__version__, 'torch': torch.__version__}

    def ready(self, workload, greedy):
        """Nothing: every call makes its own cache."""

    def run(self, workload, seed, greedy):
        self._torch.manual_seed(seed)
        order = sorted(range(len(workload['rows'])), key=lambda row: (workload['rows'][row][1], row))
        tokens = [[] for _ in order]
        for first in range(0, len(order), self._group):
            self._generate(workload, order[first : first + self._group], greedy, tokens)
        return tokens

    def _generate(self, workload, group, greedy, tokens):
        prompts = [workload['prompts'][workload['rows'][row][0]] for row in group]
        targets = [workload['rows'][row][1] for row in group]
        copies = len(group) if all(prompt is prompts[0] for prompt in prompts) and not greedy else 1
        prompts = prompts[: len(group) // copies]
        longest = max(map(len, prompts))
        ids = self._torch.zeros(len(prompts), longest, dtype=self._torch.long)
        mask = self._torch.zeros_like(ids)
        for row, prompt in enumerate(prompts):
            ids[row, longest - len(prompt) :] = self._torch.tensor(prompt)
            mask[row, longest - len(prompt) :] = 1
        with self._torch.inference_mode():
            found = self._model.generate(
                ids,
                attention_mask=mask,
                do_sample=not greedy,
                **({} if greedy else {'temperature': 1.0, 'top_k': 0, 'top_p': 1.0, 'num_return_sequences': copies}),
                max_new_tokens=max(targets),
                pad_token_id=0,
            )
        for row, target, drawn in zip(group, targets, found[:, longest:].tolist(), strict=True):
            tokens[row] = drawn[:target]


if __name__ == '__main__':
    serve(Transformers())
