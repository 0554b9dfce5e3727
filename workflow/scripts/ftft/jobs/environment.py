"""What surrounds a job: where data lies, what the machine has, how to compute. None of it changes a result.

It reaches a script through a variable of its process, because a change to a parameter would run the job again.
"""

import json
import os
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from ftft.core.errors import UserError, reason

VARIABLE = "FTFT_ENVIRONMENT"


@dataclass(frozen=True)
class Runtime:
    """What changes nothing but speed and display; see ``config.Runtime``."""

    device: str = "auto"
    tracker: str | None = None
    progress: bool = True
    compile: Literal["auto"] | bool = "auto"
    cuda_graphs: bool = True
    checkpoint_minutes: float = 5.0


@dataclass(frozen=True)
class Environment:
    """The surroundings that all jobs of an experiment have in common; as it is here, those of a script by hand.

    Attributes:
        data_dir: where relative paths of data start.
        urls: where data is fetched from, by its name, where no setting may show the address.
        runtime: the section of the configuration.
        cores: CPU cores that jobs share; None where each has its own.
        gpus: number of GPUs of a training, or its share of one, by model.
        mem_mb: main memory of a training in MB, by model.
    """

    data_dir: str = "."
    urls: dict[str, str] = field(default_factory=dict)
    runtime: Runtime = field(default_factory=Runtime)
    cores: int | None = None
    gpus: dict[str, float] = field(default_factory=dict)
    mem_mb: dict[str, int] = field(default_factory=dict)

    @classmethod
    def here(cls) -> "Environment":
        """That of this process: what the variable says, and the default of what it leaves out or null.

        Raises:
            UserError: the variable is no JSON, or has something that this class or ``Runtime`` has not.
        """
        try:
            given: dict[str, Any] = json.loads(os.environ.get(VARIABLE, "{}"))
            found = {name: value for name, value in given.items() if value is not None}
            return cls(**found | {"runtime": Runtime(**found.get("runtime", {}))})
        except (ValueError, TypeError, AttributeError) as failure:
            raise UserError(
                f"the variable {VARIABLE} is not what a job is told of its surroundings ({reason(failure)}): unset it"
            ) from None

    def pass_on(self) -> None:
        """Let the jobs that this process starts have it."""
        os.environ[VARIABLE] = json.dumps(asdict(self))
