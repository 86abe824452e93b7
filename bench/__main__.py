"""`python -m bench`: every figure in one run, as JSON and as a table."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench.errors import BenchError
from bench.options import Options
from bench.plan import APART, FIGURES
from bench.run import run
from bench.sizes import FULL, QUICK
from cli.demo.prompt_files import PromptFileError
from cli.errors import CliError
from models.errors import ModelError

CORPUS = Path(__file__).parent.parent.parent / "shared" / "corpus"
"""Real prompts, where there are any beside the repository."""


def main(words: Sequence[str] | None = None) -> int:
    """0: everything was measured; 1: something was not, or an output was wrong. A goal that is missed is no error."""
    args = _parser().parse_args(words)
    with tempfile.TemporaryDirectory(prefix="everdraft-bench-") as folder:
        options = Options(
            folder=Path(folder) / "data",
            out=args.out,
            only=frozenset(args.only or FIGURES.keys() - APART),
            prompts=args.prompts or (CORPUS if CORPUS.is_dir() else None),
            sizes=QUICK if args.quick else FULL,
            target=args.target,
            heads=args.heads,
            sources=args.sources,
            draft=args.draft,
            log=args.log,
            threads=args.threads,
        )
        try:
            report = run(options)
        except (BenchError, CliError, ModelError, PromptFileError) as error:
            print(f"bench: {error}", file=sys.stderr)
            return 1
    return 1 if any(figure.failures for figure in report.figures) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__, allow_abbrev=False)
    add = parser.add_argument
    add(
        "--prompts",
        type=Path,
        metavar="DIR",
        help="folder with <domain>.dev.jsonl.gz and <domain>.train.jsonl.gz (default: the corpus beside the repository "
        "where there is one, else the project's own prompts)",
    )
    add("--only", action="append", choices=FIGURES, metavar="NAME", help=f"one of {', '.join(FIGURES)}; repeatable")
    add("--quick", action="store_true", help="tiny sizes, to try the bench itself")
    add("--out", type=Path, default=Path("bench-out"), metavar="DIR", help="where the report goes (default: bench-out)")
    add("--target", default="", help="folder or hub id of the target (default: the bundled one)")
    add("--heads", default="", metavar="DIR", help="its static heads (default: the bundled ones)")
    add("--sources", default="", metavar="NAMES", help="what drafts, with commas: hydra,suffix,… (default: the server's own)")
    add("--draft", default="", metavar="DIR", help="draft model of the figure `ssd`, as an earlier run left it in its DIR/draft")
    add("--log", default="", metavar="URL", help="traffic log of the figure `log`, as kafka://host:port/topic (default: SQLite)")
    add("--threads", type=int, default=0, metavar="N", help="threads of each engine (default: all cores but one)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
