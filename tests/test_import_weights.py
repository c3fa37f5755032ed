"""The authors' published weights: read without JAX, used as their code uses them, and written back to the byte.

released/ has a transformer in exactly their format, with random parameters of the scale of trained ones, and the logits
that their code answers for it. The tokenizer's answers are compared with the forward pass below, written from its
description with the arrays as they lie in the file.
"""

import hashlib
import json
import math
import os
import pickle
import shlex
import shutil
import struct
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from command_line import error_line
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tiny import generator, released_tokenizer, released_transformer

from minimaskgit import compare, edit, evaluate, export, generate, import_weights, passes, search
from minimaskgit.common.errors import UserError
from minimaskgit.data.classes import find_classes
from minimaskgit.data.imagenet import as_imagenet, imagenet_names, synsets
from minimaskgit.decoders.policy import Policy
from minimaskgit.measuring import evaluation
from minimaskgit.measuring.evaluation import check_options
from minimaskgit.runs.config import load_config, save_config
from minimaskgit.runs.flax import DTYPES, read_arrays, write_arrays
from minimaskgit.runs.models import save_model
from minimaskgit.runs.presets import official
from minimaskgit.runs.released import open_weights, pairs, released_tree
from minimaskgit.runs.run import open_run
from minimaskgit.runs.searched import Found, write_searched
from minimaskgit.tokenizer import Tokenizer
from minimaskgit.training import judge
from minimaskgit.transformer import Transformer

RELEASED = Path(__file__).parent / "released"


def write(path: Path, model) -> Path:
    write_arrays(path, released_tree(model))
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, Path]:
    """A tokenizer and a transformer as the authors' files hold them, which belong together."""
    folder = tmp_path_factory.mktemp("files")
    models = {"tokenizer": released_tokenizer(), "transformer": released_transformer()}
    return {kind: write(folder / f"{kind}_checkpoint", model) for kind, model in models.items()}


def imported(files: dict[str, Path], out: Path, *more: str) -> Path:
    named = [word for kind in ("tokenizer", "transformer") for word in (f"--{kind}", str(files[kind]))]
    import_weights.main([*named, "--out", str(out), *more])
    return out


@pytest.fixture(scope="module")
def run_of_weights(files, tmp_path_factory) -> Path:
    return imported(files, tmp_path_factory.mktemp("runs") / "released")


# --- The same answers as the authors' code ---


@pytest.fixture(scope="module")
def reference(tmp_path_factory) -> tuple[Transformer, torch.Tensor, torch.Tensor]:
    """The transformer of released/ after import, save and load; ids (B, 1 + N), and logits (B, N, K) of their code."""
    folder = tmp_path_factory.mktemp("reference")
    files = {"tokenizer": write(folder / "tokenizer", released_tokenizer(num_codes=64))}
    files["transformer"] = RELEASED / "maskgit_checkpoint"
    model = open_run(imported(files, folder / "run"), "cpu").transformer()
    saved = np.load(RELEASED / "logits.npz")
    ids = torch.from_numpy(saved["ids"]).long()  # -1, which JAX takes for the last row, is [MASK]
    return model, ids.where(ids >= 0, model.mask_id), torch.from_numpy(saved["logits"][:, 1:, : model.num_codes])


def error_of(model: Transformer, ids: torch.Tensor, logits: torch.Tensor) -> float:
    with torch.no_grad():
        return (model(ids[:, 1:], ids[:, 0] - model.num_codes) - logits).abs().max().item()


def test_the_imported_transformer_answers_what_the_authors_code_does(reference):
    assert error_of(*reference) < 1e-5


@pytest.mark.parametrize("change", [{"heads": 8}, {"gelu": "erf"}, {"norm_eps": 1e-6}])
def test_every_setting_of_the_release_is_needed_for_that(reference, change):
    model, ids, logits = reference
    shape = {"width": 64, "depth": 2, "heads": 4, "mlp_width": 256, "norm_eps": 1e-12, "gelu": "tanh"}
    other = Transformer(64, 10, 16, **shape | change).eval()
    other.load_state_dict(model.state_dict())
    assert error_of(other, ids, logits) > 1e-5


def conv(a: dict, name: str, x: torch.Tensor) -> torch.Tensor:
    """A convolution whose kernel (H, W, in, out) lies in the arrays `a`; the image keeps its size."""
    kernel = torch.from_numpy(a[f"{name}/kernel"].copy()).permute(3, 2, 0, 1)
    bias = a.get(f"{name}/bias")
    return F.conv2d(x, kernel, None if bias is None else torch.from_numpy(bias.copy()), padding=kernel.shape[-1] // 2)


def norm_swish(a: dict, name: str, x: torch.Tensor) -> torch.Tensor:
    scale, bias = (torch.from_numpy(a[f"{name}/{part}"].copy()) for part in ("scale", "bias"))
    return F.silu(F.group_norm(x, 32, scale, bias, 1e-6))


def block(a: dict, name: str, x: torch.Tensor) -> torch.Tensor:
    out = conv(a, f"{name}/Conv_0", norm_swish(a, f"{name}/GroupNorm_0", x))
    out = conv(a, f"{name}/Conv_1", norm_swish(a, f"{name}/GroupNorm_1", out))
    return out + (conv(a, f"{name}/Conv_2", out) if f"{name}/Conv_2/kernel" in a else x)  # of the block's own output


def reference_latents(a: dict, x: torch.Tensor) -> torch.Tensor:
    """Two levels of two blocks, halved between them, two more blocks: images (B, 3, H, W) to latents (B, D, h, w)."""
    x = conv(a, "encoder/Conv_0", x)
    for number in range(6):
        x = block(a, f"encoder/ResBlock_{number}", F.avg_pool2d(x, 2) if number == 2 else x)
    return conv(a, "encoder/Conv_1", norm_swish(a, "encoder/GroupNorm_0", x))


def reference_images(a: dict, codes: torch.Tensor) -> torch.Tensor:
    """Codes (B, h, w) to images (B, 3, H, W), not clipped."""
    x = conv(a, "decoder/Conv_0", torch.from_numpy(a["quantizer/codebook"].copy())[codes].movedim(-1, 1))
    for number in range(6):
        x = block(a, f"decoder/ResBlock_{number}", x)
        if number == 3:
            x = conv(a, "decoder/Conv_1", F.interpolate(x, scale_factor=2, mode="nearest"))
    return conv(a, "decoder/Conv_2", norm_swish(a, "decoder/GroupNorm_0", x))


@pytest.fixture(scope="module")
def tokenizer_answers(files):
    """Images, their nearest codes (B, N), other codes and what they decode to, from the arrays of the file."""
    arrays = open_weights(files["tokenizer"], "tokenizer").arrays
    images = torch.rand(4, 3, 8, 8, generator=generator(0))
    codes = torch.randint(16, (4, 4, 4), generator=generator(1))
    z = reference_latents(arrays, images).movedim(1, -1)  # (B, h, w, D)
    distances = (z[..., None, :] - torch.from_numpy(arrays["quantizer/codebook"].copy())).square().sum(-1)
    return images, distances.argmin(-1).flatten(1), codes.flatten(1), reference_images(arrays, codes)


@torch.no_grad()
def agrees(model: Tokenizer, answers) -> bool:
    images, nearest, codes, decoded = answers
    return model.encode(images).equal(nearest) and (model.decode(codes, clip=False) - decoded).abs().max() < 1e-4


def test_the_imported_tokenizer_answers_what_its_description_says(run_of_weights, tokenizer_answers):
    model = open_run(run_of_weights, "cpu").tokenizer()
    assert agrees(model, tokenizer_answers)
    _, nearest, codes, decoded = tokenizer_answers
    assert len(nearest.unique()) > 2 and decoded.min() < 0 < 1 < decoded.max()  # or it would not tell much
    with torch.no_grad():
        assert model.decode(codes).equal(model.decode(codes, clip=False).clamp(0, 1))


def test_a_tokenizer_that_compares_codes_by_angle_would_not(run_of_weights, tokenizer_answers):
    model = open_run(run_of_weights, "cpu").tokenizer()
    settings = json.loads((run_of_weights / "tokenizer/config.json").read_text("utf-8"))
    other = Tokenizer(**settings | {"l2_norm": True}).eval()
    other.load_state_dict(model.state_dict())
    assert not agrees(other, tokenizer_answers)


# --- Names and shapes ---


@pytest.mark.parametrize(
    ("kind", "arrays", "numbers", "digest"),  # the digest is of the lines "name shape" that the two 256 files have
    [
        ("transformer", 393, 172_457_193, "9b7a05219962e3e5a0b99811331f115f0537686ad95784ec34c9a71fcb7b698f"),
        ("tokenizer", 168, 54_515_587, "ddb54d4bda53fc00e13471192a94ed73e7513408ed51f20e461784c18844d42f"),
    ],
)
def test_every_array_of_the_published_files_has_its_place_and_no_parameter_is_left(kind, arrays, numbers, digest):
    config = official()
    with torch.device("meta"):
        tokenizer = Tokenizer(256, **asdict(config.tokenizer))
        model = tokenizer if kind == "tokenizer" else Transformer(1024, 1000, 256, **asdict(config.transformer))
    found = pairs(model)
    lines = sorted(f"{name} {pair.shape}" for pair in found for name in pair.theirs)
    assert len(lines) == len(set(lines)) == arrays
    assert hashlib.sha256("\n".join(lines).encode()).hexdigest() == digest
    assert sorted(pair.ours for pair in found) == sorted(name for name, _ in model.named_parameters())
    assert sum(math.prod(pair.shape) * len(pair.theirs) for pair in found) == numbers
    assert sum(parameter.numel() for parameter in model.parameters()) == numbers


# --- The format ---

shapes = st.lists(st.integers(0, 4), max_size=3).map(tuple)
arrays = st.tuples(st.sampled_from(DTYPES), shapes).map(lambda x: np.arange(math.prod(x[1])).astype(x[0]).reshape(x[1]))
names = st.text(st.characters().filter(str.isprintable), max_size=40)
trees = st.dictionaries(
    names, st.recursive(arrays, lambda inner: st.dictionaries(names, inner, max_size=20)), max_size=3
)


def same(a, b) -> bool:
    if isinstance(a, dict):
        return isinstance(b, dict) and list(a) == list(b) and all(same(a[name], b[name]) for name in a)
    return (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())


@settings(max_examples=50)
@given(tree=trees)
def test_what_is_written_is_read_again(tmp_path_factory, tree):
    path = tmp_path_factory.getbasetemp() / "tree"
    write_arrays(path, tree)
    assert same(read_arrays(path), tree)


def ext(kind: int, content: bytes) -> bytes:
    return b"\xc7" + bytes([len(content), kind]) + content


ARRAY = ext(1, b"\x93\x92\x02\x01\xa6uint16\xc4\x04\x01\x00\xff\xff")  # shape, dtype, bytes
PIECE = ext(1, b"\x93\x91\x02\xa5uint8\xc4\x02\x05\x06")


def test_the_bytes_are_those_that_flax_writes(tmp_path):
    write_arrays(tmp_path / "file", {"params": {"a": np.array([[1], [65535]], np.uint16)}})
    assert (tmp_path / "file").read_bytes() == b"\x81\xa6params\x81\xa1a" + ARRAY


def test_numbers_numpy_scalars_and_arrays_in_pieces_are_read(tmp_path):
    numbers = b"\x97\xff\x05\xcd\x01\x00\xd1\xff\x00\xcb" + struct.pack(">d", 0.5) + b"\xc0\xc3"
    scalar = ext(3, b"\x93\x90\xa5uint8\xc4\x01\x07")
    marked = b"\x83\xb9__msgpack_chunked_array__\xc3"
    older = marked + b"\xa5shape\x92\x02\x02\xa6chunks\x92" + PIECE + PIECE
    newer = marked + b"\xa5shape\x82\xa10\x02\xa11\x02\xa6chunks\x82\xa10" + PIECE + b"\xa11" + PIECE
    names = (b"\xa1n", b"\xa1s", b"\xa1o", b"\xa1p")
    content = b"".join(map(b"".join, zip(names, (numbers, scalar, older, newer))))
    (tmp_path / "file").write_bytes(b"\x84" + content)
    found = read_arrays(tmp_path / "file")
    assert found["n"] == [-1, 5, 256, -256, 0.5, None, True]
    assert (
        found["s"] == 7
        and found["s"].dtype == np.uint8
        and found["p"].tolist() == found["o"].tolist() == [[5, 6], [5, 6]]
    )


def test_arrays_are_views_of_the_file(tmp_path):
    write_arrays(tmp_path / "file", {"a": np.ones(9)})
    array = read_arrays(tmp_path / "file")["a"]
    assert not array.flags.writeable and not array.flags.owndata


@settings(max_examples=200)
@given(data=st.data())
def test_whatever_a_file_holds_it_is_read_or_refused_in_one_line(files, tmp_path_factory, data):
    whole, path = files["transformer"].read_bytes(), tmp_path_factory.getbasetemp() / "damaged"
    place = data.draw(st.integers(0, 1500) | st.integers(0, len(whole)))
    change = data.draw(st.sampled_from(["cut", "replace", "insert", "random"]))
    new = data.draw(st.binary(min_size=1, max_size=9))
    kept = {"cut": b"", "replace": new + whole[place + len(new) :], "insert": new + whole[place:], "random": new}[
        change
    ]
    path.write_bytes(kept if change == "random" else whole[:place] + kept)
    try:
        read_arrays(path)
    except UserError as error:
        assert len(str(error).splitlines()) == 1


# --- Refused files ---


def cut(files, folder):
    whole = files["transformer"].read_bytes()
    (folder / "x").write_bytes(whole[: len(whole) // 2])


def changed(**replaced):
    """A file of the transformer with other arrays in place of some, or without those replaced by None."""

    def make(files, folder):
        tree = released_tree(released_transformer())
        for path, value in replaced.items():
            *parents, last = path.replace("__", "/").split("/")
            place = tree["params"]
            for name in parents:
                place = place[name]
            place.pop(last) if value is None else place.update({last: value})
        write_arrays(folder / "x", tree)

    return make


def training_state(files, folder):
    tree = released_tree(released_transformer())
    write_arrays(folder / "x", {"step": np.array(3), "target": tree, "opt_state": {"mu": tree}})


def raw(content: bytes):
    return lambda files, folder: (folder / "x").write_bytes(content)


BROKEN = {
    "cut in the middle": (cut, "cut off after"),
    "more bytes at the end": (
        lambda f, d: (d / "x").write_bytes(f["transformer"].read_bytes() + b"xyz"),
        "3 bytes follow",
    ),
    "a training state": (training_state, "x holds step, target, opt_state: a training state"),
    "the tokenizer": (lambda f, d: shutil.copy(f["tokenizer"], d / "x"), "is a tokenizer; expected a transformer"),
    "a pickle": (raw(pickle.dumps({"params": 1})), "a pickle, which is a program and never loaded"),
    "a zip, as torch.save": (lambda f, d: torch.save({"a": torch.ones(1)}, d / "x"), "PyTorch's .pt"),
    "safetensors": (raw(b"\x10\0\0\0\0\0\0\0{" + b" " * 15), "a safetensors file"),
    "empty": (raw(b""), "it is empty"),
    "a web page": (raw(b"<!DOCTYPE html><html>"), "it is a web page"),
    "a Git LFS pointer": (raw(b"version https://git-lfs.github.com/spec/v1\n"), "a Git LFS pointer"),
    "text": (raw(b"hello"), "is not a flax checkpoint, or is damaged"),
    "bfloat16": (
        raw(b"\x81\xa1a" + ext(1, b"\x93\x91\x01\xa8bfloat16\xc4\x02\x80\x3f")),
        "x has arrays of bfloat16; expected float32, as the authors published",
    ),
    "a complex number": (raw(b"\x81\xa1a" + ext(2, b"\x92\x01\x02")), "an extension of type 2"),
    "a folder": (lambda f, d: (d / "x").mkdir(), "is a folder"),
    "missing": (lambda f, d: None, "does not exist"),
    "a name of two lines": (raw(b"\x81\xa3a\nb\x01"), r"a name is 'a\nb', not printable text"),
    "very deep": (raw(b"\x81\xa1a" * 5000), "maps within each other"),
    "an unknown dtype": (raw(b"\x81\xa1a" + ARRAY.replace(b"int16", b"int17")), "dtype 'uint17'"),
    "a shape that does not fit": (raw(b"\x81\xa1a" + ARRAY.replace(b"\x92\x02", b"\x92\x03")), "has 4 bytes"),
    "half precision": (changed(Embed_0__embeddings_ln__bias=np.zeros(32, np.float16)), "is of dtype float16"),
    "not a number": (changed(Embed_0__embeddings_ln__bias=np.full(32, np.nan, np.float32)), "NaN or infinite"),
    "a name too few": (changed(MlmLayer_0__mlm_ln__bias=None), "MlmLayer_0/mlm_ln/bias is missing"),
    "a name too many": (changed(MlmLayer_0__mlm_ln__mean=np.zeros(32, np.float32)), "x has MlmLayer_0/mlm_ln/mean"),
    "another shape": (
        changed(MlmLayer_0__mlm_ln__bias=np.zeros(31, np.float32)),
        "has the shape (31,); expected (32,)",
    ),
    "another number of tokens": (
        changed(Embed_0__position_embeddings__embedding=np.zeros((18, 32), np.float32)),
        "18 positions; expected one for the class and a square of tokens",
    ),
    "fewer rows than the tokenizer has codes": (
        lambda f, d: write(d / "x", released_transformer(num_codes=8)),
        "they do not belong together",
    ),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_file_that_is_no_released_transformer_is_refused_in_a_line_and_nothing_is_written(
    what, files, tmp_path, capsys
):
    make, said = BROKEN[what]
    make(files, tmp_path)
    given = (
        "--tokenizer",
        str(files["tokenizer"]),
        "--transformer",
        str(tmp_path / "x"),
        "--out",
        str(tmp_path / "run"),
    )
    line = error_line(capsys, import_weights, *given)
    assert said in line and ("x is not" in line or str(tmp_path / "x") in line)
    assert not (tmp_path / "run").exists()


def test_a_path_that_cannot_be_a_file_is_refused_too(files, tmp_path, capsys):
    given = ["--tokenizer", str(files["tokenizer"]), "--out", str(tmp_path / "run"), "--data", "n" * 300]
    for path in ("n" * 300, "~nobody/x", os.devnull, f"{files['transformer']}/x"):
        assert "expected a flax checkpoint" in error_line(capsys, import_weights, *given, "--transformer", path)
    assert not (tmp_path / "run").exists()


def test_files_of_two_image_sizes_are_told_apart_by_their_names(tmp_path, capsys):
    """Tokenizers of 256 and 512 pixels have the same arrays; only the transformer has another number of positions."""
    tokenizer = write(tmp_path / "tokenizer_imagenet8_checkpoint", released_tokenizer())
    for size, tokens in ((8, 16), (16, 64)):
        transformer = write(tmp_path / f"maskgit_imagenet{size}_checkpoint", released_transformer(num_tokens=tokens))
        given = (
            "--tokenizer",
            str(tokenizer),
            "--transformer",
            str(transformer),
            "--out",
            str(tmp_path / f"run{size}"),
        )
        if size == 8:
            import_weights.main(list(given))
            assert "8 x 8 pixels in 16 tokens" in capsys.readouterr().out
        else:
            line = error_line(capsys, import_weights, *given)
            assert "is for 8 x 8 pixels by its name" in line and "16 x 16" in line
            assert not (tmp_path / f"run{size}").exists()


def test_an_existing_folder_stays_as_it_is(files, tmp_path, capsys):
    (tmp_path / "mine").write_text("kept", "utf-8")
    given = [word for kind, path in files.items() for word in (f"--{kind}", str(path))]
    assert "already exists" in error_line(capsys, import_weights, *given, "--out", str(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


# --- The run ---


def test_every_size_is_read_from_the_arrays_heads_too(files, run_of_weights):
    run = open_run(run_of_weights, "cpu")
    assert (run.config.transformer.heads, run.config.transformer.norm_eps, run.config.transformer.gelu) == (
        4,
        1e-12,
        "tanh",
    )
    assert run.config.images.size == 8 and run.config.tokenizer.multipliers == (1, 2)
    assert run.label_names == [f"class {number}" for number in range(5)]
    for kind, model in (("tokenizer", run.tokenizer()), ("transformer", run.transformer())):
        original = {"tokenizer": released_tokenizer, "transformer": released_transformer}[kind]()
        assert all(model.state_dict()[name].equal(value) for name, value in original.state_dict().items())


def test_generate_and_edit_take_the_run(run_of_weights, tmp_path):
    Image.new("RGB", (20, 20), "teal").save(tmp_path / "photo.png")
    run = ["--run", str(run_of_weights), "--device", "cpu"]
    generate.main([*run, "--label", "class 3", "--count", "2", "--out", str(tmp_path / "two.png")])
    edit.main([
        *(*run, "--image", str(tmp_path / "photo.png"), "--box", "4,4,12,12", "--label", "1", "--steps", "4"),
        *("--start-step", "1", "--count", "1", "--out", str(tmp_path / "edit.png")),
    ])  # fmt: skip
    assert (tmp_path / "two.png").exists() and (tmp_path / "edit.png").exists()


def test_compare_leaves_out_the_twin_that_the_release_does_not_have(run_of_weights, tmp_path, capsys):
    given = ["--run", str(run_of_weights), "--out", str(tmp_path), "--batches", "1", "--repeats", "1", "--shown", "1"]
    compare.main([*given, "--device", "cpu"])
    assert f"left out: the autoregressive twin, which {run_of_weights} does not have" in capsys.readouterr().out
    rows = json.loads((tmp_path / "compare.json").read_text("utf-8"))["rows"]
    assert [row["decoder"] for row in rows] == ["MaskGIT"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["compare.json", "compare.png", "decoding.png"]


def test_an_export_leaves_out_what_the_release_does_not_have_and_says_what_it_is_of(files, tmp_path, capsys):
    for label in range(5):
        (tmp_path / f"real/class {label}").mkdir(parents=True)
        for number in range(100):
            picture = Image.new("RGB", (8, 8), (2 * number, 50 * label, 0))
            picture.save(tmp_path / f"real/class {label}/{number}.png")
    folder = imported(files, tmp_path / "run", "--data", str(tmp_path / "real"))
    config = load_config(folder / "config.json")
    small = replace(config.classifier, steps=1, width=8, batch_size=4)
    save_config(replace(config, classifier=small), folder / "config.json")
    out = tmp_path / "small"
    export.main(["--run", str(folder), "--out", str(out), "--samples", "12", "--device", "cpu"])
    assert f"left out: autoregressive, classifier, which {folder} does not have" in capsys.readouterr().out
    assert {path.name for path in out.iterdir() if path.is_dir()} == {"tokenizer", "transformer", "judge"}
    card = (out / "README.md").read_text("utf-8")
    assert "# MaskGIT on real, 8 x 8 pixels" in card and str(tmp_path / "real") not in card
    assert "license: apache-2.0" in card and "minimaskgit.import_weights --tokenizer FILE" in card
    assert "config.json: the tokenizer, the masked transformer, the judge. Made with" in card
    assert [result["decoder"] for result in json.loads((out / "evaluation.json").read_text("utf-8"))] == ["maskgit"]
    generate.main(["--run", str(out), "--count", "1", "--out", str(tmp_path / "x.png")])


def test_flax_has_no_quality_to_measure(run_of_weights, tmp_path, capsys):
    given = ["--run", str(run_of_weights), "--to", "flax", "--out", str(tmp_path / "out"), "--samples", "20"]
    assert "leave it out with --to flax" in error_line(capsys, export, *given)
    assert not (tmp_path / "out").exists()


GUIDED = {
    "generate": (generate, []),
    "edit": (edit, ["--box", "0,0,4,4", "--label", "1"]),
    "evaluate": (evaluate, ["--samples", "20", "--features", "inception"]),
}


@pytest.mark.parametrize("name", GUIDED)
def test_guidance_is_refused_because_no_class_was_never_trained(run_of_weights, capsys, name):
    command, more = GUIDED[name]
    line = error_line(capsys, command, "--run", str(run_of_weights), "--guidance", "2", *more)
    assert line.startswith("error: --guidance 2.0") and f"{run_of_weights} was only trained with one" in line
    assert "use --guidance 0, or use a run trained with --transformer-training.class-dropout 0.1" in line


OLD = {
    "generate": (generate, []),
    "edit": (edit, ["--box", "0,0,4,4", "--label", "1", "--image", "photo.png", "--start-step", "0"]),
    "passes": (passes, []),
    "search": (search, ["--steps", "2"]),
    "evaluate": (evaluate, ["--samples", "20"]),
}


@pytest.mark.parametrize("name", OLD)
def test_guidance_of_the_run_itself_is_refused_where_it_stands(run_of_weights, tmp_path, capsys, monkeypatch, name):
    folder = Path(shutil.copytree(run_of_weights, tmp_path / "run"))
    config = load_config(folder / "config.json")
    save_config(replace(config, decoding=replace(config.decoding, guidance=2.0)), folder / "config.json")
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (8, 8)).save("photo.png")
    command, more = OLD[name]
    line = error_line(capsys, command, "--run", str(folder), *more)
    assert line.startswith(f"error: decoding.guidance 2.0 in {folder / 'config.json'}") and "make it 0 there" in line


def test_the_run_s_guidance_is_no_reason_to_refuse_a_policy_which_has_its_own(run_of_weights, tmp_path):
    folder = Path(shutil.copytree(run_of_weights, tmp_path / "run"))
    config = load_config(folder / "config.json")
    save_config(replace(config, decoding=replace(config.decoding, guidance=2.0)), folder / "config.json")
    write_searched(folder, {2: Found(Policy((0.5, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 0.0)), {})})
    generate.main(["--run", str(folder), "--steps", "2", "--count", "1", "--out", str(tmp_path / "x.png")])


# --- Measuring needs no judge unless it is asked for ---


def test_inception_features_need_no_judge_unless_its_metrics_are_asked_for(run_of_weights, capsys):
    run, how = open_run(run_of_weights, "cpu"), {"samples": 20, "features": "inception"}
    assert not {"memory", "class", "cas"} & set(check_options(run, evaluation.Options(**how)))
    assert capsys.readouterr().out.startswith("left out: memory, cas, class, which need the training images")
    assert check_options(run, evaluation.Options(**how, metrics=("class", "fd"))) == ("class", "fd")
    assert "class" in check_options(run, evaluation.Options(samples=20)) and not capsys.readouterr().out


def test_a_judge_says_what_its_training_takes_which_is_little_for_an_imported_run(
    run_of_weights, capsys, monkeypatch, tmp_path
):
    trained = []
    monkeypatch.setattr(judge, "start_session", lambda config, *_: trained.append(config.classifier.steps))
    monkeypatch.setattr(judge, "train_classifier", lambda session: None)
    judge.load_judge(open_run(Path(shutil.copytree(run_of_weights, tmp_path / "run")), "cpu"))
    (line,) = capsys.readouterr().out.splitlines()
    assert trained == [10_000] and line.startswith("training a judge first: 10000 steps on imagenet-1k, into ")
    assert line.endswith("Ctrl-C saves it, and the same command resumes")


def test_the_command_to_try_can_be_typed_as_printed_whatever_the_folder_s_name(files, tmp_path, capsys):
    out = imported(files, tmp_path / "it's my run")
    *_, command = capsys.readouterr().out.splitlines()
    if os.name == "nt":
        assert f'--run "{out}" ' in command
    else:
        assert shlex.split(command)[2:5] == ["minimaskgit.generate", "--run", str(out)]


# --- The data, which nobody opened ---


def test_data_is_named_but_not_opened_and_glyphs_are_refused(files, tmp_path, capsys):
    given = [word for kind, path in files.items() for word in (f"--{kind}", str(path))]
    given += ["--out", str(tmp_path / "run"), "--data", "glyphs"]
    assert "--data glyphs: " in error_line(capsys, import_weights, *given)
    assert not (tmp_path / "run").exists()
    imported(files, tmp_path / "run", "--data", "nowhere/x")
    assert "data: nowhere/x (not opened; " in capsys.readouterr().out


def test_data_of_other_classes_is_refused_with_advice_that_an_imported_run_can_follow(files, tmp_path, capsys):
    for name in ("cat", "dog"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for number in range(4):
            Image.new("RGB", (8, 8), (60 * number, 0, 0)).save(tmp_path / "pets" / name / f"{number}.png")
    folder = imported(files, tmp_path / "run", "--data", str(tmp_path / "pets"))
    line = error_line(capsys, edit, "--run", str(folder), "--box", "0,0,4,4", "--label", "1")
    assert "class 'cat' is new" in line and "learned from" not in line
    assert line.endswith(f'expected images of its classes, named as "data" in {folder / "config.json"}')


def test_a_thousand_classes_are_imagenet_s(files, tmp_path, capsys):
    files = files | {"transformer": write(tmp_path / "maskgit", released_transformer(num_classes=1000))}
    out = imported(files, tmp_path / "run")
    assert json.loads((out / "labels.json").read_text("utf-8")) == list(imagenet_names())
    capsys.readouterr()
    for label in ("goldfish", "n01443537", "1", "Carassius auratus"):
        generate.main(["--run", str(out), "--label", label, "--count", "1", "--out", str(tmp_path / f"{label}.png")])
    pictures = {
        (tmp_path / f"{label}.png").read_bytes() for label in ("goldfish", "n01443537", "1", "Carassius auratus")
    }
    assert len(pictures) == 1


# --- ImageNet's names ---


def test_the_classes_are_those_of_imagenet_in_the_order_of_their_ids():
    ids, names = list(synsets()), imagenet_names()
    assert len(names) == len(set(names)) == 1000 and ids == sorted(ids)
    known = {
        0: "tench",
        1: "goldfish",
        207: "golden retriever",
        388: "giant panda",
        779: "school bus",
        999: "toilet tissue",
    }
    assert {number: names[number] for number in known} == known
    assert find_classes(["polar bear", "n02510455", "Tiger", "999"], names) == [296, 388, 292, 999]


def test_a_class_goes_by_its_id_its_number_and_all_its_names_in_any_case():
    names, ids = imagenet_names(), list(synsets())
    lines = [names[number] if words == "crane" else words for number, words in enumerate(synsets().values())]
    lines[638] = names[638]  # of the two maillots, one has no other name
    forms = [ids, [id.upper() for id in ids], map(str, range(1000)), names, lines, [n.replace(" ", "_") for n in names]]
    for form in forms:
        assert find_classes(list(form), names) == list(range(1000))
    assert find_classes(["missile", "GOLDFISH, carassius auratus", " white Shark "], names) == [657, 1, 2]


@pytest.mark.parametrize(
    ("label", "said"),
    [
        ("Crane", r"class 'Crane' may be crane \(n02012849\) \(number 134\) or crane \(n03126707\) \(number 517\)"),
        ("CARDIGAN", r"may be Cardigan \(number 264\) or cardigan \(number 474\); expected"),
        ("panda", r"may be lesser panda \(number 387\) or giant panda \(number 388\); expected"),
        ("goldfsh", "no class 'goldfsh' among the 1000; did you mean goldfish, "),
        ("cat", "did you mean tabby, tiger cat, Persian cat, "),
        ("1000", "they have the numbers 0 to 999"),
    ],
)
def test_a_label_of_several_classes_or_none_is_refused_with_the_nearest_names(label, said):
    with pytest.raises(UserError, match=said):
        find_classes([label], imagenet_names())


def test_other_copies_of_imagenet_have_the_same_classes():
    hub = ["crane bird" if id == "n02012849" else words for id, words in synsets().items()]
    for copy in (hub, list(synsets()), list(imagenet_names())):
        assert as_imagenet(copy) == list(imagenet_names())
        assert find_classes(["goldfish", "n01443537", "Carassius auratus", "polar bear"], copy) == [1, 296]
    for other in (hub[:-1], ["cat", "dog"], [*hub[1:], hub[0]]):
        assert as_imagenet(other) == other


# --- And back ---


def test_an_export_is_the_imported_file_to_the_byte(files, run_of_weights, tmp_path, capsys):
    export.main(["--run", str(run_of_weights), "--to", "flax", "--out", str(tmp_path / "out")])
    assert (tmp_path / "out/tokenizer_checkpoint").read_bytes() == files["tokenizer"].read_bytes()
    assert (tmp_path / "out/maskgit_checkpoint").read_bytes() == files["transformer"].read_bytes()
    assert "note" not in capsys.readouterr().out


def test_a_model_is_written_in_the_order_of_the_published_files(reference, tmp_path):
    again = write(tmp_path / "again", reference[0])
    assert again.read_bytes() == (RELEASED / "maskgit_checkpoint").read_bytes()
    assert list(released_tree(released_tokenizer())["params"]) == ["encoder", "quantizer", "decoder"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"transformer": {"pre_norm": True}}, "transformer has pre_norm True"),
        ({"transformer": {"count_masks": True}}, "transformer has count_masks True"),
        ({"tokenizer": {"l2_norm": True}}, "tokenizer has l2_norm True"),
        ({"tokenizer": {"released_shortcut": False}}, "tokenizer has released_shortcut False"),
        ({"transformer": {"gelu": "erf"}}, "note: the authors' code computes with gelu tanh, this run with erf"),
    ],
)
def test_only_models_that_the_release_has_are_exported_to_its_format(run_of_weights, tmp_path, capsys, change, said):
    folder = shutil.copytree(run_of_weights, tmp_path / "run")
    makers = {"tokenizer": released_tokenizer, "transformer": released_transformer}
    for kind, options in change.items():
        save_model(makers[kind](**options), folder / kind)
    given = ["--run", str(folder), "--to", "flax", "--out", str(tmp_path / "out")]
    if "note" in said:
        export.main(given)
        assert said in capsys.readouterr().out
    else:
        assert said in error_line(capsys, export, *given)
        assert not (tmp_path / "out").exists()
