"""Versions of a campaign's predictor: what judges them, when they are published, and that they can be kept."""

from __future__ import annotations

import numpy as np
import pytest

from models.errors import DataError
from models.observation import Objective
from models.predictors.learned import PropertyPredictor
from models.predictors.left_out import FOLDS, folds
from models.predictors.version import Version, ranked_probability_score, retrain
from models.retraining import Retraining
from tests.models.predictors.small_models import NAME, seen


def predictor(model: str = "Linear", **more) -> PropertyPredictor:
    name = model if model.islower() else f"{NAME}:{model}"
    return PropertyPredictor(objectives=[Objective(name="y")], model=name, **more)


def test_a_result_keeps_its_fold_for_ever_and_shares_it_with_its_repetitions():
    candidates = [o.candidate for o in seen(40)]
    whole = folds([*candidates, *candidates], 3)
    assert (folds(candidates[:17], 3) == whole[:17]).all()
    assert (whole[:40] == whole[40:]).all()
    assert np.bincount(whole[:39], minlength=FOLDS).tolist() == [13] * FOLDS
    assert (folds(candidates, 4) != whole[:40]).any()


def test_what_judges_a_result_has_never_learned_from_it_in_any_version():
    """The parrot repeats whatever it was taught: told that it does not know says that nobody taught it."""
    old, new = predictor("Parrot"), predictor("Parrot")
    old.fit(seen(12))
    new.go_on(seen(20), old)
    candidates = [o.candidate for o in seen(20)]
    for version in (old, new):
        mean, _ = version.learned["y"].unseen(candidates, version.seed)
        assert mean.tolist() == [99.0] * 20
    ensemble = new.learned["y"].ensemble
    assert ensemble is not None
    inputs = ensemble.members[0].prepare(_materials(candidates))
    assert (ensemble.predict_inputs(inputs)[0] < 99.0).all(), "and yet two of three know each"


def _materials(candidates):
    from models.blocks.materials import Materials

    return Materials.from_candidates(candidates)


def test_a_version_that_learns_more_is_published_and_one_that_is_worse_is_not():
    serving = predictor("Fickle")
    assert retrain(serving, None, seen(12), Retraining(), cold=True).published
    better = predictor("Fickle")
    assert retrain(better, serving, seen(15), Retraining(tolerance=0.3), cold=True).published
    before = serving.keep_version()
    worse = predictor("Fickle")
    verdict = retrain(worse, serving, seen(18), Retraining(), cold=True)
    assert not verdict.published
    new, old = verdict.scores["y"]
    assert new > 2 * old
    assert verdict.judged == 18
    assert "times the error of the one before on 18 held-out results" in verdict.reason
    after = serving.keep_version()
    assert all((before.arrays[k] == after.arrays[k]).all() for k in before.arrays if not k.endswith("scores"))


def test_the_intervals_of_a_version_that_goes_on_serving_follow_the_results():
    serving = predictor()
    retrain(serving, None, seen(10, shift=3.0), Retraining(), cold=True)
    narrow = serving.learned["y"].factor
    retrain(predictor(), serving, seen(40, shift=3.0), Retraining(), cold=True)
    assert serving.learned["y"].factor > 2 * narrow
    assert serving.learned["y"].noted == 40
    assert serving.taught == 10


def test_a_warm_start_goes_on_from_the_weights_that_serve_and_a_cold_one_does_not():
    networks = [predictor("magnetisation", epochs=5) for _ in range(4)]
    networks[0].fit(seen(12))
    networks[1].go_on(seen(14), networks[0])
    networks[2].go_on(seen(14), networks[0])
    networks[3].fit(seen(14))
    assert networks[1].version() == networks[2].version()
    first, warm, cold = (_weights(network) for network in (networks[0], networks[1], networks[3]))
    assert np.abs(warm - first).mean() < 0.5 * np.abs(cold - first).mean()


def _weights(network: PropertyPredictor) -> np.ndarray:
    arrays = network.keep_version().arrays
    return np.concatenate(
        [a.ravel() for name, a in sorted(arrays.items()) if name.startswith("0/0/") and ".trunk." in name]
    )


def test_a_version_that_was_kept_says_the_same(tmp_path):
    taught = predictor()
    taught.fit(seen(20))
    version = taught.keep_version()
    version.save(tmp_path / "v.npz", {"note": "n"})
    read, header = Version.load(tmp_path / "v.npz")
    assert read.hash == version.hash == taught.version()
    assert header["note"] == "n"
    again = predictor()
    again.take_version(read)
    candidates = [o.candidate for o in seen(30)]
    assert again.predict(candidates) == taught.predict(candidates)
    assert again.taught == 20


def test_a_damaged_version_is_not_believed_and_leaves_the_one_before(tmp_path):
    taught = predictor()
    taught.fit(seen(20))
    version = taught.keep_version()
    version.save(tmp_path / "v.npz", {})
    raw = bytearray((tmp_path / "v.npz").read_bytes())
    raw[len(raw) // 2] ^= 1
    (tmp_path / "v.npz").write_bytes(raw)
    with pytest.raises(DataError):
        Version.load(tmp_path / "v.npz")
    with pytest.raises(DataError, match="damaged"):
        taught.take_version(Version({}, version.header))
    assert taught.version() == version.hash
    with pytest.raises(DataError, match="not of supercon"):
        predictor("supercon").take_version(version)


def test_the_score_is_the_error_of_one_who_is_certain_and_rewards_honest_doubt():
    truth, wrong = np.zeros(1), np.ones(1)
    assert ranked_probability_score(truth, wrong, np.full(1, 1e-9))[0] == pytest.approx(1.0)
    doubtful, certain = (ranked_probability_score(truth, wrong, np.full(1, s))[0] for s in (1.0, 0.1))
    assert doubtful < certain
    assert ranked_probability_score(truth, truth, np.full(1, 0.1)) < ranked_probability_score(truth, truth, wrong)


def test_a_screen_says_how_much_of_the_good_it_would_have_dropped():
    class Salts:
        feature_names = ("none",)
        features = np.zeros((40, 1))

        def __len__(self):
            return 40

        def __getitem__(self, index):
            return seen(40)[index].candidate

    mask, detail = predictor(keep=5).screen(Salts(), seen(30))  # type: ignore[arg-type]
    assert mask is not None
    assert 5 <= mask.sum() < 40
    assert detail["judged"] == 1
    assert 0.0 <= detail["false_negative_rate"] <= 1.0
