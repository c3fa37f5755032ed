"""Checkpoints and models on disk: read back exactly as written, complete or not at all, and never a pickle."""

import ast
import os
import pickle
import re
import signal
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tiny import generator, tiny_tokenizer, tiny_transformer

import minimaskgit
from minimaskgit.classifier import Classifier
from minimaskgit.common.errors import UserError
from minimaskgit.decoders.critic import Critic
from minimaskgit.rivals.diffusion import UNet
from minimaskgit.rivals.gan import Generator
from minimaskgit.runs.models import Weightless, load_model, save_model
from minimaskgit.tokenizer import Tokenizer
from minimaskgit.training import checkpoint
from minimaskgit.training.checkpoint import checkpoints, delete_checkpoints, load_checkpoint, save_checkpoint
from minimaskgit.transformer import Transformer


def some_parts(seed: int, learned: bool) -> dict:
    """A module with buffers, one without, and the optimizers of both."""
    torch.manual_seed(seed)
    tokenizer, model = tiny_tokenizer(ema=True), torch.nn.Linear(4, 3)
    for parameter in tokenizer.parameters():
        torch.nn.init.normal_(parameter)
    optimizer, muon = torch.optim.AdamW(tokenizer.parameters(), 1e-2), torch.optim.Muon([model.weight], 1e-2)
    if learned:
        for step in range(3):
            images = torch.rand(2, 3, 8, 8, generator=generator(step))
            (tokenizer(images)[0].square().mean() + model(images[:, 0, 0, :4]).square().mean()).backward()
            optimizer.step(), muon.step()
    return {"model": tokenizer, "d_model": model, "optimizer": optimizer, "d_optimizer": muon}


def state(part) -> dict[str, torch.Tensor]:
    """A copy of the state of a module or an optimizer."""
    if isinstance(part, torch.nn.Module):
        return {name: value.clone() for name, value in part.state_dict().items()}
    tensors = part.state_dict()["state"].items()
    return {f"{number}.{name}": value.clone() for number, values in tensors for name, value in values.items()}


# --- Checkpoints ---


def test_a_checkpoint_restores_modules_adamw_and_muon_to_the_bit(tmp_path):
    folder = tmp_path / "stage"
    written, read = some_parts(0, learned=True), some_parts(1, learned=False)
    save_checkpoint(folder, 17, 2.5, written)
    assert load_checkpoint(folder, read) == (17, 2.5)
    for name in written:
        expected, found = state(written[name]), state(read[name])
        assert expected.keys() == found.keys() and expected
        assert all(found[key].equal(value) and found[key].dtype == value.dtype for key, value in expected.items())
    assert any("exp_avg" in key for key in state(read["optimizer"]))
    assert any("momentum_buffer" in key for key in state(read["d_optimizer"]))


def test_after_a_restore_the_optimizers_continue_as_if_uninterrupted(tmp_path):
    written, read = some_parts(0, learned=True), some_parts(1, learned=False)
    save_checkpoint(tmp_path, 3, 0.0, written)
    load_checkpoint(tmp_path, read)
    for parts in (written, read):
        for name in ("optimizer", "d_optimizer"):
            for number, parameter in enumerate(parts[name].param_groups[0]["params"]):
                parameter.grad = torch.randn(parameter.shape, generator=generator(number))
            parts[name].step()
    for name in ("model", "d_model"):
        for ours, theirs in zip(written[name].state_dict().values(), read[name].state_dict().values()):
            assert ours.equal(theirs)


def test_restored_state_does_not_need_its_file(tmp_path):
    written, read = some_parts(0, learned=True), some_parts(1, learned=False)
    save_checkpoint(tmp_path, 3, 0.0, written)
    load_checkpoint(tmp_path, read)
    (path,) = checkpoints(tmp_path)
    with path.open("r+b") as file:
        file.write(bytes(path.stat().st_size))
    path.unlink()  # Windows refuses while the file is mapped
    for name in written:
        assert all(value.equal(state(written[name])[key]) for key, value in state(read[name]).items())


def test_the_learning_rate_is_the_configuration_s_and_not_the_checkpoint_s(tmp_path):
    written, read = some_parts(0, learned=True), some_parts(1, learned=False)
    save_checkpoint(tmp_path, 3, 0.0, written)
    read["optimizer"].param_groups[0]["lr"] = 0.125
    load_checkpoint(tmp_path, read)
    assert read["optimizer"].param_groups[0]["lr"] == 0.125


def test_without_a_checkpoint_training_starts_at_zero(tmp_path):
    parts = some_parts(0, learned=False)
    before = state(parts["model"])
    assert load_checkpoint(tmp_path / "none", parts) == (0, 0.0)
    assert all(value.equal(before[key]) for key, value in state(parts["model"]).items())


DAMAGES = ["empty", "cut short", "scribbled on", "one bit flipped", "without a step", "another step", "another model"]


def damage(path: Path, kind: str) -> None:
    """Damage a checkpoint."""
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[-20] ^= 4
    with safe_open(path, framework="pt") as file:
        facts = file.metadata()
        values = {key: file.get_tensor(key).clone() for key in file.keys()}  # noqa: SIM118, not a dict
    if kind == "without a step":
        save_file(values, path)
    elif kind == "another step":
        save_file(values, path, metadata=facts | {"step": "900"})
    elif kind == "another model":
        save_checkpoint(path.parent, 6, 0.0, {"model": torch.nn.Linear(2, 2)}, keep=9)
    else:
        spoilt = {"empty": b"", "cut short": whole[:-9], "scribbled on": b"x" * 99 + whole[99:]}
        path.write_bytes(spoilt.get(kind, bytes(flipped)))


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_damaged_or_mismatched_checkpoint_is_reported_in_one_line_that_names_the_file(tmp_path, capsys, kind):
    save_checkpoint(tmp_path, 6, 0.0, some_parts(0, learned=True))
    (path,) = checkpoints(tmp_path)
    damage(path, kind)
    with pytest.raises(UserError, match="is damaged or not from this run") as error:
        load_checkpoint(tmp_path, some_parts(1, learned=False))
    assert str(path) in str(error.value) and "\n" not in str(error.value)
    assert load_checkpoint(tmp_path, some_parts(1, learned=False)) == (0, 0.0)  # it was renamed


def test_a_checkpoint_that_does_not_fit_into_memory_stays(tmp_path, monkeypatch):
    save_checkpoint(tmp_path, 3, 1.0, some_parts(1, learned=True))

    def full(*_):
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(checkpoint, "_load", full)
    with pytest.raises(UserError, match=r"too little memory to load .*, which stays"):
        load_checkpoint(tmp_path, some_parts(1, learned=False))
    assert [path.name for path in checkpoints(tmp_path)] == ["checkpoint-00000003.safetensors"]


@pytest.mark.parametrize("kind", DAMAGES)
def test_the_checkpoint_before_a_damaged_one_is_used(tmp_path, capsys, kind):
    before, after, read = some_parts(0, True), some_parts(1, True), some_parts(2, False)
    save_checkpoint(tmp_path, 3, 1.0, before)
    save_checkpoint(tmp_path, 6, 2.0, after)
    damage(checkpoints(tmp_path)[-1], kind)
    assert load_checkpoint(tmp_path, read) == (3, 1.0)
    for name in before:
        assert all(value.equal(state(read[name])[key]) for key, value in state(before[name]).items())
    (told,) = capsys.readouterr().err.strip().splitlines()
    assert "checkpoint-00000006.safetensors is damaged or not from this run" in told
    assert [path.name for path in tmp_path.iterdir() if "00000006" in path.name] == ["checkpoint-00000006.refused"]


def test_the_newest_checkpoints_are_kept(tmp_path):
    parts = {"model": torch.nn.Linear(2, 2)}
    for step in range(6):
        save_checkpoint(tmp_path, step, 0.0, parts, keep=2)
    assert [int(path.stem.split("-")[1]) for path in checkpoints(tmp_path)] == [4, 5]
    delete_checkpoints(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_crash_while_saving_leaves_the_previous_state(tmp_path, monkeypatch):
    save_checkpoint(tmp_path, 3, 0.0, some_parts(0, learned=True))

    def crash(tensors, file, metadata):
        Path(file).write_bytes(b"half of it")
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "save_file", crash)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(tmp_path, 6, 0.0, some_parts(1, learned=True))
    assert load_checkpoint(tmp_path, some_parts(2, learned=False)) == (3, 0.0)


@contextmanager
def small_disk():
    """Limit this process's files to 2000 bytes, as if the disk were full.

    The limit ends with the context, because pytest may also write its output to a file.
    """
    resource = pytest.importorskip("resource", reason="Windows knows no limit on the size of a file")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # raise an error instead of ending the process
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


def test_a_full_disk_is_reported_in_one_line_and_the_previous_state_is_intact(tmp_path):
    save_checkpoint(tmp_path, 3, 0.0, some_parts(0, learned=True))
    message = r"00000006.safetensors cannot be written .*before is intact"
    with small_disk(), pytest.raises(UserError, match=message) as error:
        save_checkpoint(tmp_path, 6, 0.0, some_parts(1, learned=True))
    assert "\n" not in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-00000003.safetensors"]
    assert load_checkpoint(tmp_path, some_parts(2, learned=False)) == (3, 0.0)


# --- Finished models ---

MODELS = {
    "transformer": (Transformer, tiny_transformer(seed=1, causal=True, pre_norm=True)),
    "tokenizer": (Tokenizer, tiny_tokenizer(ema=True).eval()),
    "classifier": (Classifier, Classifier(5, width=8).eval()),
}


def answer(model: torch.nn.Module) -> torch.Tensor:
    if isinstance(model, Transformer):
        return model(torch.randint(11, (2, 9), generator=generator(0)), torch.tensor([0, 3]))
    images = torch.rand(2, 3, 8, 8, generator=generator(0))
    return model(images)[0] if isinstance(model, Tokenizer) else model(images)


@pytest.mark.parametrize("name", MODELS)
def test_a_model_comes_back_with_its_shape_and_its_weights_to_the_bit(tmp_path, name):
    kind, model = MODELS[name]
    model.save_pretrained(tmp_path / "hub")
    save_model(model, tmp_path)
    for read in (kind.from_pretrained(tmp_path / "hub"), load_model(kind, tmp_path)):
        assert not read.training
        assert all(a.equal(b) for a, b in zip(model.state_dict().values(), read.state_dict().values(), strict=True))
        assert answer(read).equal(answer(model))


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (Transformer, {"depth": 1, "rope": True, "qk_norm": True, "count_masks": True}),
        (Tokenizer, {"ema": True, "linear": True}),
        (Generator, {"image_size": 32, "num_classes": 3}),
        (UNet, {"image_size": 32, "num_classes": 3}),
        (Critic, {"width": 32, "depth": 2}),
        (Classifier, {"num_classes": 5}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_model_is_loaded_without_random_weights_but_with_every_value(tmp_path, kind, options):
    model = kind(**options)
    save_model(model, tmp_path)
    with Weightless():
        assert any(parameter.is_meta for parameter in kind(**options).parameters())
    read = load_model(kind, tmp_path)
    expected = dict((*model.named_parameters(), *model.named_buffers()))
    for name, value in (*read.named_parameters(), *read.named_buffers()):
        assert value.equal(expected[name]) and value.requires_grad == expected[name].requires_grad


def test_loaded_weights_can_be_trained_and_the_file_stays_and_those_of_bfloat16_become_float32(tmp_path):
    save_model(MODELS["transformer"][1], tmp_path)
    path = tmp_path / "model.safetensors"
    whole = path.read_bytes()
    with torch.no_grad():
        load_model(Transformer, tmp_path).bias.add_(1)
    assert path.read_bytes() == whole
    save_file({name: value.bfloat16() for name, value in load_file(path).items()}, path)
    assert {value.dtype for value in load_model(Transformer, tmp_path).parameters()} == {torch.float32}


def test_a_finished_model_is_two_files_and_the_weights_are_written_last(tmp_path, monkeypatch):
    moved = []
    replace = Path.replace
    monkeypatch.setattr(Path, "replace", lambda self, to: moved.append(to.name) or replace(self, to))
    save_model(MODELS["transformer"][1], tmp_path)
    final = [name for name in moved if not name.endswith(".partial")]
    assert final == ["config.json", "model.safetensors"] == sorted(os.listdir(tmp_path))


@pytest.mark.skipif(os.name != "posix", reason="files have no such modes here")
def test_weights_and_checkpoints_have_the_same_permissions_as_other_new_files(tmp_path):
    (tmp_path / "other").touch()
    save_model(MODELS["transformer"][1], tmp_path)
    save_checkpoint(tmp_path, 1, 0.0, {"model": torch.nn.Linear(1, 1)})
    assert {path.stat().st_mode for path in tmp_path.iterdir()} == {(tmp_path / "other").stat().st_mode}


def test_the_error_for_a_missing_model_says_what_to_do(tmp_path):
    with pytest.raises(UserError, match=r"no trained transformer in .*; train it with python -m minimaskgit.train"):
        load_model(Transformer, tmp_path / "transformer")


@pytest.mark.parametrize("damage", ["empty", "cut short", "of another shape", "of another model"])
def test_damaged_weights_are_reported_in_one_line_that_names_the_folder(tmp_path, damage):
    save_model(MODELS["transformer"][1], tmp_path)
    path = tmp_path / "model.safetensors"
    if damage == "of another shape":
        save_file(tiny_transformer(width=32).state_dict(), path)
    elif damage == "of another model":
        save_file(MODELS["classifier"][1].state_dict(), path)
    else:
        path.write_bytes(path.read_bytes()[:-9] if damage == "cut short" else b"")
    with pytest.raises(UserError, match=re.escape(f"the weights in {tmp_path} are damaged")) as error:
        load_model(Transformer, tmp_path)
    assert "\n" not in str(error.value)


# --- No pickle ---


class Bomb:
    """Unpickling it creates a file."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_a_pickle_in_a_model_s_folder_is_not_loaded(tmp_path):
    folder = tmp_path / "transformer"
    save_model(MODELS["transformer"][1], folder)
    (folder / "model.safetensors").unlink()
    for name in ("pytorch_model.bin", "model.pt", "checkpoint.pt"):
        (folder / name).write_bytes(pickle.dumps(Bomb(tmp_path / "exploded")))
    with pytest.raises(UserError, match="no trained transformer"):
        load_model(Transformer, folder)
    assert not (tmp_path / "exploded").exists()


def test_nothing_in_the_package_reads_or_writes_pickles():
    sources = list(Path(minimaskgit.__file__).parent.rglob("*.py"))
    assert len(sources) > 10
    for path in sources:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import | ast.ImportFrom):
                modules = {alias.name for alias in node.names} | {getattr(node, "module", None)}
                assert not modules & {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve"}, path
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                assert (node.value.id, node.attr) not in {("torch", "load"), ("torch", "save")}, path
            assert not (isinstance(node, ast.keyword) and node.arg == "allow_pickle"), path
