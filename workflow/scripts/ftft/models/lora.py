"""The settings of an adapter, as a training is told them; ``adapters`` makes it."""

from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Lora:
    """The settings of an adapter; see ``config.Lora``, and ``config.Model`` for ``quantize``."""

    rank: int
    alpha: int
    dropout: float
    targets: tuple[str, ...] | None
    merge: bool
    quantize: Literal["4bit"] | None

    @property
    def numbered(self) -> bool:
        """Whether a target names one layer by its number, so that layers are not alike."""
        return any(part.isdigit() for target in self.targets or () for part in target.split("."))

    @property
    def packages(self) -> list[str]:
        """The Python packages that it is computed with, beside those of every training."""
        return ["peft", "bitsandbytes"] if self.quantize else ["peft"]

    @classmethod
    def of(cls, plain: dict[str, Any]) -> "Lora":
        """An adapter from the plain values of a configuration."""
        return cls(**plain | {"targets": plain["targets"] and tuple(plain["targets"])})
