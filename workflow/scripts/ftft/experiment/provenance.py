"""Checksums of the files that data and models come from.

Light on purpose: the Snakefile imports it, and a cluster job parses the Snakefile again.
"""

import json
import os
from pathlib import Path

from ftft.core.files import is_url, resolve, sha256
from ftft.experiment.config import Model, Source
from ftft.models import folders

# Checksums of weights that are known already, for the jobs that a Snakemake starts: they inherit its environment.
_KNOWN = "FTFT_CHECKSUMS"
_LARGE = 10_000_000  # bytes of a file that is worth it


def content(source: Source, data_dir: str | Path = ".") -> list[str]:
    """Checksums of the local files that a source names; empty for a source that lies elsewhere.

    Raises:
        UserError: a ``path`` names no file.
    """
    if source.path is None or is_url(source.path):
        return []
    return [sha256(path) for path in resolve(source.path, data_dir)]


def model_content(model: Model) -> dict[str, str]:
    """Checksums of the files that a model from a path or package consists of, by name.

    Empty for a model that lies elsewhere, and for a package that is not installed here: it may be in the environment
    that Snakemake makes for the jobs, and says what is missing there.

    Raises:
        UserError: a ``path`` is no folder with a model.
    """
    if model.path is None or (model.package is not None and folders.installed(model.package) is None):
        return {}
    identity = {"hub": None, "package": model.package, "path": model.path}
    with folders.reading(folders.title(identity)):
        return {path.name: _checksum(path) for path in folders.files_of(folders.folder_of(identity))}


def _checksum(path: Path) -> str:
    """SHA-256 of a file, which jobs need not compute again while it is the same file.

    The whole content, since nothing less tells two models of one architecture apart. Gigabytes are read once for an
    experiment, not once for each job: their checksum is remembered with the size of the file, its number in the file
    system and the times of its last changes, one of which nobody can set.
    """
    found = path.stat()
    if found.st_size < _LARGE:
        return sha256(path)
    known = json.loads(os.environ.get(_KNOWN, "{}"))
    key, state = str(path.resolve()), [found.st_size, found.st_ino, found.st_mtime_ns, found.st_ctime_ns]
    if key not in known or known[key][0] != state:
        known[key] = [state, sha256(path)]
        os.environ[_KNOWN] = json.dumps(known)
    return str(known[key][1])
