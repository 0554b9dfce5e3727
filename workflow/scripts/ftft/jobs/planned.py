"""What Snakemake has planned, for its jobs: they begin later, perhaps after the configuration or the code was edited.

Snakemake writes down that a result was made from what it had planned. A job on a cluster reads the configuration and
the rules again, though, and every job the code. So jobs are told the configuration, and refuse code that is not the one
planned.
"""

import base64
import hashlib
import os
import pickle
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ftft.core.errors import UserError, reason
from ftft.jobs import codehash

VARIABLE = "FTFT_PLANNED"


@dataclass(frozen=True)
class Planned:
    """The plan as all jobs have it in common.

    Attributes:
        config: the configuration, as parsed from YAML.
        files: checksums of the files of the code, by their place in the clone.
        hashes: of the scripts and what they import, by the script's name, as far as ``hash_of`` was asked for them.
    """

    config: dict[str, Any]
    files: dict[str, str]
    hashes: dict[str, str] = field(default_factory=dict)

    @classmethod
    def now(cls, config: dict[str, Any]) -> "Planned":
        """The plan of this configuration, with the code as it is."""
        return cls(config, _checksums())

    @classmethod
    def before(cls) -> "Planned | None":
        """The plan of the Snakemake that has started this process; None where none has.

        Raises:
            UserError: the variable holds something else.
        """
        given = os.environ.get(VARIABLE)
        if given is None:
            return None
        try:
            found: Planned = cls(**pickle.loads(zlib.decompress(base64.b64decode(given))))
        except Exception as failure:  # whatever unpickling raises
            message = f"the variable {VARIABLE} is not what a job is told ({reason(failure)}): unset it"
            raise UserError(message) from None
        return found

    def pass_on(self) -> None:
        """Let the jobs that this process starts have it."""
        # YAML has more types than JSON, such as numbers as keys.
        content = zlib.compress(pickle.dumps(vars(self)))
        os.environ[VARIABLE] = base64.b64encode(content).decode()

    def hash_of(self, script: Path) -> str:
        """The hash of a script's code, for this process and the jobs that it starts."""
        if script.name not in self.hashes:
            self.hashes[script.name] = codehash.of(script)
            self.pass_on()
        return self.hashes[script.name]

    def check_rules(self) -> None:
        """Refuse rules that were edited since: what they would ask a job for is not what was planned.

        Raises:
            UserError: names a file that was edited.
        """
        if not (edited := self._edited()):
            return
        planning = set(map(_place, codehash.reach(*(codehash.LIBRARY / "experiment").rglob("*.py"))))
        for place in edited:
            if place in planning or not place.startswith("workflow/scripts/"):
                raise _refusal(place)

    def check_code(self, script: Path) -> None:
        """Refuse a script if it or what it imports was edited since; comments and the like do not count.

        Raises:
            UserError: names the script.
        """
        if not (edited := self._edited()):
            return
        used = set(map(_place, codehash.reach(script)))
        # Another Python may have another hash for the same code, so files come first.
        if used.intersection(edited) and self.hashes.get(script.name) != codehash.of(script):
            raise _refusal(script.name)

    def _edited(self) -> list[str]:
        """The files that have changed, are new or are gone."""
        now = _checksums()
        return sorted(place for place in self.files.keys() | now.keys() if self.files.get(place) != now.get(place))


def _refusal(name: str) -> UserError:
    return UserError(
        f"the code of {name} was edited after Snakemake had planned this job, and the record of its results would be "
        "wrong: call snakemake again"
    )


def _place(path: Path) -> str:
    return path.relative_to(codehash.LIBRARY.parents[2]).as_posix()


def _checksums() -> dict[str, str]:
    """Of the Snakefile, the rules, the scripts and the library; of no hidden files, which are an editor's."""
    clone = codehash.LIBRARY.parents[2]
    paths = [*clone.glob("Snakefile"), *clone.glob("rules/*.smk"), *clone.glob("workflow/scripts/**/*.py")]
    paths = [path for path in paths if not path.name.startswith(".")]
    return {_place(path): hashlib.sha256(path.read_bytes()).hexdigest()[:16] for path in paths}
