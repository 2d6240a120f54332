"""Published process reward models by name: how their authors write question and steps, and where they read scores.

References:
    Zhang et al., The Lessons of Developing Process Reward Models in Mathematical Reasoning, 2025 (Qwen2.5-Math-PRM).
    He et al., Skywork-o1 Open Series, 2024. Wang et al., Math-Shepherd, 2024. Dong et al., RLHF Workflow, 2024 (RLHFlow).
"""

from jaxreason.core.verifier_spec import Layout, VerifierSpec

PRESETS: dict[str, VerifierSpec] = {
    'qwen2.5-math-prm': VerifierSpec(
        head='two_class',
        layout=Layout(system='Please reason step by step, and put your final answer within \\boxed{}.', marker='<extra_0>'),
    ),
    'skywork-o1-open-prm': VerifierSpec(
        head='value',
        layout=Layout(form='plain', question='{question}\n', marker='\n', line_breaks='markers', begin=True),
    ),
    # A system prompt, where one was used, is `layout.system`: it is written on a line of its own before the question.
    'math-shepherd': VerifierSpec(
        head='label',
        labels=('+', '-'),
        layout=Layout(form='plain', question='{question}\n ', gap=' ', marker='ки', line_breaks='kept'),
    ),
    'rlhflow-prm': VerifierSpec(
        head='label',
        labels=('+', '-'),
        boundary='before_marker',
        layout=Layout(form='turns', question='{question} ', marker='+'),
    ),
}
# Architectures of `config.json` that are one of them.
BY_ARCHITECTURE = {'Qwen2ForProcessRewardModel': 'qwen2.5-math-prm', 'Qwen2ForRewardModel': 'skywork-o1-open-prm'}
