"""`python -m mtkd.fairseq_plugin.arguments ARGS`: does fairseq take these arguments, and can CTranslate2 convert them?

Why a process of its own: parsing imports fairseq and torch, which the command line must not.
"""

import sys

from fairseq import options

import mtkd.fairseq_plugin  # noqa: F401  registers the task and the criterion


def main() -> None:
    """Parse the arguments; exit 2 with argparse's message, or 1 where a bundle could not be made of such a model."""
    args = options.parse_args_and_arch(options.get_training_parser(), input_args=sys.argv[1:])
    for what in ("attention_heads", "normalize_before"):
        encoder, decoder = getattr(args, f"encoder_{what}"), getattr(args, f"decoder_{what}")
        if encoder != decoder:
            sys.exit(f"encoder_{what} is {encoder}, decoder_{what} is {decoder}: CTranslate2 needs them equal")
    if args.arch != "transformer":
        sys.exit(f"--arch {args.arch}: the exported student must be a stock `transformer`")


if __name__ == "__main__":
    main()
