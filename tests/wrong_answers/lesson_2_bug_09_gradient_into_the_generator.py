"""Bug 9: the fakes are not detached, and the discriminator's step teaches the generator to make worse ones."""

from minimaskgit.adversary import adaptive_weight, hinge_d_loss, hinge_g_loss, perceptual_loss  # noqa: F401

BREAKS = ("test_the_discriminator_s_step_leaves_the_generator_without_gradient",)


def discriminator_loss(discriminator, real, fake):
    return hinge_d_loss(discriminator(real), discriminator(fake))
