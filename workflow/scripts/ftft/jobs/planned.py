"""What Snakemake has planned, for its jobs: they begin later, perhaps after the configuration or the code was edited.

Snakemake writes down that a result was made from what it had planned. A job on a cluster reads the configuration again,
though, and every job the code. So jobs are told the configuration, and refuse code that is not the one planned.
"""

import base64
import os
import pickle
import zlib
from dataclasses import dataclass
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
        code: hashes of the scripts and what they import, by the script's name.
        changed: when a file of the code was last changed, in nanoseconds.
    """

    config: dict[str, Any]
    code: dict[str, str]
    changed: int

    @classmethod
    def now(cls, config: dict[str, Any]) -> "Planned":
        """The plan of this configuration, with the code as it is."""
        scripts = sorted(codehash.LIBRARY.parent.glob("*.py"))
        return cls(config, {script.name: codehash.of(script) for script in scripts}, _changed())

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


def check(script: Path) -> None:
    """Refuse code that was edited after Snakemake had planned this job; ``script`` is what the job runs.

    Raises:
        UserError: it was, so that the result would go by the name of another.
    """
    planned = Planned.before()
    if planned is None or planned.changed == _changed() or planned.code.get(script.name) == codehash.of(script):
        return
    raise UserError(
        f"the code of {script.name} was edited after Snakemake had planned this job, so its results would have a wrong "
        "record: call snakemake again"
    )


def _changed() -> int:
    return max(path.stat().st_mtime_ns for path in codehash.LIBRARY.parent.rglob("*.py"))
