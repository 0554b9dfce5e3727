"""Exchange training dynamics, coordinates and selected ids with other programs, as lines of text: the command line.

Run ``ftft-cartography --help``, or ``python -m ftft.interop.cartography --help``. The JSON lines are those of dataset
cartography; ``cartography_files`` beside it says what is in them. Numbers are written with all their digits, so what is
exported and imported again is the same to the last bit.
"""

import argparse
from collections.abc import Sequence
from typing import Any

from ftft.core.errors import shown
from ftft.interop.cartography_export import export_coordinates, export_dynamics, export_ids
from ftft.interop.cartography_import import import_coordinates, import_dynamics
from ftft.jobs.job import reporting


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ftft-cartography",
        description="Exchange training dynamics, coordinates and selected ids with other programs, as lines of text. "
        "The JSON lines are those of dataset cartography (Swayamdipta et al. 2020); a guid is a uid.",
        epilog="COMMAND --help says more about one of them.",
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def add(name: str, summary: str, function: Any) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
        command.set_defaults(function=function)
        return command

    data: dict[str, Any] = {
        "required": True,
        "metavar": "FILE",
        "help": "the data artifact: results/TASK/data/train.parquet",
    }

    command = add("export-dynamics", "write training dynamics as JSON lines, one file per epoch", export_dynamics)
    command.add_argument("dynamics", metavar="DYNAMICS", help="results/TASK/reference/MODEL/seedN/dynamics.parquet")
    command.add_argument("--data", **data)
    command.add_argument("--output", dest="folder", required=True, metavar="FOLDER", help="gets the files")

    command = add("import-dynamics", "turn JSON lines of training dynamics into the dynamics artifact", import_dynamics)
    command.add_argument("folder", metavar="FOLDER", help="has dynamics_epoch_0.jsonl and so on, from any number")
    command.add_argument("--data", **data)
    command.add_argument("--output", required=True, metavar="FILE", help="dynamics.parquet")

    command = add("export-coordinates", "write a data map as JSON lines of coordinates", export_coordinates)
    command.add_argument("datamap", metavar="DATAMAP", help="results/TASK/datamap/MODEL/seedN.parquet")
    command.add_argument("--output", required=True, metavar="FILE", help="td_metrics.jsonl")

    command = add("import-coordinates", "turn JSON lines of coordinates into a data map", import_coordinates)
    command.add_argument("coordinates", metavar="COORDINATES", help="td_metrics.jsonl")
    command.add_argument("--data", **data)
    command.add_argument(
        "--epochs",
        type=_positive,
        required=True,
        metavar="N",
        help="how many epochs the coordinates were computed over",
    )
    command.add_argument("--output", required=True, metavar="FILE", help="datamap.parquet")

    command = add("export-ids", "write the uids of a subset, one per line, best first", export_ids)
    command.add_argument("subset", metavar="SUBSET", help="results/TASK/subset/…/seedN.parquet")
    command.add_argument("--output", required=True, metavar="FILE", help="ids.txt")
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{shown(text)} found; needed: a whole number of at least 1")
    return int(text)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    given = vars(_parser().parse_args(arguments))
    function = given.pop("function")
    with reporting(None):
        function(**given)


if __name__ == "__main__":
    main()
