"""The decoders by name, as --decoder takes them.

name            which tokens to keep      how many          taken back               paper (arXiv)
maskgit         confidence, with noise    mask schedule     never                    Chang et al. 2022, 2202.04200
margin          p1 - p2                   mask schedule     never                    Kim et al. 2025, 2502.06768
entropy         the least entropy         mask schedule     never                    the usual baseline
random          no preference             mask schedule     never                    masked diffusion, 2406.07524
halton          the Halton sequence       arcsine           never                    Besnier et al. 2025, 2503.17076
moment          noise + log sum p^beta    mask schedule     never                    Hayakawa et al. 2025, 2510.04525
entropy-bound   the least entropy         within a bound    never                    Ben-Hamu et al. 2025, 2505.24857
remdm-cap       confidence, with noise    mask schedule     4 % of the known         Wang et al. 2025, 2503.00307
remdm-rescale   confidence, with noise    mask schedule     4 % of what may be       2503.00307
remdm-conf      confidence, with noise    mask schedule     the least sure           2503.00307
remdm-loop      confidence, with noise    with a pause      in the pause             2503.00307
critic          confidence, with noise    mask schedule     what a critic doubts     near PRISM (2025), 2510.01384
"""

from typing import Literal

from minimaskgit.decoders import correction, counts, orders, sampling
from minimaskgit.decoders.counts import Rounding
from minimaskgit.decoders.critic import Critic
from minimaskgit.decoders.loop import Decoder
from minimaskgit.schedules import Schedule

DecoderName = Literal[
    *("maskgit", "margin", "entropy", "random", "halton", "moment"),
    *("entropy-bound", "remdm-cap", "remdm-rescale", "remdm-conf", "remdm-loop", "critic"),
]
ENTROPY_BOUND = 2.0  # nats

# The settings that a decoder has no use for: "moment" sharpens the distributions by itself.
UNUSED = {
    "margin": ("temperature",),
    "entropy": ("temperature",),
    "random": ("temperature",),
    "halton": ("schedule", "temperature", "rounding"),
    "moment": ("sampling_temperature", "top_p"),
    "entropy-bound": ("schedule", "temperature", "rounding"),
}


def decoder(
    name: DecoderName,
    schedule: Schedule,
    temperature: float,
    guidance: float = 0.0,
    guidance_start: float = 0.0,
    sampling_temperature: float = 1.0,
    top_p: float = 1.0,
    rounding: Rounding = "exact",
    critic: Critic | None = None,
) -> Decoder:
    """The decoder with this name; the settings that it does not use are in UNUSED.

    schedule and temperature: the paper's; rounding: of counts.py; the others: those of sampling.py. critic: for
    "critic".
    """
    confidence, scheduled = orders.confidence(temperature), counts.scheduled(schedule, rounding)
    pause = correction.paused(schedule)
    order, how_many, take_back = {
        "maskgit": (confidence, scheduled, None),
        "margin": (orders.margin(), scheduled, None),
        "entropy": (orders.entropy(), scheduled, None),
        "random": (orders.random, scheduled, None),
        "halton": (orders.halton, counts.arcsine, None),
        "moment": (orders.moment(temperature), scheduled, None),
        "entropy-bound": (orders.entropy(), counts.entropy_bound(ENTROPY_BOUND), None),
        "remdm-cap": (confidence, scheduled, correction.cap(schedule=schedule)),
        "remdm-rescale": (confidence, scheduled, correction.rescale(schedule=schedule)),
        "remdm-conf": (confidence, scheduled, correction.unsure(schedule)),
        "remdm-loop": (confidence, counts.scheduled(pause, rounding), correction.loop(pause)),
        "critic": (confidence, scheduled, correction.doubted()),
    }[name]
    how = sampling.moment(temperature) if name == "moment" else sampling.tempered(sampling_temperature, top_p)
    return Decoder(order, how_many, how, take_back, sampling.late_guidance(guidance, guidance_start), critic)
