"""Every command in one line, with examples: what `python -m minimaskgit` and each command's --help print.

`shown` lists the options of a short --help, most used first; --help-all has the others. Empty: --help has them all.
"""

from typing import NamedTuple


class Command(NamedTuple):
    """The texts of one command; examples begin with the command's name."""

    summary: str
    examples: tuple[str, ...]
    shown: tuple[str, ...] = ()


IMAGES = ("data", "images.size", "images.count", "images.classes", "images.flip")
STEPS = ("tokenizer-training.steps", "transformer-training.steps")

COMMANDS = {
    "demo": Command(
        "Train on drawn glyphs, generate, race the two decoders and judge the images: the whole method in minutes.",
        (
            "demo",
            "demo --tokenizer-training.steps 300 --transformer-training.steps 500 --out runs/short",
            "demo --preset demo-real --data path/to/tiny-imagenet",
        ),
        ("preset", "out", *IMAGES, *STEPS, "decoding.steps", "seed", "precision", "device"),
    ),
    "train": Command(
        "Train a tokenizer and transformers, or a rival.",
        (
            "train --preset demo --out runs/mine",
            "train --data path/to/pictures --images.size 64 --images.flip --out runs/pictures",
            "train --init-from photos --data path/to/pictures --transformer-training.steps 500 --out runs/tuned",
            "train --full --data zh-plus/tiny-imagenet --compile",
            "train --resume --out runs/mine",
        ),
        (
            *("preset", "full", "init-from", "stage", "out", "resume", "max-steps", *IMAGES, *STEPS),
            *("tokenizer-training.batch-size", "transformer-training.batch-size", "transformer.depth"),
            *("seed", "compile", "precision", "device"),
        ),
    ),
    "generate": Command(
        "Generate images with a trained run.",
        (
            "generate --pretrained glyphs --label star --out stars.png --gif stars.gif",
            "generate --run runs/demo --label heart --count 64 --steps 12",
            "generate --run runs/demo --schedule linear --temperature 2 --seed 7",
        ),
    ),
    "edit": Command(
        "Edit a picture with a trained run: inpaint, change the class in a region, or continue it beyond its edges.",
        (
            "edit --pretrained glyphs --box 4,4,28,28 --dilate 0 --label heart",
            "edit --pretrained photos --generated monarch --box 16,16,48,48 --label pizza",
            "edit --run runs/demo --image photo.png --box 8,8,24,24 --label sun --released",
            "edit --run runs/demo --image photo.png --mask mask.png --inpaint --gif edit.gif",
            "edit --run runs/demo --outpaint 0,0,16,0 --count 2",
        ),
    ),
    "compare": Command(
        "Race parallel decoding against autoregressive decoding; --showdown adds a GAN and a diffusion model.",
        (
            "compare --run runs/demo",
            "compare --pretrained glyphs --batches 1 4 16 --steps 12",
            "compare --run runs/demo --showdown --samples 1000",
        ),
    ),
    "evaluate": Command(
        "Measure the quality of a trained run, beside that of real images.",
        (
            "evaluate --run runs/demo",
            "evaluate --pretrained glyphs --metrics fd is --samples 500",
            "evaluate --run runs/demo --decoder autoregressive --json quality.json",
        ),
    ),
    "playground": Command(
        "Put a run's models into one HTML file, in which anyone can decode, edit and look inside, without a network.",
        (
            "playground --out playground.html --open",
            "playground --run runs/demo --out runs/demo/playground.html",
        ),
    ),
    "search": Command(
        "Search for better decoding settings for every step, on a trained run's frozen weights.",
        (
            "search --run runs/demo",
            "search --run runs/demo --steps 8 --minutes 15",
        ),
    ),
    "ablate": Command(
        "Compare mask schedules: train a transformer with each, and decode with it (table 3 of the paper).",
        (
            "ablate --run runs/demo --quick",
            "ablate --run runs/demo --schedules cosine linear --steps 4 8 16",
            "ablate --run runs/demo --train-steps 0",
        ),
    ),
    "passes": Command(
        "Measure quality against the number of passes: every decoder, the autoregressive twin and diffusion.",
        (
            "passes --run runs/demo",
            "passes --pretrained glyphs --decoders maskgit halton --steps 4 8 16 --samples 200",
        ),
    ),
    "recipe": Command(
        "Compare changes of a preset's training: each alone, in the same training time, with several seeds.",
        (
            "recipe --variants rope mask-beta --seeds 0 1 2",
            "recipe --share 0.25 --out runs/recipe-quick",
        ),
        (
            *("preset", "variants", "seeds", "share", "samples", "reference", "out", *IMAGES, *STEPS),
            *("precision", "device"),
        ),
    ),
    "bench": Command(
        "Measure the speed of decoding and of training on this machine.",
        (
            "bench",
            "bench --batches 1 --precisions fp32 --out speed.json",
        ),
    ),
    "export": Command(
        "Export a run's weights in bfloat16, small enough to share, with a model card.",
        ("export --run runs/demo --out shared/demo", "export --run runs/full --out shared/full --samples 10000"),
    ),
    "import_weights": Command(
        "Turn the authors' published weights (flax checkpoints) into a run.",
        ("import_weights --tokenizer tokenizer_checkpoint --transformer maskgit_checkpoint --out runs/imagenet256",),
    ),
    "imagenet": Command(
        "Say where the authors' ImageNet weights are, or fetch them and make them a run.",
        ("imagenet", "imagenet --download --out runs/imagenet256"),
    ),
    "assignment": Command(
        "Write the file that a class gets: a lesson's exercises, and variants drawn by a number of yours.",
        ("assignment --lesson 5 --variants 7", "assignment --lesson 3 --variants 2026 --out handouts"),
    ),
    "grade": Command(
        "Grade a class: check each student's file against the laws of a lesson.",
        (
            "grade submissions --lesson 3 --csv grades.csv",
            "grade submissions.zip --lesson 5 --feedback pages --jobs 2",
            "grade submissions --lesson 3 --moodle worksheet.csv --roster exported.csv --comments comments.csv",
            "grade submissions --lesson 5 --variants 7",
            "grade anna.py --lesson 3",
        ),
    ),
}
