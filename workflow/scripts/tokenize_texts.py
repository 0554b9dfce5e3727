"""Tokenise one data set for all models that share the tokenizer."""

from pathlib import Path

from ftft.data import tokens
from ftft.jobs.job import Job, run


def main(job: Job) -> None:
    cfg: tokens.Tokenize = job.params.cfg
    inputs = (Path(job.input.data), Path(job.input.tokenizer), Path(job.input.source))
    tokens.tokenize(*inputs, Path(job.output.tokens), **cfg)


if __name__ == "__main__":
    run(main, globals().get("snakemake"))
