"""The playground: its engine in JavaScript makes the same tokens as the package, and its page holds what it should.

run ──playground.py──> page ──node tests/playground.js──> what the engine computes, compared with PyTorch
"""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import torch

from minimaskgit import playground
from minimaskgit.autoregressive import generate
from minimaskgit.decoding import decode_steps
from minimaskgit.runs.run import chosen_run
from minimaskgit.schedules import SCHEDULES

DRIVER = Path(__file__).parent / "playground.js"


@pytest.fixture(scope="session")
def node() -> str:
    """Node, which runs the engine outside of a browser."""
    return shutil.which("node") or pytest.skip("no node here, which runs the playground's JavaScript")


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Path:
    """The playground of the pretrained weights."""
    path = tmp_path_factory.mktemp("playground") / "glyphs.html"
    playground.main(["--out", str(path)])
    return path


@pytest.fixture(scope="module")
def run():
    return chosen_run(None, "glyphs", "cpu", "fp32")


@pytest.fixture
def js(node, tmp_path):
    """Computes an expression of JavaScript with a page's engine."""

    def compute(page: Path, code: str):
        (tmp_path / "code.js").write_text(code, "utf-8")
        done = subprocess.run(
            [node, DRIVER, page, tmp_path / "code.js"], capture_output=True, text=True, encoding="utf-8"
        )
        assert done.returncode == 0 and not done.stderr, done.stderr
        return json.loads(done.stdout)

    return compute


@torch.no_grad()
def test_the_engine_s_logits_are_pytorch_s(js, page, run):
    model = run.transformer()
    tokens = torch.randint(model.num_codes, (1, model.num_tokens), generator=torch.Generator().manual_seed(0))
    tokens[0, ::3] = model.mask_id
    wanted = model(tokens, torch.tensor([3]))[0]
    code = f"engine.models.transformer.forward({tokens[0].tolist()}, 3, [...Array({model.num_tokens}).keys()])"
    assert torch.allclose(torch.tensor(js(page, code)).view_as(wanted), wanted, atol=1e-4, rtol=0)


def test_with_the_same_seed_every_step_has_the_same_tokens(js, page, run):
    cases = [(0, 8, "cosine"), (3, 1, "square"), (7, 12, "linear"), (10, 5, "bert")]
    wanted = []
    for label, steps, schedule in cases:
        how = {"steps": steps, "schedule": SCHEDULES[schedule], "generator": torch.Generator().manual_seed(label)}
        wanted.append(
            [step.tokens[0].tolist() for step in decode_steps(run.transformer(), torch.tensor([label]), **how)]
        )
    code = f"""{json.dumps(cases)}.map(([label, steps, schedule]) => {{
        const how = {{ steps, schedule: SCHEDULES[schedule], generator: new Generator(label) }};
        return Array.from(decode_steps(engine.models.transformer, label, how), (step) => step.tokens);
    }})"""
    assert js(page, code) == wanted


def test_with_the_same_seed_the_twin_draws_the_same_tokens(js, page, run):
    wanted = generate(run.autoregressive(), torch.tensor([3]), generator=torch.Generator().manual_seed(5))[0].tolist()
    code = "Array.from(raster_steps(engine.models.autoregressive, 3, { generator: new Generator(5) }), (s) => s.token)"
    assert js(page, code) == wanted
