"""Read one split of a dataset on the Hugging Face hub."""

import pyarrow as pa

from ftft.core.errors import UserError, reason, shown
from ftft.data.readers import with_class_names
from ftft.data.settings import Source


def read_hub(source: Source) -> tuple[pa.Table, str]:
    """One split of a dataset on the hub, class indices as names, and the commit it is from.

    Raises:
        UserError: the dataset is not there, or cannot be reached and is not in the local cache.
    """
    import datasets  # takes a second, and no other source needs it
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    hub, commit = source["hub"], source["revision"]
    assert hub is not None
    where = f"hub dataset {hub}"
    try:
        commit = HfApi().dataset_info(hub, revision=commit).sha
    except RevisionNotFoundError:
        raise UserError(f"{where}: there is no revision {shown(commit)}; give a commit of this dataset") from None
    except GatedRepoError:
        raise UserError(f"{where}: access must be asked for on its page; then set HF_TOKEN") from None
    except RepositoryNotFoundError:
        raise UserError(f"{where}: not found; check the id, or set HF_TOKEN if the dataset is private") from None
    except Exception as failure:  # whatever the HTTP client raises; the local cache may have the dataset
        unreachable = reason(failure)
        datasets.config.HF_HUB_OFFLINE = True  # otherwise datasets tries again for half a minute
    else:
        unreachable = ""
    try:
        builder = datasets.load_dataset_builder(hub, source["name"], revision=commit)
        builder.download_and_prepare()
        dataset = builder.as_dataset(split=source["split"])
    except ValueError as failure:  # unknown configuration or split: the message lists those there are
        raise UserError(f"{where}, name {source['name']}, split {source['split']}: {reason(failure)}") from None
    except Exception as failure:
        raise UserError(
            f"{where}: cannot be fetched ({unreachable or reason(failure)}) and is not in the local cache; run this "
            "rule on a machine with network, or set HF_HOME to a cache filled on one, or HF_ENDPOINT to a mirror"
        ) from failure
    if commit and not builder.hash.startswith(commit):
        raise UserError(
            f"{where}: revision {commit} is wanted, but only {builder.hash} is at hand ({unreachable}); run this "
            "rule on a machine with network, or correct revision"
        )
    names = {
        column: feature.names
        for column, feature in dataset.features.items()
        if isinstance(feature, datasets.ClassLabel)
    }
    return with_class_names(dataset.with_format("arrow")[:].replace_schema_metadata(None), names), builder.hash
