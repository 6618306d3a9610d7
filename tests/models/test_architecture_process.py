"""The process on the architecture encoding against loops over the kernel, and which columns it finds."""

import math

import numpy as np
import pytest
import torch
from made_inputs import changed, joined, shapes_of, token_inputs
from scipy.optimize import minimize

from parzc.encoding.scaling import normal_scores
from parzc.models.architecture_process import ArchitectureProcess
from parzc.ranker.stacking import out_of_fold

MEASURED = ((3, 4), (5,), (2,))
SHAPES = ((3,), (4,), (6,))
OWN = [3 + 4, 4, 6]
"""How many length scales of its own each kernel has: on places and summary, on the summary, on the states."""
CENTRES = np.array([0.0] * 3 + [1.0] * 3 + [0.0] * sum(OWN) + [-2.5])
SPREADS = np.array([2.0] * 3 + [0.5] * 3 + [0.5] * OWN[0] + [1.0] * OWN[1] + [0.5] * OWN[2] + [1.0])
JITTER = 1e-5


def rows(n, seed, shapes=SHAPES):
    generator = torch.Generator().manual_seed(seed)
    measured = [torch.randn(n, *shape, generator=generator) for shape in MEASURED]
    arch = [torch.randint(0, 3, (n, *shape), generator=generator).float() - 1 for shape in shapes]
    return token_inputs([*measured, *arch])


def process_of(n, shapes=SHAPES):
    return ArchitectureProcess(n, shapes_of((*MEASURED, *shapes)))


def fit(process, inputs, targets, seed=0):
    return process.fit(inputs, targets, inputs, seed)


def labels_of(inputs):
    """Labels that follow one state, and one column of the summary."""
    return torch.from_numpy(
        normal_scores((inputs.arch.states[:, 1] + inputs.arch.summary[:, 2].square()).double().numpy())
    )


def fitted(n=25, seed=0):
    inputs = rows(n, seed)
    return fit(process_of(n), inputs, labels_of(inputs), seed), inputs, labels_of(inputs)


def covariance(ours, theirs, parameters):
    """One pair at a time; Rasmussen and Williams, equation 5.1 with a diagonal matrix."""
    amplitudes, lengths, own = np.exp(parameters[:3]), np.exp(parameters[3:6]), np.exp(parameters[6:-1])
    ours, theirs = (
        np.concatenate([t.double().numpy() for t in inputs.arch.parts.values()], 1) for inputs in (ours, theirs)
    )
    total = np.zeros((len(ours), len(theirs)))
    parts = slice(7), slice(3, 7), slice(7, 13)
    kernels = zip(amplitudes, lengths, np.split(own, np.cumsum(OWN)[:-1]), parts, strict=True)
    for amplitude, length, scales, seen in kernels:
        for i, one in enumerate(ours):
            for j, other in enumerate(theirs):
                apart = ((one[seen] - other[seen]) / (length * scales)) ** 2
                total[i, j] += amplitude * math.exp(-apart.mean() / 2)
    return total


def noise_of(parameters):
    """The noise of a label, and what is added to it so that the covariance can be inverted."""
    return math.exp(parameters[-1]), JITTER * max(1, np.exp(parameters[:3]).sum())


def parameters_of(process):
    names = ("log_amplitude", "log_length", "log_column", "log_noise")
    return np.concatenate([getattr(process, name).numpy().ravel() for name in names])


def test_the_posterior_is_that_of_the_textbook():
    process, inputs, labels = fitted()
    parameters = parameters_of(process)
    others = joined(rows(6, 7), inputs[:3])
    noise, jitter = noise_of(parameters)
    inverse = np.linalg.inv(covariance(inputs, inputs, parameters) + (noise + jitter) * np.eye(25))
    across = covariance(others, inputs, parameters)
    mean = across @ inverse @ labels.numpy()
    variance = np.exp(parameters[:3]).sum() - np.einsum("ij,jk,ik->i", across, inverse, across) + noise
    np.testing.assert_allclose(process(others).numpy(), mean, atol=1e-9)
    np.testing.assert_allclose(process.posterior(others).label_variance.numpy(), variance, atol=1e-9)
    assert abs(mean).max() > 0.5


def test_the_parameters_maximise_the_posterior():
    process, inputs, labels = fitted(14)
    y, found = labels.numpy(), parameters_of(process)

    def objective(parameters):
        """Minus the logarithm of the posterior: equation 2.30, and log-normal priors."""
        matrix = covariance(inputs, inputs, parameters) + sum(noise_of(parameters)) * np.eye(14)
        prior = (((parameters - CENTRES) / SPREADS) ** 2).sum() / 2
        return y @ np.linalg.solve(matrix, y) / 2 + np.linalg.slogdet(matrix)[1] / 2 + prior

    gradient = [(objective(found + step) - objective(found - step)) / 2e-4 for step in 1e-4 * np.eye(len(found))]
    np.testing.assert_allclose(gradient, 0, atol=5e-3)
    best = minimize(objective, CENTRES, options={"maxiter": 20})
    assert objective(found) <= best.fun + 1e-3 < objective(CENTRES)


def test_columns_that_decide_have_short_length_scales():
    process, *_ = fitted(60)
    _, summary, states = np.split(process.log_column.numpy(), np.cumsum(OWN)[:-1])
    assert states.argmin() == 1 and states[1] < -0.3
    assert summary.argmin() == 2 and summary[2] < -0.3
    assert np.delete(summary, 2).min() > 0.1


def test_it_predicts_better_than_with_one_length_scale():
    """Few labels, many columns, of which one decides."""
    shapes = ((4,), (2,), (30,))
    inputs, others = rows(30, 0, shapes), rows(200, 1, shapes)
    labels = torch.from_numpy(normal_scores(inputs.arch.states[:, 7].double().numpy()))

    def correlation(process):
        return np.corrcoef(fit(process, inputs, labels)(others).numpy(), others.arch.states[:, 7].numpy())[0, 1]

    stiff = process_of(30, shapes)
    stiff.priors["log_column"][:, 1] = 1e-3
    assert correlation(process_of(30, shapes)) > correlation(stiff) + 0.05


@pytest.mark.parametrize("shapes", [((2,), (0,), (3,)), ((0,), (3,), (0,)), ((2,), (0,), (0,)), ((0,), (0,), (0,))])
def test_a_part_without_columns_says_nothing(shapes):
    inputs, others = rows(12, 0, shapes), rows(5, 1, shapes)
    labels = torch.linspace(-1, 1, 12, dtype=torch.float64)
    process = fit(process_of(12, shapes), inputs, labels)
    assert process(others).isfinite().all()
    assert (process(others).std() > 1e-3) == (sum(shape[0] for shape in shapes) > 0)
    torch.testing.assert_close(process(others)[:1], process(others[:1]))


def test_what_was_measured_is_not_read():
    process, *_ = fitted(12)
    others, again = rows(5, 3), rows(5, 4)
    measured = changed(others, tokens=again.tokens, scores=again.scores, blocks=again.blocks)
    assert torch.equal(process(others), process(measured))
    assert not torch.equal(process(others), process(again))


def test_leave_one_out_means_are_predictions_from_all_other_labels():
    process, _, labels = fitted(12)
    covariances = (process.factor @ process.factor.T).numpy()
    found = process.leave_one_out_mean(labels).numpy()
    for i in range(12):
        rest = [j for j in range(12) if j != i]
        expected = covariances[i, rest] @ np.linalg.solve(covariances[np.ix_(rest, rest)], labels.numpy()[rest])
        assert found[i] == pytest.approx(expected, rel=1e-8, abs=1e-10)


def test_leave_one_out_means_are_too_good_where_many_length_scales_were_fitted():
    """Labels that are noise cannot be predicted; the length scales of many columns remember them all the same."""
    shapes = ((1,), (20,), (60,))
    found = []
    for seed in range(8):
        inputs, labels = rows(30, seed, shapes), torch.randn(30, generator=torch.Generator().manual_seed(seed)).double()
        process = fit(process_of(30, shapes), inputs, labels)
        honest = out_of_fold(lambda x, t: fit(process_of(len(t), shapes), x, t), inputs, labels, 0)
        found.append([np.corrcoef(values, labels)[0, 1] for values in (process.leave_one_out_mean(labels), honest)])
    remembered, honest = np.mean(found, 0)
    assert remembered > 0.25 and honest < 0.1


def test_a_search_that_goes_astray_comes_back():
    """One label far from all others, and columns that give the labels exactly: no step may lead to a noise of 0."""
    for seed in range(20):
        rng, inputs = np.random.default_rng(seed), rows(20, seed)
        labels = (rng.random(20) < 0.1) * 10 + 1e-3 * rng.normal(size=20)
        process = process_of(20)
        fit(process, inputs, torch.from_numpy((labels - labels.mean()) / labels.std()))
        for name, prior in process.priors.items():
            far = ((getattr(process, name) - prior[..., 0]) / prior[..., 1]).abs()
            assert float(far.max()) <= 10 + 1e-9
        assert torch.isfinite(process(inputs)).all()


@pytest.mark.parametrize(("error", "power"), [(0, 0), (3e-6, 0), (3e-5, 1), (3e-4, 2), (3e-1, 5)])
def test_rounding_errors_far_from_the_optimum_do_not_end_the_search(monkeypatch, error, power):
    """As if rounding had taken `error` of the largest variance from the diagonal of a covariance of rank one."""
    process, *_ = fitted(12)
    process.log_noise = torch.tensor(-40.0).double()
    largest = process._largest().clamp_min(1)
    covariance = largest * (torch.ones(12, 12) - error * torch.eye(12)).double()
    monkeypatch.setattr(process, "_kernel", lambda _: covariance)
    factor = process._cholesky([])
    added = torch.eye(12).double() * 10**power * JITTER * largest
    torch.testing.assert_close(factor @ factor.T - covariance, added, atol=1e-9 * float(largest), rtol=0)


def test_a_covariance_that_cannot_be_mended_is_an_error(monkeypatch):
    process, *_ = fitted(12)
    compared = process._compare(process.points, process.points)
    monkeypatch.setattr(process, "_kernel", lambda _: torch.full((12, 12), math.nan).double())
    with pytest.raises(torch.linalg.LinAlgError):
        process._cholesky(compared)


def test_the_state_is_all_there_is_to_save():
    process, *_ = fitted()
    loaded = process_of(25)
    loaded.load_state_dict(process.state_dict())
    others = rows(4, 5)
    assert torch.equal(loaded(others), process(others))
    assert all(value.dtype == torch.float64 for value in process.state_dict().values())


def test_fitting_repeats_and_leaves_the_random_state_alone():
    before = torch.get_rng_state()
    one, other = fitted(12)[0], fitted(12)[0]
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))
