"""Right and wrong answers to lesson 9's variants, by what is drawn."""

import numpy as np

from minimaskgit.training.estimate import training_flops


def right(drawn: dict) -> dict:
    x, y = zip(*drawn["points"])

    def other_flops(depth, width, mlp_width, num_codes, sequence, batch_size):
        count = lambda mlp, codes: training_flops(depth, width, mlp, codes, sequence, batch_size)
        whole = count(mlp_width * (1.5 if drawn["gated"] else 1), num_codes)
        narrow = 12 * depth * width * width * (1 - 1 / drawn["shrink"]) * sequence * batch_size
        head = 6 * width * (width + num_codes) * (1 - 1 / drawn["asked"]) * sequence * batch_size
        return float(whole - narrow - head)

    return {
        "graph_rate": lambda step, steps: float(np.interp(step / steps, x, y)),
        "mean_rate": lambda: float(np.trapezoid(y, x)),
        "other_flops": other_flops,
    }


def wrong(drawn: dict) -> dict[str, tuple[str, dict]]:
    good = right(drawn)
    other = lambda name, **changed: {name: right(drawn | changed)[name]}
    (first, *_), *_, last = drawn["points"], drawn["points"][-1]
    straight = {"points": [(0.0, first[1]), (0.5, 1.0), last]}
    heights = [y for _, y in drawn["points"]]
    through, average = (
        "test_the_rate_goes_through_the_points_and_straight_between_them",
        "test_so_large_a_rate_is_measured_on_average",
    )
    counted = "test_so_many_operations_are_counted_when_it_runs"
    forward = lambda *args, **sizes: good["other_flops"](*args, **sizes) / 3
    return {
        "peak in the middle": (through, other("graph_rate", **straight)),
        "a step late": (through, {"graph_rate": lambda step, steps: good["graph_rate"](step + steps / 200, steps)}),
        "mean of the points": (average, {"mean_rate": lambda: sum(heights) / len(heights) + 0.01}),
        "the package's": (counted, {"other_flops": training_flops}),
        "forward only": (counted, {"other_flops": forward}),
        "a list": (counted, {"other_flops": lambda *args, **sizes: [good["other_flops"](*args, **sizes)]}),
        "the other MLP": (counted, other("other_flops", gated=not drawn["gated"])),
        "all tokens pass the head": (counted, other("other_flops", asked=1)),
        "keys of full width": (counted, other("other_flops", shrink=1)),
    }
