"""The command `everdraft`: parses, and hands over to the verb. As a module: the engine as a library (`serving.offline`)."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module
from typing import TYPE_CHECKING

from cli.calls import Call
from cli.config import load
from cli.config_flags import add_config_flags, given_config_flags
from cli.errors import HELP, CliError, Exit
from cli.verbs import VERBS, Verb
from models.errors import ModelError
from pipelines.errors import BadUrl, PipelineError

if TYPE_CHECKING:
    from serving.offline import LLM as LLM
    from serving.outputs import CompletionOutput as CompletionOutput
    from serving.outputs import RequestOutput as RequestOutput
    from serving.sampling_params import SamplingParams as SamplingParams

_LIBRARY = {
    "LLM": "serving.offline",
    "SamplingParams": "serving.sampling_params",
    "RequestOutput": "serving.outputs",
    "CompletionOutput": "serving.outputs",
}
"""Loaded when they are first asked for: the command does without torch for as long as it can."""


def __getattr__(name: str) -> object:
    if name not in _LIBRARY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LIBRARY[name]), name)


_DESCRIPTION = """\
Serves a language model with speculative decoding, learns from the traffic it serves, and swaps better
speculator weights into the running server. The text it emits is exactly the model's own."""

_PRECEDENCE = """\
Every option can be set by flag, by environment (EVERDRAFT_PORT=9000) or in one TOML file (--config FILE):
the first of these that sets it counts. `everdraft config` shows them all."""


class Parser(argparse.ArgumentParser):
    """Says of an unknown flag which one is near."""

    def parse_strictly(self, words: Sequence[str] | None) -> argparse.Namespace:
        """As `parse_args`: exits with a message for words that it does not know."""
        args, unknown = self.parse_known_args(words)
        if unknown:
            of_verb: argparse.ArgumentParser = args.parser
            known = [flag for flag in of_verb._option_string_actions if flag.startswith("--")]
            near = get_close_matches(unknown[0].partition("=")[0], known, n=1)
            of_verb.error(f"unknown: {unknown[0]}" + (f"; did you mean {near[0]}?" if near else ""))
        return args


def main(words: Sequence[str] | None = None) -> int:
    """Runs the command line; returns its exit code (`cli.errors.Exit`)."""
    args = command_line().parse_strictly(words)
    verb: Verb = args.verb
    try:
        return _run(verb, args) or Exit.OK
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except BrokenPipeError:  # whoever read our output has gone, as in `everdraft versions | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.OK
    except CliError as error:
        return _complain(verb, error, error.code)
    except (BadUrl, ModelError) as error:
        return _complain(verb, error, Exit.USAGE)
    except (PipelineError, OSError) as error:
        return _complain(verb, error, Exit.FAILED)


def _run(verb: Verb, args: argparse.Namespace) -> Exit | None:
    flags = given_config_flags(args)
    config = load(flags, os.environ, args.config)
    program = (sys.executable, os.path.abspath(__file__))
    return verb.run(Call(config, args, args.config, flags, program))


def _complain(verb: Verb, error: Exception, code: Exit) -> Exit:
    print(f"everdraft {verb.name}: {error}", file=sys.stderr)
    return code


def command_line() -> Parser:
    """The parser with all its verbs."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = Parser(
        prog="everdraft",
        description=_DESCRIPTION,
        epilog=f"{_PRECEDENCE}\n\n{HELP}",
        formatter_class=raw,
        allow_abbrev=False,
    )
    verbs = parser.add_subparsers(metavar="VERB", required=True, parser_class=Parser)
    for verb in VERBS:
        each = verbs.add_parser(
            verb.name,
            help=verb.summary,
            usage=f"everdraft {verb.name} {verb.usage}",
            description=verb.story.strip(),
            epilog="\n  ".join(("examples:", *verb.examples)) + f"\n\n{_PRECEDENCE}\n\n{HELP}",
            formatter_class=raw,
            allow_abbrev=False,
        )
        verb.arguments(each)
        add_config_flags(each, verb.sections)
        each.set_defaults(verb=verb, parser=each)
    return parser


if __name__ == "__main__":
    sys.exit(main())
