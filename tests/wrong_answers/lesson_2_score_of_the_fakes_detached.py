"""The score of the fakes is detached, not the fakes: the discriminator learns nothing from them."""

from minimaskgit.adversary import adaptive_weight, hinge_d_loss, hinge_g_loss, perceptual_loss  # noqa: F401

BREAKS = ("test_the_discriminator_learns_from_real_and_fake_pictures_alike",)


def discriminator_loss(discriminator, real, fake):
    return hinge_d_loss(discriminator(real), discriminator(fake).detach())
