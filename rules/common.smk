# In:  config, as parsed from YAML, and the files that it is from, for the lines of mistakes.
# Out: PLAN (what the experiment asks for), LAYOUT (where everything lies), and what all rules share.
#
# A cluster job parses this again: it must stay light, use no network and print nothing.
import os
import re
import sys
from importlib.machinery import PathFinder
from pathlib import Path

if not workflow.current_basedir.is_local:
    sys.exit(
        f"{workflow.current_basedir} is read without its clone, where its library is; needed: clone the repository, and "
        "name the Snakefile of the clone"
    )

# The clone that these rules are read from; workflow.basedir would be that of a workflow with this one as a module.
CLONE = Path(workflow.current_basedir).parent
SCRIPTS = CLONE / "workflow" / "scripts"
sys.path.insert(0, str(SCRIPTS))

# Jobs look for the library in all other places first, so a copy there would run under the name of this one.
OTHERS = [place for place in sys.path if Path(place).resolve() != SCRIPTS.resolve()]
COPY = PathFinder.find_spec("ftft", OTHERS)
if COPY is not None and COPY.origin is not None:
    sys.exit(
        f"{Path(COPY.origin).parent} is a copy of the library that jobs would take for that of {SCRIPTS}: pip "
        "uninstall ftft-pipeline, or take it out of PYTHONPATH"
    )

from ftft.core.errors import UserError
from ftft.core.files import sha256
from ftft.experiment import config as settings
from ftft.experiment import config_files, outputs, provenance, stages, workload
from ftft.experiment.layout import Layout
from ftft.experiment.plan import Plan
from ftft.jobs import manifest
from ftft.jobs.codehash import LIBRARY
from ftft.jobs.environment import Environment, Runtime
from ftft.jobs.planned import Planned

try:
    config_files.check_folder(CLONE)
    PLACES = config_files.places(workflow.configfiles, workflow.config_settings.config)
    # A job on a cluster keeps to what was planned when it was sent.
    SENT = None if workflow.is_main_process else Planned.before()
    if SENT is not None:
        SENT.check_rules()
    PLANNED = SENT or Planned.now(config)
    PLAN = Plan(settings.load(PLANNED.config, PLACES))
    # In full, for a message that says where paths start.
    DATA_DIR = os.path.abspath(os.path.expanduser(PLAN.config.data_dir))
    CONTENT = {
        name: provenance.content(source, DATA_DIR)
        for name, source in PLAN.sources.items()
    }
    MODEL_CONTENT = {
        PLAN.source_of(name): provenance.model_content(PLAN.config.models[name])
        for name in dict.fromkeys(run.model for run in PLAN.runs)
    }
    # Modules share the workflow and its environment, which has the surroundings and the plan of one experiment.
    if vars(workflow).setdefault("ftft_plan", PLAN).config != PLAN.config:
        raise UserError(
            f"two experiments (task {workflow.ftft_plan.config.task} and task {PLAN.config.task}) are modules of one "
            "workflow, which would mix up their settings: run each by a workflow of its own"
        )
    # What is to rerun nothing reaches the scripts beside the parameters, which Snakemake tracks.
    Environment(
        data_dir=PLAN.config.data_dir,
        urls=PLAN.urls,
        runtime=Runtime(**settings.plain(PLAN.config.runtime)),
        cores=workflow.resource_settings.cores,
        gpus={name: model.resources.gpu for name, model in PLAN.config.models.items()},
        mem_mb={
            name: model.resources.mem_mb for name, model in PLAN.config.models.items()
        },
    ).pass_on()
except UserError as failure:
    sys.exit(str(failure))

LAYOUT = Layout.of(PLAN.config.task)

# Priority of a job that others wait for. That of main trainings is the share of the steps that they take, in percent:
# the long ones go before the short ones, so that no core is left idle beside a long last one.
FIRST = 101


def one_of(names):
    """A wildcard that stands for one of these names: a path with another one, or any without names, no rule makes."""
    return "|".join(re.escape(str(name)) for name in names) or "(?!)"


wildcard_constraints:
    dataset=one_of(CONTENT),
    source=one_of(MODEL_CONTENT),
    tokenizer=one_of({name for name, _ in PLAN.tokenized}),
    encoder=one_of(PLAN.embedded),
    model=one_of({model for model, _ in PLAN.probes}),
    reference=one_of({run.model for run in PLAN.runs if not run.recipe}),
    main=one_of({run.model for run in PLAN.runs if run.recipe}),
    subset=one_of(PLAN.subsets),
    recipe=one_of({run.recipe for run in PLAN.runs if run.recipe}),
    seed=one_of(PLAN.config.seeds),
    run=one_of(PLAN.run_at),
    checkpoint=one_of(PLAN.evaluated),


def code(script):
    """Hash of a script and the library modules it imports: Snakemake does not track modules by itself."""
    return PLANNED.hash_of(SCRIPTS / script)
