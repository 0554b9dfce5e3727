# In:  PLAN, whose models say what their jobs ask for.
# Out: resource functions: what a job asks of the machine or the cluster, by the model that its wildcards name.
import math


def resource(name):
    """A resource of the model that the wildcards name."""
    return lambda wildcards: getattr(
        PLAN.config.models[model_of(wildcards)].resources, name
    )


def unless_head(amount):
    """So much for training a reference as a whole, and none for a head on frozen features."""
    return lambda wildcards: (
        None if PLAN.trains_head(model_of(wildcards)) else amount(wildcards)
    )


def at_each_attempt(amount):
    """So much at the first attempt, twice at the second: a job killed for time or memory is sent again with more."""
    return lambda wildcards, attempt: attempt * amount(wildcards)


def one_gpu(wildcards):
    """The GPUs of a job that has no use for several."""
    return min(resource("gpu")(wildcards), 1)


def whole_gpus(amount):
    """GPUs to ask a cluster for: a whole one for a job with a share of it, and none where shards are asked for."""

    def whole(wildcards):
        if shards(wildcards):
            return None
        return math.ceil(amount(wildcards))

    return whole


def gpu_percent(amount):
    """How much of the GPUs of this machine a job takes; profiles/default says how much there is."""
    return lambda wildcards: round(100 * amount(wildcards))


def shards(wildcards):
    """What a job with a share of a GPU asks a cluster for whose profile says of how many shards a GPU is made."""
    default = workflow.resource_settings.default_resources or {}
    of_one = default.get("gpu_shards")
    of_one = getattr(of_one, "value", of_one)
    share = resource("gpu")(wildcards)
    if of_one and 0 < share < 1:
        return f"shard:{max(round(share * of_one), 1)}"
    return None
