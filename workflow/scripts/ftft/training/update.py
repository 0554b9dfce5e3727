"""What becomes of the gradients of a batch: added up over processes, clipped, applied to the weights, cleared."""

import torch
from accelerate import Accelerator
from transformers import PreTrainedModel

from ftft.training.settings import Optimization


class Update:
    """Changes the weights of a model by its gradients.

    Args:
        model: on its device.
        training: the optimizer's settings.
        accelerator: device and processes.
        in_place: whether gradients have to stay where they are in memory, since a recording writes there.

    Attributes:
        optimizer: its state goes on from step to step.
    """

    def __init__(
        self, model: PreTrainedModel, training: Optimization, accelerator: Accelerator, *, in_place: bool
    ) -> None:
        self.model, self.training, self.accelerator = model, training, accelerator
        # On CPU, clearing memory is cheaper than giving it back and asking for new.
        self.give_back = accelerator.device.type != "cpu" and not in_place
        self.optimizer = _optimizer(model, training)
        if in_place:
            self._make_room()

    def _make_room(self) -> None:
        """Have the optimizer take the memory of its state before recordings take theirs, which it could not use.

        A step of size 0 changes no weight, and what it leaves in the state is cleared.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = 0.0
            for parameter in group["params"]:
                parameter.grad = torch.zeros_like(parameter)
        self.optimizer.step()
        for state in self.optimizer.state.values():
            for value in state.values():
                value.zero_()

    def apply(self, rate: float) -> None:
        """Change the weights at a learning rate; the gradients are gone then."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        if self.accelerator.num_processes > 1:
            _sum_gradients(self.model, self.accelerator)
        if self.training.max_grad_norm:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.training.max_grad_norm)
        self.optimizer.step()
        self.clear()

    def clear(self) -> None:
        """Forget the gradients, such as those of a batch that is begun again."""
        self.optimizer.zero_grad(set_to_none=self.give_back)


def _sum_gradients(model: PreTrainedModel, accelerator: Accelerator) -> None:
    """Add the gradients of all processes; a process without a pass in this step adds nothing."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    flat = torch.cat([_gradient(parameter).flatten() for parameter in parameters])
    flat = accelerator.reduce(flat, "sum")
    for parameter, gradient in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
        parameter.grad = gradient.view_as(parameter)


def _gradient(parameter: torch.nn.Parameter) -> torch.Tensor:
    return parameter.grad if parameter.grad is not None else torch.zeros_like(parameter)


def _optimizer(model: torch.nn.Module, training: Optimization) -> torch.optim.Optimizer:
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    # Biases and normalisation weights are not decayed, as is usual.
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": training.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if training.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=training.learning_rate, momentum=training.momentum)
    return torch.optim.AdamW(groups, lr=training.learning_rate, eps=training.adam_epsilon, fused=True)
