"""The classifier: perceptual network and judge (lessons 2 and 8)."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import codes
from tiny import generator
from torch import nn

from minimaskgit.classifier import Classifier, class_accuracy, classification_loss
from minimaskgit.data.glyphs import glyphs
from minimaskgit.data.images import to_float


def tiny_classifier(num_classes: int = 10) -> Classifier:
    torch.manual_seed(0)
    return Classifier(num_classes, width=8)


class Reader(nn.Module):
    """Stands in for a classifier: reads the class from each picture's first pixel."""

    def forward(self, images):
        return nn.functional.one_hot(images[:, 0, 0, 0].long(), 10).float()


@pytest.mark.parametrize("size", [16, 32, 40])
def test_there_are_four_feature_maps_each_half_the_side_of_the_one_before(size):
    model, images = tiny_classifier(3), torch.rand(2, 3, size, size)
    shapes = [tuple(features.shape) for features in model.features(images)]
    assert shapes == [(2, width, size // 2**s, size // 2**s) for s, width in enumerate((8, 16, 32, 32))]
    assert model(images).shape == (2, 3)


def test_a_picture_s_logits_do_not_depend_on_its_batch():
    model, images = tiny_classifier(), torch.rand(4, 3, 16, 16, generator=generator(0))
    assert model(images).allclose(torch.cat([model(image[None]) for image in images]), atol=1e-5)


@given(truth=codes(10, 23), predicted=codes(10, 23), batch_size=st.integers(1, 30))
def test_the_accuracy_is_the_fraction_of_correct_labels_for_any_batch_size(truth, predicted, batch_size):
    images = predicted.float()[:, None, None, None].expand(-1, 3, 2, 2)
    assert class_accuracy(Reader(), images, truth, batch_size) == pytest.approx(
        (truth == predicted).double().mean().item()
    )


def test_the_loss_of_uniform_guessing_is_the_logarithm_of_the_number_of_classes():
    model = tiny_classifier()
    nn.init.zeros_(model.final.weight), nn.init.zeros_(model.final.bias)
    loss = classification_loss(model, torch.rand(5, 3, 16, 16), torch.arange(5))
    assert loss.item() == pytest.approx(math.log(10))


def test_a_few_steps_teach_it_the_ten_glyphs():
    model = tiny_classifier()
    images, labels = glyphs(40, seed=0, size=16)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    for _ in range(50):
        optimizer.zero_grad()
        classification_loss(model, to_float(images), labels).backward()
        optimizer.step()
    assert class_accuracy(model.eval(), to_float(images), labels) > 0.95
