"""The comparison command: `python -m minimaskgit.compare --run runs/demo` (lessons 6 and 8).

options ──> measuring/race.py: the speed of MaskGIT and its autoregressive twin
        └─> with --showdown also measuring/showdown.py: speed and quality, with a GAN and a diffusion model
"""

from collections.abc import Sequence

from minimaskgit.common import cli
from minimaskgit.common.errors import UserError
from minimaskgit.measuring import showdown
from minimaskgit.measuring.race import Options, compare, decoding_of, folder_of
from minimaskgit.runs.checks import check_output_folder, checked
from minimaskgit.runs.run import chosen_work_folder, open_run


def main(argv: Sequence[str] | None = None) -> None:
    """Time both decoders, print the table, and write compare.json and the pictures."""
    options = checked(cli.parse(Options, "compare", argv=argv))
    if not options.batches:
        raise UserError("--batches: expected one or more numbers of images")
    folder = chosen_work_folder(options.run, options.pretrained)
    check_output_folder("--out", folder_of(folder, options))
    if options.showdown:
        showdown.check(options.samples, folder)
        if (folder / "transformer/model.safetensors").exists():
            run = open_run(folder, options.device, options.precision)
            decoding_of(run, options, run.transformer().num_tokens)  # fails now rather than after the rivals' training
        showdown.train_missing(folder, options.device)
    compare(open_run(folder, options.device, options.precision), options)


if __name__ == "__main__":
    cli.run(main)
