"""The search for a decoding policy: `python -m minimaskgit.search --run runs/demo` (lesson 10).

    options ──> measuring/search.py, for each T ──> table, RUN/decoding.json, a plot of the policies

From then on generate, compare and evaluate use the policy for T steps; `--decoder maskgit` is always the paper's.
"""

from collections.abc import Sequence

from minimaskgit import figures
from minimaskgit.common import cli
from minimaskgit.measuring.search import Options, check_options, entry, laboratory, plain_policy, search, table
from minimaskgit.runs.checks import check_output_folder, checked
from minimaskgit.runs.models import digest
from minimaskgit.runs.run import Run, check_outside_of_package, open_run
from minimaskgit.runs.searched import NAME, Found, other_critic, parse_searched, with_critic, write_searched


def main(argv: Sequence[str] | None = None) -> None:
    """Search for each T in turn, keep what is better in RUN/decoding.json, and print the table."""
    options = checked(cli.parse(Options, "search", argv=argv))
    check_outside_of_package("--run", options.run, "copy the folder and use the copy")
    run = open_run(options.run, options.device, options.precision)
    check_output_folder("--run", run.folder / "search")
    check_options(run, options)
    policies, results = earlier_policies(run), {}
    lab = laboratory(run, options)
    try:
        for steps in sorted(set(options.steps)):
            earlier = policies[steps].policy if steps in policies else None
            result = results[steps] = search(lab, steps, earlier)
            if result.best == "after":
                policies[steps] = entry(result, options)
            elif result.best == "before":
                policies.pop(steps, None)
            write_searched(run.folder, policies)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"every score is kept in {run.folder / 'search'}; to resume, run it again") from None
    print(table(results))
    pairs = {f"T = {steps}": (plain_policy(lab, steps), result.policies["after"]) for steps, result in results.items()}
    drawing = figures.policies(pairs, "the paper's way", "where the search ended")
    print("look at:")
    print(f"  {figures.save_picture(drawing, run.folder / 'search' / 'policies.png')}")
    if policies:
        print(f"  {run.folder / NAME}, which commands use from now on; --decoder maskgit is still the paper's")


def earlier_policies(run: Run) -> dict[int, Found]:
    """The policies that the run has already; those of other weights or another critic are dropped, with a note."""
    try:
        searched = parse_searched(run.folder)
    except FileNotFoundError:
        return {}
    if searched.transformer != digest(run.folder / "transformer"):
        print(f"note: {run.folder / NAME} is of other weights, and will be replaced")
        return {}
    dropped = with_critic(searched.policies) if (complaint := other_critic(run.folder, searched)) else []
    if dropped:
        print(f"note: {complaint}; dropped: the policy for {' and for '.join(map(str, dropped))} steps")
    return {steps: found for steps, found in searched.policies.items() if steps not in dropped}


if __name__ == "__main__":
    cli.run(main)
