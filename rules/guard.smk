# In:  the rules that were read before this file, and the manifests that their jobs left
# Out: nothing; a result that Snakemake has no record of, and that was made from something else than it would be made
#      from now, ends the plan with one line
#
# Snakemake trusts a file without a record, such as a copy from another clone. With records, nothing is read here.
from functools import cache

from snakemake.io import IOFile
from snakemake.rules import Wildcards


class Guard:
    """Looks at the results of each job that Snakemake has no record of when the jobs are planned."""

    def __init__(self, stages):
        self.stages = {stage.name: stage for stage in stages if stage.output}
        self.inputs = {name: list(stage.input) for name, stage in self.stages.items()}
        self.runs_again = cache(self.runs_again)  # several follow from the same

    def input_of(self, name):
        """An input function that adds no input."""

        def check(wildcards):
            outputs = self.outputs(name, wildcards)
            if any(os.path.exists(path) and not recorded(path) for path in outputs):
                try:
                    self.runs_again(name, tuple(sorted(wildcards.items())))
                except UserError as failure:
                    sys.exit(str(failure))
            return []

        return check

    def outputs(self, name, wildcards):
        return [path.apply_wildcards(wildcards) for path in self.stages[name].output]

    def runs_again(self, name, named):
        """Whether a job runs in any case; where it does not, its results have to be what they would be now.

        What it follows from is looked at first, so that the first difference is the cause of others.
        """
        stage, wildcards = self.stages[name], Wildcards(fromdict=dict(named))
        outputs = self.outputs(name, wildcards)
        if asked_for(name, outputs) or incomplete(outputs):
            return True
        found = [
            item(wildcards) if callable(item) else item.apply_wildcards(wildcards)
            for item in self.inputs[name]
        ]
        inputs = [
            path
            for each in found
            for path in ([each] if isinstance(each, str) else each)
        ]
        jobs = filter(None, map(self.job_of, dict.fromkeys(inputs)))
        if any([self.runs_again(*job) for job in jobs]):
            return True
        if all(map(recorded, outputs)):
            return False
        if changed_since(inputs, outputs):
            return True
        log = stage.log[0].apply_wildcards(wildcards)
        if not any(map(os.path.exists, [*outputs, manifest.path_of(log)])):
            return False  # never made: what follows from it says whether it did before
        cfg = stage.params.cfg
        cfg = cfg(wildcards) if callable(cfg) else cfg
        manifest.check(log, name, cfg, stage.params.code, inputs, outputs)
        return False

    def job_of(self, path):
        """The job that makes a file: name of its rule, and wildcards; None where a rule of another workflow does."""
        path = IOFile(path)
        for stage in self.stages.values():
            if stage.is_producer(path):
                return stage.name, tuple(sorted(stage.get_wildcards(path).items()))
        return None


def recorded(path):
    return workflow.persistence.metadata(path) is not None


def incomplete(outputs):
    """Whether a job was making them when it was killed."""
    known = workflow.persistence
    return bool(known._filter_incomplete_keys(map(known._get_key, outputs)))


def asked_for(name, outputs):
    """Whether the command line says that a job is to run, whatever is there."""
    asked = workflow.dag_settings
    named = {*asked.forcerun, *(asked.targets if asked.forcetargets else ())}
    return asked.forceall or bool({name, *outputs} & set(map(str, named)))


def changed_since(inputs, outputs):
    """Whether an input is newer than an output, as Snakemake tells it."""
    times = [
        [os.path.getmtime(path) for path in map(dated, paths) if os.path.exists(path)]
        for paths in (inputs, outputs)
    ]
    return bool(all(times)) and max(times[0]) > min(times[1])


def dated(path):
    """The file that has the time of a result: of a folder, the one that Snakemake leaves in it."""
    return f"{path}/.snakemake_timestamp" if os.path.isdir(path) else path


# A job on a cluster reads the rules again, long after its results were looked at.
if workflow.is_main_process:
    # A workflow that has this one as a module has rules of its own.
    guard = Guard(
        stage
        for stage in workflow.rules
        if Path(stage.snakefile).is_relative_to(CLONE / "rules")
    )
    for name, stage in guard.stages.items():
        stage.set_input(guard.input_of(name))
