"""vLLM on the CPU, its engine in this process.

Settings: `model` (Hugging Face folder), `dtype`, `enforce_eager`, `threads` (CPU ids, as VLLM_CPU_OMP_THREADS_BIND has them).
Its prefix cache is on, and emptied before every run: within a run a prompt is computed once, between runs nothing is kept.
"""

import os

from worker_loop import rows_of_prompts, serve


class Vllm:
    """One engine."""

    def load(self, settings):
        os.environ |= {
            'VLLM_ENABLE_V1_MULTIPROCESSING': '0',
            'VLLM_CPU_KVCACHE_SPACE': '2',
            'VLLM_CPU_OMP_THREADS_BIND': settings['threads'],
            'VLLM_NO_USAGE_STATS': '1',
            'VLLM_LOGGING_LEVEL': 'WARNING',
            'HF_HUB_OFFLINE': '1',
        }
        import torch
        import vllm

        self._vllm = vllm
        self._engine = vllm.LLM(
            model=settings['model'],
            dtype=settings['dtype'],
            enforce_eager=settings['enforce_eager'],
            enable_prefix_caching=True,
            skip_tokenizer_init=True,
            max_model_len=1024,
            max_num_seqs=64,
        )
        return {'vllm': vllm.__version__, 'torch': torch.__version__, 'threads': str(torch.get_num_threads())}

    def ready(self, workload, greedy):
        """Forgets the prompts of earlier runs."""
        self._engine.reset_prefix_cache()

    def run(self, workload, seed, greedy):
        groups = rows_of_prompts(workload)
        prompts, params = [], []
        for prompt, rows in zip(workload['prompts'], groups, strict=True):
            targets = {workload['rows'][row][1] for row in rows}
            if len(targets) != 1:
                raise ValueError('rows of one prompt have one target here')
            prompts.append({'prompt_token_ids': prompt})
            params.append(
                self._vllm.SamplingParams(
                    n=len(rows),
                    temperature=0.0 if greedy else 1.0,
                    seed=None,
                    max_tokens=targets.pop(),
                    ignore_eos=True,
                    detokenize=False,
                )
            )
        outputs = self._engine.generate(prompts, params, use_tqdm=False)
        tokens = [[] for _ in workload['rows']]
        for rows, output in zip(groups, outputs, strict=True):
            for row, sample in zip(rows, output.outputs, strict=True):
                tokens[row] = list(sample.token_ids)
        return tokens


if __name__ == '__main__':
    serve(Vllm())
