"""The search for settings that reach a goal."""

from importlib.util import find_spec

import pytest

import uncollapse as uc
from tests.conftest import TINY
from uncollapse.cli import main
from uncollapse.cli.tune import judged
from uncollapse.errors import UserError
from uncollapse.runs.bench import Result
from uncollapse.runs.compose import load_named
from uncollapse.runs.executors import Executor
from uncollapse.runs.tune import Dimension, Goal, open_study, read_dimension, read_goal, tune

GOAL = Goal("nll_iw", 1, (("mi", 1, 4.0),))
SEARCH = [read_dimension("remedy=bn,kl-target"), read_dimension("optim.lr=0.001..0.1:log")]


class Formula(Executor):
    """Trains nothing: nll = (lr - 0.05)^2 and mi = 80 lr, so that mi >= 4 begins at the best rate of learning; vanilla is dead."""

    def __init__(self, most=1000):
        self.most, self.trials, self.unfinished = most, [], None

    def run(self, trials, callbacks):
        for trial in trials:
            if len(self.trials) == self.most:
                self.unfinished = trial
                raise KeyboardInterrupt
            self.trials.append(trial)
            lr, alive = trial.settings["optim"]["lr"], trial.remedies != ("vanilla",)
            numbers = {"nll_iw": (lr - 0.04) ** 2 * 1e4, "mi": 80 * lr if alive else 0.0}
            yield trial, {**numbers, "state": "alive" if alive else "collapsed"}


needs_optuna = pytest.mark.skipif(not find_spec("optuna"), reason="optuna is not here")


def search(out, executor, trials=40, space=SEARCH):
    return tune(out, "grammar", GOAL, space, trials=trials, settings=TINY, callbacks=lambda name: [], executor=executor)


def test_goals_and_spaces_are_read():
    assert read_goal("min nll_iw subject to mi >= 4") == GOAL
    assert read_goal("max mi subject to rate<=20 and nll_elbo <= 100") == Goal(
        "mi", -1, (("rate", -1, 20.0), ("nll_elbo", -1, 100.0))
    )
    assert Goal("mi", -1).value({"mi": 3.0}) == -3.0
    assert GOAL.violations({"mi": 3.0}) == [1.0] and GOAL.met({"mi": 4.0}) and not GOAL.met({"mi": 3.9})
    assert read_dimension("decoder.hidden=64,128") == Dimension("decoder.hidden", (64, 128))
    assert read_dimension("optim.lr=1e-4..1e-2:log") == Dimension("optim.lr", (), 1e-4, 1e-2, True)
    assert read_dimension("optim.lr=1e-3,1e-2").choices == (1e-3, 1e-2)
    assert read_dimension("objective.weight=linear(0, 1, 10 epochs),0.5").choices == ("linear(0, 1, 10 epochs)", "0.5")
    assert read_dimension("remedy=bn,kl-target+annealed").choices == ("bn", "kl-target+annealed")


@pytest.mark.parametrize(
    ("read", "text", "words"),
    [
        (read_goal, "nll_iw", "expected such as"),
        (read_goal, "min nll_iw subject to mi", "--goal: expected a condition"),
        (read_dimension, "optim.lr", "expected KEY="),
        (read_dimension, "optim.lr=0.1..0.01", "expected KEY="),
        (read_dimension, "optim.lr=0..0.1:log", "from above 0"),
        (read_dimension, "optim.lr=a..b", "expected KEY="),
        (read_dimension, "model.latent=1..inf", "expected KEY="),
        (read_dimension, "model.latent=1..nan", "expected KEY="),
        (read_dimension, "model.latent=[", "model.latent: expected an integer"),
        (read_dimension, "optim.rl=1,2", "optim.lr"),
        (read_dimension, "decoder.hidden=-4..8", "decoder.hidden"),
    ],
)
def test_a_mistake_is_one_line(read, text, words):
    with pytest.raises(UserError, match=words):
        read(text)


@needs_optuna
def test_the_search_ends_at_the_best_value_that_the_conditions_allow(tmp_path):
    found = search(tmp_path, Formula())
    # without the condition 0.04 is best; mi >= 4 needs 0.05
    assert found.met and found.values["optim.lr"] == pytest.approx(0.05, rel=0.1) and found.tried == (40, 0)
    remedy = load_named("remedies", str(found.file))
    assert remedy.settings["optim"]["lr"] == found.values["optim.lr"]
    for section, values in load_named("remedies", found.values["remedy"]).settings.items():
        assert remedy.settings[section].items() >= values.items()


@needs_optuna
def test_an_interrupted_search_goes_on_with_the_trial_that_was_running(tmp_path):
    stopped = Formula(most=5)
    with pytest.raises(KeyboardInterrupt):
        search(tmp_path, stopped, trials=8)
    rest = Formula()
    found = search(tmp_path, rest, trials=8)
    assert found.tried[0] == 8 and len(stopped.trials) == 5 and len(rest.trials) == 3
    assert rest.trials[0].settings == stopped.unfinished.settings
    names = [trial.path.name for trial in stopped.trials + rest.trials]
    assert names[5] == "trial-0005-1000" and len(set(names)) == 8  # its folder, where it goes on
    again = Formula()
    assert search(tmp_path, again, trials=8) == found and not again.trials


@needs_optuna
def test_a_trial_that_was_killed_before_it_had_a_folder_goes_on(tmp_path):
    open_study(tmp_path / "study.log").ask()
    (again,) = [trial for trial in open_study(tmp_path / "study.log").trials if trial.state.name == "WAITING"]
    assert "run" not in again.user_attrs
    assert search(tmp_path, Formula(), trials=3).tried[0] == 3


@needs_optuna
def test_numbers_are_means_over_the_seeds_of_a_trial(tmp_path):
    class Noisy(Formula):
        def run(self, trials, callbacks):
            for trial, numbers in super().run(trials, callbacks):
                yield trial, {**numbers, "mi": numbers["mi"] + (2.0 if trial.seed == 1000 else -2.0)}

    lucky = search(tmp_path / "one", Noisy())
    assert lucky.values["optim.lr"] == pytest.approx(0.04, rel=0.1)  # mi >= 4 by luck alone
    options = {"trials": 40, "settings": TINY, "callbacks": lambda name: [], "executor": Noisy(), "seeds": 2}
    assert tune(tmp_path / "two", "grammar", GOAL, SEARCH, **options).values["optim.lr"] == pytest.approx(0.05, rel=0.1)


@needs_optuna
def test_collapsed_trials_are_pruned_and_all_of_them_is_one_line(tmp_path):
    space = [read_dimension("remedy=vanilla"), SEARCH[1]]
    with pytest.raises(UserError, match="every trial collapsed"):
        search(tmp_path, Formula(), trials=3, space=space)
    assert {trial.state.name for trial in open_study(tmp_path / "study.log").trials} == {"PRUNED"}


def test_the_verdict_counts_two_standard_errors():
    def row(name, nll, mi):
        return Result(name, {"nll_iw": nll, "mi": mi}, ("alive",) * len(nll))

    ours, alive = row("found", [20.0, 20.2], [4.5, 4.6]), [4.2, 4.3]
    said = judged(
        GOAL, [ours, row("a", [21.0, 21.2], alive), row("b", [20.1, 20.4], alive), row("c", [18.0, 18.1], [1, 1])]
    )
    assert "better than a;" in said and "as good as b;" in said and "not met by c" in said
    assert "worse than d" in judged(GOAL, [ours, row("d", [19.0, 19.1], alive)])
    assert "misses the conditions" in judged(GOAL, [row("dull", [1.0], [3.9]), ours])


@needs_optuna
def test_the_command_searches_measures_with_other_seeds_and_judges(tmp_path, capsys):
    flags = "--data.sentences 100 --encoder.hidden 8 --decoder.hidden 8 --encoder.emb 8 --decoder.emb 8 --train.epochs 1 --train.device cpu --iw-samples 2"
    command = ["tune", "--recipe", "grammar", *flags.split(), "--out", str(tmp_path), "--trials", "2", "--seeds", "1"]
    command += ["--goal", "min nll_elbo subject to rate >= 0", "--search", "remedy=lm", "--against", "lm"]
    assert main([*command, "--search", "optim.lr=0.02,0.05"]) == 0
    out = capsys.readouterr().out
    assert "found: remedy lm, optim.lr 0.0" in out and "verdict: " in out and "use it: uncollapse train" in out
    run = uc.load(tmp_path / "measured" / "lm-1", "cpu")
    assert run.config.train.seed == 1  # the search had another
