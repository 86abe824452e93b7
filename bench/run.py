"""A run of the bench: the figures in their order, and the report, written anew after each."""

from __future__ import annotations

import time
from contextlib import closing

import msgspec

from bench.baselines import lookahead
from bench.context import Bench
from bench.equality import Judge
from bench.errors import BenchError, NotInstalled
from bench.groups import task_groups
from bench.house import House
from bench.machine import describe
from bench.markdown import render
from bench.options import Options
from bench.plan import FIGURES, STAGES, goals
from bench.results import Measure, Report, Trainer, gather
from bench.stack import Stack
from bench.supply import from_folder, written_here
from bench.versions import Versions
from cli.errors import CliError


def run(options: Options) -> Report:
    """Measures what is wanted, shows progress, leaves `report.json` and `report.md` in `options.out`.

    Raises BenchError, CliError, ModelError, PromptFileError for what it cannot start with; a figure that cannot be measured says
    so in the report.
    """
    return _Run(options).everything()


class _Run:
    def __init__(self, options: Options) -> None:
        self._options = options
        self._started = time.monotonic()
        self._started_at = time.strftime("%Y-%m-%d %H:%M:%S")
        self._about = describe()
        self._measures: list[Measure] = []
        self._failures: list[tuple[str, str]] = []
        self._notes: list[tuple[str, str]] = []
        options.out.mkdir(parents=True, exist_ok=True)

    def everything(self) -> Report:
        with closing(Stack(self._options.folder, self._options.flags, self._options.out)) as stack:
            bench = self._bench(stack)
            with closing(bench.house):
                self._stages(bench, stack)
        self._say(f"{self._options.out / 'report.md'}, {self._options.out / 'report.json'}")
        return self._report(bench)

    def _stages(self, bench: Bench, stack: Stack) -> None:
        for trainer, names in STAGES:
            if trainer == "off":
                stack.stop_trainer()
            for name in names:
                if name in self._options.only:
                    self._figure(bench, name, trainer)
                    self._write(bench)

    def _bench(self, stack: Stack) -> Bench:
        house = House(stack.configuration.engine)
        loaded, prompts = house.loaded, self._options.prompts
        tokenizer, context = loaded.tokenizer, loaded.config.max_positions - house.settings.max_tree
        stack.serves(loaded.fingerprint, tokenizer.fingerprint)
        supply = written_here(tokenizer, context) if prompts is None else from_folder(prompts, tokenizer, context)
        self._about |= {
            "threads of each engine": str(house.num_threads),
            "target": f"{loaded.name}, fingerprint {loaded.fingerprint}",
            "what drafts": ", ".join(house.settings.sources),
            "prompts": supply.about,
        }
        return Bench(
            house,
            supply,
            task_groups(prompts, tokenizer, loaded.config.max_positions - max(house.settings.max_tree, lookahead.NODES)),
            self._options.sizes,
            Judge(loaded.decoder),
            stack,
            Versions(stack.store, house.settings, loaded),
            self._say,
            self._options.out,
            draft=self._options.draft,
            log=self._options.log,
        )

    def _figure(self, bench: Bench, name: str, trainer: Trainer) -> None:
        entry = FIGURES[name]
        self._say(f"{name}, trainer {trainer}: {entry.goals[0].title}")
        try:
            for measure in entry.measure(bench, trainer):
                self._measures.append(measure)
                self._say(f"  {_line(measure)}")
        except NotInstalled as error:
            self._notes.append((entry.goals[0].name, str(error)))
            self._say(f"  not measured: {error}")
        except (BenchError, CliError) as error:
            self._failures.append((entry.goals[0].name, f"trainer {trainer}: {error}"))
            self._say(f"  not measured: {error}")

    def _write(self, bench: Bench) -> None:
        report = self._report(bench)
        (self._options.out / "report.json").write_bytes(msgspec.json.format(msgspec.json.encode(report)))
        (self._options.out / "report.md").write_text(render(report), encoding="utf-8")

    def _report(self, bench: Bench) -> Report:
        return Report(
            started_at=self._started_at,
            seconds=time.monotonic() - self._started,
            full=self._options.full,
            about={**self._about, "adaptation": bench.adaptation},
            figures=gather(goals(), self._measures, self._failures, self._notes),
            num_near_ties=len(bench.judge.near_ties),
        )

    def _say(self, text: str) -> None:
        print(f"[{(time.monotonic() - self._started) / 60:5.1f} min] {text}", flush=True)


def _line(measure: Measure) -> str:
    ratio = measure.ratio
    temperature = "" if measure.temperature is None else f", T={measure.temperature:g}"
    loops = "" if measure.loops else ", without loops"
    case = f"{measure.domain}{temperature}, {measure.concurrency} at once{loops}"
    return f"{measure.what} ({case}): {ratio.value:.3g} ({ratio.lower:.3g} to {ratio.upper:.3g}) {measure.detail}"
