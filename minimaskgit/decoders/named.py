"""The decoders by name, as --decoder takes them."""

from typing import Literal

from minimaskgit.decoders import correction, counts, orders, sampling
from minimaskgit.decoders.critic import Critic
from minimaskgit.decoders.loop import Decoder
from minimaskgit.schedules import Schedule

DecoderName = Literal[
    *("maskgit", "margin", "entropy", "random", "halton", "moment"),
    *("entropy-bound", "remdm-cap", "remdm-rescale", "remdm-conf", "critic"),
]
ENTROPY_BOUND = 2.0  # nats


def decoder(
    name: DecoderName,
    schedule: Schedule,
    temperature: float,
    guidance: float = 0.0,
    guidance_start: float = 0.0,
    sampling_temperature: float = 1.0,
    top_p: float = 1.0,
    critic: Critic | None = None,
) -> Decoder:
    """The decoder with this name; `schedule` and `temperature` are the paper's, where the decoder has them.

    The sampling settings hold for all but "moment", which sharpens the distributions by itself. critic: for "critic".
    """
    confidence, scheduled = orders.confidence(temperature), counts.scheduled(schedule)
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
        "critic": (confidence, scheduled, correction.doubted()),
    }[name]
    how = sampling.moment(temperature) if name == "moment" else sampling.tempered(sampling_temperature, top_p)
    return Decoder(order, how_many, how, take_back, sampling.late_guidance(guidance, guidance_start), critic)
