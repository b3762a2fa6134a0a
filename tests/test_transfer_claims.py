"""The statistics of a study: intervals with known answers, and the verdicts on the paper's claims that follow from them."""

import numpy as np
import pytest
from transfer.claims import CONSTANT, PAPER_COLUMNS, verdicts
from transfer.statistics import finished, mean_of, ranks_of
from transfer.studies import FULL, ablations


def test_students_interval_by_the_book() -> None:
    """Seeds with 1, 2, 3 in all pictures: mean 2, deviation 1, t of 2 degrees of freedom 4.303."""
    mean, low, high = mean_of(np.array([[1.0, 1], [2, 2], [3, 3]]))
    assert mean == 2
    assert (high - mean) == pytest.approx(4.3027 / np.sqrt(3), abs=1e-4)
    assert mean - low == pytest.approx(high - mean)


@pytest.mark.parametrize(("of_seeds", "of_pictures", "rest"), [(2, 0.1, 0.1), (0.3, 2, 1), (0.1, 0.1, 2), (1, 6, 0.5)])
def test_the_interval_covers_the_truth_at_its_stated_rate(of_seeds: float, of_pictures: float, rest: float) -> None:
    """With three seeds and 40 pictures, whichever varies most. Where both matter it is a little wider."""
    rng = np.random.default_rng(0)
    held, count = 0, 6000
    for _ in range(count):
        errors = (
            5 + rng.normal(0, of_seeds, (3, 1)) + rng.normal(0, of_pictures, (1, 40)) + rng.normal(0, rest, (3, 40))
        )
        _, low, high = mean_of(errors)
        held += low <= 5 <= high
    assert 0.935 < held / count < 0.995


def test_intervals_of_known_errors() -> None:
    """With one seed the half width is 1.96 standard errors. A difference of pairs knows nothing of what they share."""
    errors = np.random.default_rng(0).normal(3, 1, (1, 900))
    found = mean_of(errors)
    assert found.value == errors.mean()
    assert (found.high - found.low) / 2 == pytest.approx(1.9626 * errors.std(ddof=1) / 30, rel=1e-3)
    several = np.concatenate([errors + shift for shift in (-1, 0, 1)])
    np.testing.assert_allclose(tuple(mean_of((several + 0.25) - several)), 0.25, atol=1e-12)


def exact(*means: float) -> np.ndarray:
    """(A, 2, 5) errors of arms that vary neither with the seed nor with the picture."""
    return np.tile(np.array(means)[:, None, None], (1, 2, 5))


def test_ranks() -> None:
    rising = np.array([1.0, 2, 3, 4, 5, 6, 7, 9])
    assert tuple(ranks_of(exact(*rising), exact(*rising**3))) == pytest.approx((1, 1, 1))
    assert ranks_of(exact(*rising), exact(*rising[::-1])).value == pytest.approx(-1)
    # By hand: the ranks differ by 1, 1, 0, so 1 - 6 * 2 / (3 * 8).
    assert ranks_of(exact(1, 2, 3), exact(2, 1, 3)).value == pytest.approx(0.5)
    assert np.isnan(ranks_of(exact(1, 2), exact(1, 2)).value) and np.isnan(
        ranks_of(exact(1, 2, 3), exact(1, 1, 1)).value
    )


@pytest.mark.parametrize("what", ["seeds", "pictures"])
def test_the_interval_of_ranks_is_wide_where_few_seeds_or_pictures_decide_the_order(what: str) -> None:
    """One seed, or one picture, orders the arms, the others a little the other way round: without it, as in a third of the
    resamples, the order is reversed."""
    rising = np.arange(8.0)
    noise = np.tile(-0.01 * rising[:, None, None], (1, 3, 4))
    if what == "seeds":
        noise[:, 1] = rising[:, None]
    else:
        noise[:, :, 1] = rising[:, None]
    found = ranks_of(exact(*rising)[:, :1].repeat(3, 1), noise)
    assert found.value == pytest.approx(1) and found.high == pytest.approx(1)
    assert found.low == pytest.approx(-1)


def test_an_interval_of_ranks_covers_no_correlation_at_its_stated_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 19 arms whose true errors are independent in the two columns. Such a correlation deviates by 1 / sqrt(18)."""
    monkeypatch.setattr("transfer.statistics.RESAMPLES", 400)
    rng = np.random.default_rng(0)
    held, widths = 0, []
    for _ in range(60):
        one, other = (rng.normal(0, 1, (19, 1, 1)) + rng.normal(0, 0.3, (19, 3, 10)) for _ in range(2))
        _, low, high = ranks_of(one, other)
        held += low <= 0 <= high
        widths.append(high - low)
    assert held / 60 > 0.88 and np.mean(widths) < 1.1 * 2 * 1.96 / np.sqrt(18)


def test_what_was_not_measured_counts_for_none() -> None:
    """A seed that one arm lacks; a picture that one of its seeds lacks."""
    nan = np.nan
    errors = np.array([[1.0, 2, nan], [nan, nan, nan], [3, 4, 9]])
    assert finished(errors).tolist() == [[1, 2], [3, 4]]
    assert mean_of(errors) == mean_of(np.array([[1.0, 2], [3, 4]]))
    shift = np.array([[5.0, 5, 5], [5, 5, 5], [nan, nan, nan]])
    assert mean_of(errors + shift - errors).value == 5 and len(finished(errors + shift)) == 1
    assert np.isnan(mean_of(np.full((2, 3), nan)).value)


ARMS = (FULL, *ablations(), "materials_10", "layouts_10")
COLUMNS = (*PAPER_COLUMNS, "simulated", "photographs", "kuka_table")


def errors_with(seeds: int = 3, constant: float = 20.0, **more: float) -> dict[tuple[str, str], np.ndarray]:
    """Errors of 200 pictures: 2 cm of `full`, of other arms by `more` greater, and noise whose mean is 0 for each seed."""
    rng = np.random.default_rng(0)
    base = rng.normal(2, 0.3, (seeds, 200))
    found = {}
    for arm in ARMS:
        for column in COLUMNS:
            half = rng.normal(0, 0.01, (seeds, 100))
            found[arm, column] = base + more.get(arm, 0) + np.concatenate([half, -half], axis=1)
    return found | {(CONSTANT, column): np.full(base.shape, constant) for column in COLUMNS}


def words_of(errors: dict[tuple[str, str], np.ndarray]) -> list[str]:
    return [one.word for one in verdicts(errors)]


def test_claims_hold_or_not_by_their_intervals() -> None:
    """Distractors; then camera, noise and textures, each on rendered pictures and on photographs; then the ranking."""
    as_paper = errors_with(no_distractors=5, no_camera=0.6, no_noise=0.05, materials_10=3, layouts_10=1)
    assert words_of(as_paper) == ["holds"] * 9
    against = errors_with(no_distractors=-1, no_camera=-0.5, no_noise=1, materials_10=0.5, layouts_10=1)
    assert words_of(against)[:7] == ["does not hold"] * 7
    reversed_ranks = {
        key: (4 - value if key[1] == "kuka_table" and key[0] != CONSTANT else value) for key, value in against.items()
    }
    assert words_of(reversed_ranks)[7:] == ["does not hold"] * 2
    # Differences of nothing: neither of the three matters, and noise does not, as is claimed.
    assert words_of(errors_with())[:7] == ["does not hold"] * 3 + ["holds"] * 2 + ["does not hold"] * 2
    assert set(words_of({})) == {"not measured"}


def test_what_is_decisive_is_large_and_larger_than_all_else() -> None:
    assert words_of(errors_with(no_distractors=0.9))[0] == "does not hold"  # under half of 2 cm
    assert words_of(errors_with(no_distractors=1.2))[0] == "holds"
    assert words_of(errors_with(no_distractors=1.2, fixed_lights=1.5))[0] == "does not hold"
    incomplete = {key: value for key, value in errors_with(no_distractors=5).items() if key[0] != "no_clutter"}
    assert words_of(incomplete)[0] == "undecided"


def test_nothing_is_claimed_of_one_seed_or_of_models_that_have_learned_nothing() -> None:
    shifts = {"no_distractors": 5.0, "no_camera": 0.6, "materials_10": 3.0}
    assert set(words_of(errors_with(seeds=1, **shifts))) == {"undecided: one seed"}
    untrained = errors_with(constant=2.0, **shifts)
    assert set(words_of(untrained)) == {"undecided: full is no better than a constant prediction"}


def test_positions_that_never_vary_say_nothing_of_textures() -> None:
    errors = errors_with()
    one = {
        (arm.replace("_10", "_1"), column): value
        for (arm, column), value in errors.items()
        if arm in ("materials_10", "layouts_10")
    }
    others = {key: value for key, value in errors.items() if key[0] not in ("materials_10", "layouts_10")}
    assert words_of(others | one)[5] == "not measured"
    assert verdicts(errors | one)[5].figure == "materials_N - layouts_N, mean of N=10, on photographs, cm"


def test_a_seed_that_some_arms_lack_costs_the_others_nothing() -> None:
    """Of three seeds the third has `full` and no_distractors alone, as where a study was interrupted."""
    errors = errors_with(no_distractors=5, no_camera=0.6)
    whole = {one.claim: one for one in verdicts(errors)}
    for (arm, _), values in errors.items():
        if arm not in (FULL, "no_distractors", CONSTANT):
            values[2] = np.nan
    left = {one.claim: one for one in verdicts(errors)}
    camera, distractors = "randomizing the camera helps", "distractors in training are decisive"
    assert left[distractors].interval == whole[distractors].interval
    assert left[camera].interval != whole[camera].interval and left[camera].word == "holds"
    for (arm, _), values in errors.items():
        if arm == "no_camera":
            values[1] = np.nan
    assert {one.word for one in verdicts(errors) if one.claim == camera} == {"undecided: one seed"}
