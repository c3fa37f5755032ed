"""What `minimaskgit.search` found for a run: RUN/decoding.json, a decoding policy for each number of steps T.

    RUN/decoding.json  {"transformer": digest of its weights, "critic": that of the critic, if a policy uses it,
                        "policies": {"8": {"policy": ..., "search": how}}}

A policy suits the weights it was searched with and no others, so it is refused once they have changed.
"""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from minimaskgit.common import cli
from minimaskgit.common.errors import UserError
from minimaskgit.common.files import write_json
from minimaskgit.decoders.policy import Policy
from minimaskgit.runs.config import Settings, problem
from minimaskgit.runs.models import digest, foreign, is_finished

NAME = "decoding.json"


@dataclass(frozen=True)
class Found(Settings):
    """A policy, and how it was found: seeds, samples, scores before and after."""

    policy: Policy
    search: dict[str, Any]


@dataclass(frozen=True)
class Searched(Settings):
    """The contents of decoding.json."""

    transformer: str
    critic: str | None = None  # None: no policy uses it, or the file is of an earlier version
    policies: dict[int, Found] = field(default_factory=dict)


def read_searched(folder: Path) -> Searched:
    """What was found for the run in `folder`, perhaps nothing; UserError if it is damaged or of other weights."""
    path, weights = folder / NAME, folder / "transformer"
    if not is_finished(weights) or foreign(weights / "model.safetensors"):
        return Searched("")  # reading the weights will say so
    try:
        searched = parse_searched(folder)
    except FileNotFoundError:
        return Searched("")
    if searched.transformer != digest(weights):
        raise UserError(f"{path} was searched with other weights than {weights} has now; {_advice(folder)}")
    if complaint := other_critic(folder, searched):
        raise UserError(f"{complaint}; {_advice(folder)}")
    return searched


def other_critic(folder: Path, searched: Searched) -> str | None:
    """One line if policies use a critic that the run no longer has; None if it has it, or if none was recorded."""
    critic = folder / "critic"
    if not with_critic(searched.policies) or foreign(critic / "model.safetensors"):  # reading it will say so
        return None
    if not is_finished(critic):
        return f"{folder / NAME} was searched with a critic, and there is none in {critic}"
    if searched.critic in (None, digest(critic)):
        return None
    return f"{folder / NAME} was searched with another critic than {critic} is now"


def with_critic(policies: dict[int, Found]) -> list[int]:
    """The numbers of steps whose policies use a critic."""
    return [steps for steps, found in policies.items() if found.policy.doubted]


def parse_searched(folder: Path) -> Searched:
    """decoding.json as it is, whatever its weights; FileNotFoundError if there is none, UserError if it is damaged."""
    try:
        searched = TypeAdapter(Searched).validate_json((folder / NAME).read_bytes())
        for steps, found in searched.policies.items():
            if steps != found.policy.steps:
                raise ValueError(f"the policy for {steps} steps has {found.policy.steps}")
    except FileNotFoundError:
        raise
    except (ValueError, OSError) as error:
        reason = problem(error)[1] if isinstance(error, ValidationError) else error
        raise UserError(f"{folder / NAME} cannot be read as decoding policies ({reason}); {_advice(folder)}") from None
    return searched


def write_searched(folder: Path, policies: dict[int, Found]) -> None:
    """Save policies as those of the run's present weights; without any, there is no file."""
    if policies:
        critic = digest(folder / "critic") if with_critic(policies) else None
        searched = Searched(digest(folder / "transformer"), critic, dict(sorted(policies.items())))
        write_json(folder / NAME, asdict(searched))
    else:
        (folder / NAME).unlink(missing_ok=True)


def _advice(folder: Path) -> str:
    return f"delete it, or search again with {cli.typed('search', '--run', folder)}"
