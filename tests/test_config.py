"""Settings: JSON and back, consistent presets, and the paper's exact numbers of parameters."""

import json
import math
import re
import typing
from dataclasses import asdict, fields, is_dataclass, replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from minimaskgit.adversary import PatchDiscriminator
from minimaskgit.classifier import Classifier
from minimaskgit.common.errors import UserError
from minimaskgit.runs.checks import check
from minimaskgit.runs.config import (
    ClassifierConfig,
    Config,
    ImagesConfig,
    ScheduleName,
    TokenizerTraining,
    TransformerTraining,
    first_difference,
    load_config,
    save_config,
)
from minimaskgit.runs.presets import PRESETS
from minimaskgit.schedules import SCHEDULES
from minimaskgit.tokenizer import Tokenizer
from minimaskgit.transformer import Transformer

configs = st.builds(
    replace,
    st.sampled_from(list(PRESETS.values())).map(lambda preset: preset()),
    data=st.text(),
    seed=st.integers(0, 2**63 - 1),
    images=st.builds(ImagesConfig, count=st.none() | st.integers(1), classes=st.lists(st.text()).map(tuple)),
    transformer_training=st.builds(
        TransformerTraining,
        learning_rate=st.floats(0, 1, exclude_min=True),
        betas=st.tuples(*2 * [st.floats(0, 1, exclude_max=True)]),
    ),
)


def shape_of(config: Config, num_classes: int) -> tuple[Tokenizer, Transformer]:
    """The models of a configuration, without memory for their weights."""
    with torch.device("meta"):
        tokenizer = Tokenizer(config.images.size, **asdict(config.tokenizer))
        transformer = asdict(config.transformer)
        return tokenizer, Transformer(tokenizer.num_codes, num_classes, tokenizer.num_tokens, **transformer)


def count(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


# --- Shapes ---


def test_the_weights_of_the_gpu_recipe_fit_into_files_of_16_megabytes():
    for model in shape_of(PRESETS["tiny-imagenet"](), num_classes=200):
        assert 2 * count(model) < 16e6  # bfloat16


# --- The paper ---


def test_the_paper_s_models_have_the_published_number_of_parameters():
    tokenizer, transformer = shape_of(PRESETS["paper"](), num_classes=1000)
    assert count(transformer) == 172_457_193
    assert count(tokenizer) == 54_515_587  # together, the paper's "227M"
    assert (tokenizer.num_tokens, tokenizer.num_codes, tokenizer.downsampling) == (256, 1024, 16)


def test_the_model_classes_default_to_the_paper_s_shapes():
    with torch.device("meta"):
        assert count(Transformer()) == 172_457_193
        assert count(Tokenizer(released_shortcut=True)) == 54_515_587


def test_the_paper_s_training_is_the_published_one():
    settings = PRESETS["paper"]().transformer_training
    assert (settings.optimizer, settings.batch_size, settings.learning_rate) == ("adamw", 256, 1e-4)
    assert (settings.betas, settings.weight_decay, settings.warmup) == ((0.9, 0.96), 0.045, 5000)
    assert (settings.schedule, settings.label_smoothing) == ("cosine", 0.1)
    assert PRESETS["paper"]().transformer.dropout == 0.1 and PRESETS["paper"]().tokenizer.beta == 0.25


# --- Presets ---


@pytest.mark.parametrize("name", PRESETS)
def test_the_models_of_a_preset_fit_together(name):
    config = PRESETS[name]()
    tokenizer, transformer = shape_of(config, num_classes=10)
    images = torch.zeros(1, 3, config.images.size, config.images.size, device="meta")
    latents = tokenizer.encoder(images)
    assert latents.shape == (1, config.tokenizer.code_dim, tokenizer.grid, tokenizer.grid)
    assert tokenizer.decoder(latents).shape == images.shape
    tokens = torch.zeros(1, tokenizer.num_tokens, dtype=torch.long, device="meta")
    labels = torch.zeros(1, dtype=torch.long, device="meta")
    assert transformer(tokens, labels).shape == (1, tokenizer.num_tokens, config.tokenizer.num_codes)


def flat(config, before: str = "") -> dict[str, str]:
    """Each setting's value as text, by its name on the command line."""
    values = {}
    for f in fields(config):
        value, name = getattr(config, f.name), f"{before}{f.name}"
        values |= flat(value, f"{name}.") if is_dataclass(value) else {name: str(value)}
    return values


def test_the_documents_name_every_setting_in_which_the_release_differs_from_the_paper_s_preset():
    text = (Path(__file__).parents[1] / "minimaskgit/training/README.md").read_text("utf-8")
    rows = re.findall(r"^\| `([\w.]+)` \| [^|]+ \| (\S+) \| ([^|,\s]+)", text, re.MULTILINE)
    paper, official = flat(PRESETS["paper"]()), flat(PRESETS["official"]())
    assert {name: (a, b) for name, a, b in rows} == {
        name: (value, official[name]) for name, value in paper.items() if value != official[name]
    }


def test_schedules_have_the_same_names_on_the_command_line_and_in_the_table():
    assert list(typing.get_args(ScheduleName)) == list(SCHEDULES)


# --- Invalid settings ---


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_passes_the_check(name):
    check(PRESETS[name]())


def test_guidance_needs_class_dropout_before_any_training():
    guided = replace(Config(), decoding=replace(Config().decoding, guidance=2.0))
    with pytest.raises(UserError, match=r"^--decoding.guidance 2.0: .* use --decoding.guidance 0, or --transformer-tr"):
        check(guided)
    check(replace(guided, transformer_training=replace(guided.transformer_training, class_dropout=0.1)))


def numbers_of(config, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """The paths of all numeric settings."""
    found = []
    for f in fields(config):
        value = getattr(config, f.name)
        if is_dataclass(value):
            found += numbers_of(value, (*path, f.name))
        elif isinstance(value, int | float) and not isinstance(value, bool):
            found.append((*path, f.name))
    return found


def changed(config, path: tuple[str, ...], value):
    name, *rest = path
    return replace(config, **{name: changed(getattr(config, name), rest, value) if rest else value})


@pytest.mark.parametrize("path", numbers_of(Config()), ids=".".join)
@pytest.mark.parametrize("value", [-1, math.nan])
def test_no_setting_may_be_negative_and_the_message_names_option_and_value(path, value):
    with pytest.raises(UserError, match=f"--{'.'.join(path).replace('_', '-')} {value}: expected") as error:
        check(changed(Config(), path, value))
    assert "\n" not in str(error.value)


@settings(max_examples=30)
@given(size=st.sampled_from([16, 32]), width=st.integers(1, 40), gan_width=st.integers(1, 40), layers=st.integers(1, 4))
def test_settings_that_pass_the_check_give_critics_that_accept_the_images(size, width, gan_width, layers):
    config = Config(
        images=ImagesConfig(size=size),
        classifier=ClassifierConfig(width=width),
        tokenizer_training=TokenizerTraining(gan_width=gan_width, gan_layers=layers),
    )
    try:
        check(config)
    except UserError:
        return
    images = torch.zeros(2, 3, size, size)
    with torch.no_grad():
        assert Classifier(3, width)(images).shape == (2, 3)
        assert PatchDiscriminator(gan_width, layers)(images).numel() > 0


# --- JSON and back ---


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_written_as_json_is_read_back_the_same(tmp_path, name):
    path = tmp_path / "new" / "config.json"
    save_config(PRESETS[name](), path)
    assert load_config(path) == PRESETS[name]()


@given(config=configs)
def test_any_settings_written_as_json_are_read_back_the_same(tmp_path_factory, config):
    path = tmp_path_factory.getbasetemp() / "config.json"
    save_config(config, path)
    read = load_config(path)
    assert read == config and first_difference(read, config) is None


def test_settings_missing_from_the_file_get_their_defaults(tmp_path):
    path = tmp_path / "config.json"
    path.write_text('{"seed": 7, "transformer": {"depth": 3}}', "utf-8")
    assert load_config(path) == replace(Config(), seed=7, transformer=replace(Config().transformer, depth=3))


def test_the_error_for_a_folder_without_settings_says_what_to_do(tmp_path):
    told = f"{tmp_path} is not a run folder: it has no config.json; train one with"
    with pytest.raises(UserError, match=re.escape(told)):
        load_config(tmp_path / "config.json")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "cannot be read"),
        ("[1, 2]", "cannot be read"),
        ("3", "cannot be read"),
        ('{"sede": 1}', "unknown setting 'sede'"),
        ('{"transformer": {"depht": 1}}', "unknown setting 'transformer.depht'"),
        ('{"transformer": 3}', "cannot be read"),
        ('{"seed": {"a": 1}}', "cannot be read"),
        ('{"seed": 1.5}', "seed 1.5: expected a whole number"),
        ('{"images": {"flip": "no"}}', "images.flip no: expected true or false"),
        ('{"transformer": {"depth": 0}}', "transformer.depth 0: expected 1 or more"),
        ('{"transformer_training": {"betas": [0.9, 1.5]}}', "transformer_training.betas 1.5: expected less than 1"),
    ],
)
def test_broken_settings_are_reported_in_one_line_that_names_the_file(tmp_path, text, reason):
    path = tmp_path / "config.json"
    path.write_text(text, "utf-8")
    with pytest.raises(UserError, match=reason) as error:
        load_config(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_the_first_difference_names_the_setting_and_both_values():
    a, b = Config(), replace(Config(), transformer=replace(Config().transformer, depth=3))
    assert first_difference(a, a) is None
    assert first_difference(a, b) == f"transformer.depth is {a.transformer.depth} there and 3 here"
    assert first_difference(a, replace(a, data="x")) == "data is 'glyphs' there and 'x' here"


def test_settings_are_plain_json():
    for preset in PRESETS.values():
        assert json.loads(json.dumps(asdict(preset()))).keys() == asdict(Config()).keys()
