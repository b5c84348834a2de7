"""The SmolLM2 student's file in GPT4All's own runtime: the same first 20 greedy tokens as the merged model."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from golden_line import Done, environment

from yearling.run_folder import Run

QUESTIONS = [
    "What is the capital of France?",
    "Give me one tip for sleeping better.",
    "Why do leaves change colour?",
    "Name three fruits.",
    "What is 2 + 2?",
    "Write a short greeting.",
    "What is a verb?",
    "How do I boil an egg?",
    "Who wrote Hamlet?",
    "What does a doctor do?",
]
# In a child: the runtime loads libraries of its own beside the interpreter's.
RUNTIME = """
import json, os, sys
from gpt4all import GPT4All
path, system, turn, questions = sys.argv[1], *json.loads(sys.argv[2])
folder, name = os.path.split(path)
model = GPT4All(name, model_path=folder, allow_download=False, device="cpu", n_ctx=1024)
answers = []
for question in questions:
    with model.chat_session(system, turn):
        answers.append(model.generate(question, max_tokens=20, temp=0, top_k=1, top_p=1.0, repeat_penalty=1.0))
print(json.dumps(answers))
"""


@pytest.mark.slow
def test_gpt4all_answers_as_the_merged_model(golden: tuple[Run, Done]) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    export = golden[0].export
    tokenizer = AutoTokenizer.from_pretrained(export / "merged")
    system = "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
    turn = "<|im_start|>user\n{0}<|im_end|>\n<|im_start|>assistant\n"
    probe = [{"role": "user", "content": "Hi"}]
    rendered = tokenizer.apply_chat_template(probe, tokenize=False, add_generation_prompt=True)
    assert rendered == system + turn.format("Hi"), "GPT4All gets the very template of the student"
    answers = _gpt4all(export / "golden-F16.gguf", system, turn)
    model = AutoModelForCausalLM.from_pretrained(export / "merged", dtype=torch.float32)
    same = 0
    for question, answer in zip(QUESTIONS, answers, strict=True):
        ids = tokenizer(system + turn.format(question), add_special_tokens=False, return_tensors="pt")
        written = model.generate(**ids, max_new_tokens=20, do_sample=False)[0, ids["input_ids"].shape[1] :]
        same += tokenizer.decode(written, skip_special_tokens=True).strip() == answer.strip()
    assert same >= 8, same


def _gpt4all(path: Path, system: str, turn: str) -> list[str]:
    command = [sys.executable, "-c", RUNTIME, str(path), json.dumps([system, turn, QUESTIONS])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, env=environment(), check=False)
    assert done.returncode == 0, done.stderr
    answers: list[str] = json.loads(done.stdout.splitlines()[-1])
    return answers
