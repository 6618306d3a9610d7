"""The Gaussian process against slow loops over the kernel, the equations of the textbook, and greedy refits."""

import math

import numpy as np
import pytest
import torch
from made_inputs import changed, joined, random_inputs, shapes_of, token_inputs
from scipy.optimize import minimize

from parzc.encoding.scaling import normal_scores
from parzc.models.gaussian_process import GaussianProcess, GaussianProcessConfig
from parzc.ranker.acquisition import variance_reduction

SHAPES = ((3, 4), (5,), (2,))
WITH_ARCH = (*SHAPES, (5,), (4,), (6,))
CENTRES = np.array([-math.log(5)] * 4 + [0.3] * 2 + [-2.5])
SPREADS = np.array([0.7] * 6 + [1.0])
WITH_ARCH_CENTRES = np.array([-math.log(5)] * 4 + [-4.0] * 3 + [0.3] * 5 + [-2.5])
WITH_ARCH_SPREADS = np.array([0.7] * 4 + [2.0] * 3 + [0.7] * 5 + [1.0])
JITTER = 1e-5


def rows(n, seed, shapes=SHAPES):
    return random_inputs(n, seed, shapes)


def labels_of(inputs, seed=0):
    """Labels that follow tokens, and scores if there are any, with noise."""
    noise = 0.3 * np.random.default_rng(seed).normal(size=len(inputs))
    values = inputs.tokens[:, 0, 0].numpy() + inputs.scores.double().sum(1).numpy() / 2 + noise
    return torch.from_numpy(normal_scores(values))


def fitted(n=20, shapes=SHAPES, seed=0):
    inputs, pool = rows(n, seed, shapes), rows(30, seed + 100, shapes)
    labels = labels_of(inputs, seed)
    return GaussianProcess(n, shapes_of(shapes)).fit(inputs, labels, pool, seed), inputs, labels, pool


class Slow:
    """The covariances of two sets of networks, one pair at a time."""

    def __init__(self, pool):
        scores = pool.scores.double().numpy()
        self.origin = scores.mean(0)
        self.component = self.origin
        if len(self.origin):
            values, vectors = np.linalg.eigh(np.cov(scores.T, bias=True).reshape(len(self.origin), -1))
            self.component = vectors[:, -1] / math.sqrt(values[-1])

    def parts(self, ours, theirs):
        """Return products and distances, `(4, n, m)`, or `(7, n, m)` with architecture encodings."""
        out = np.zeros((len(ours.parts) + 1, len(ours), len(theirs)))
        ours, theirs = ([t.double().flatten(1).numpy() for t in inputs.parts.values()] for inputs in (ours, theirs))
        for i, (tokens, scores, blocks, *arch) in enumerate(zip(*ours, strict=True)):
            for j, (other_tokens, other_scores, other_blocks, *others) in enumerate(zip(*theirs, strict=True)):
                one, other = scores - self.origin, other_scores - self.origin
                both = np.append(scores - other_scores, blocks - other_blocks)
                out[0, i, j] = (one @ self.component) * (other @ self.component)
                out[1, i, j] = np.mean(one * other) if len(one) else 0
                out[2, i, j] = math.sqrt(np.mean(both**2)) if len(both) else 0
                out[3, i, j] = math.sqrt(np.mean((tokens - other_tokens) ** 2))
                if arch:
                    places, *apart = [(one - other) ** 2 for one, other in zip(arch, others, strict=True)]
                    for part, squares in enumerate((np.append(places, apart[0]), *apart), 4):
                        out[part, i, j] = math.sqrt(np.mean(squares)) if len(squares) else 0
        return out


def covariance(parts, parameters):
    """Parameters are logarithms; Rasmussen and Williams, equations 4.17, and 4.9 for architecture encodings."""
    amplitudes, lengths = np.exp(parameters[: len(parts)]), np.exp(parameters[len(parts) : -1])
    total = amplitudes[0] * parts[0] + amplitudes[1] * parts[1]
    for amplitude, length, distance in zip(amplitudes[2:4], lengths[:2], parts[2:4], strict=True):
        total = total + amplitude * (1 + math.sqrt(3) * distance / length) * np.exp(-math.sqrt(3) * distance / length)
    for amplitude, length, distance in zip(amplitudes[4:], lengths[2:], parts[4:], strict=True):
        total = total + amplitude * np.exp(-(distance**2) / (2 * length**2))
    return total


def noise_of(parameters):
    """The noise of a label, and what is added to it so that the covariance can be inverted."""
    of_arch = parameters[4:7] if len(parameters) > 7 else np.array([])
    return math.exp(parameters[-1]), JITTER * max(1, np.exp(of_arch).sum())


def parameters_of(process):
    return np.concatenate([t.numpy().ravel() for t in (process.log_amplitude, process.log_length, process.log_noise)])


def variance(process, inputs):
    """The variance of a label."""
    return process.posterior(inputs).label_variance


def posterior(process, inputs, labels, pool, others):
    """Mean and variance by equations 2.25 and 2.26, with the noise of a label in the variance."""
    slow, parameters = Slow(pool), parameters_of(process)
    noise, jitter = noise_of(parameters)
    inverse = np.linalg.inv(covariance(slow.parts(inputs, inputs), parameters) + (noise + jitter) * np.eye(len(labels)))
    across = covariance(slow.parts(others, inputs), parameters)
    own = np.array([
        covariance(slow.parts(*[others[i : i + 1]] * 2), parameters)[0, 0] for i in range(len(others))
    ])  # fmt: skip
    return across @ inverse @ labels.numpy(), own - np.einsum("ij,jk,ik->i", across, inverse, across) + noise


WIDTHS = [SHAPES, ((3, 4), (5,), (0,)), ((3, 4), (0,), (2,)), ((3, 4), (0,), (0,)), ((1, 1), (1,), (1,))]
WIDTHS += [WITH_ARCH, (*SHAPES, (0,), (3,), (2,)), (*SHAPES, (3,), (0,), (2,)), (*SHAPES, (2,), (3,), (0,))]
WIDTHS += [(*SHAPES, (3,), (0,), (0,)), (*SHAPES, (0,), (0,), (0,))]


@pytest.mark.parametrize("shapes", WIDTHS)
def test_the_posterior_is_that_of_the_textbook(shapes):
    process, inputs, labels, pool = fitted(shapes=shapes)
    others = joined(rows(6, 7, shapes), inputs[:3])
    mean, expected = posterior(process, inputs, labels, pool, others)
    np.testing.assert_allclose(process(others).numpy(), mean, atol=1e-9)
    np.testing.assert_allclose(variance(process, others).numpy(), expected, atol=1e-9)
    assert abs(mean).max() > 0.1


def test_large_amplitudes_of_architecture_encodings_raise_what_is_added_to_the_diagonal():
    inputs, pool, others = rows(9, 0, WITH_ARCH), rows(30, 1, WITH_ARCH), rows(4, 2, WITH_ARCH)
    labels, process = labels_of(inputs), GaussianProcess(9, shapes_of(WITH_ARCH))
    process._fit_kernel = lambda *_: None
    process.log_amplitude[:] = torch.tensor([0.0, 0.0, 9.0, 0.0, 8.0, 9.0, 7.0])
    process.log_noise.fill_(-9.0)
    process.fit(inputs, labels, pool, 0)
    mean, expected = posterior(process, inputs, labels, pool, others)
    assert noise_of(parameters_of(process))[1] > 0.1
    np.testing.assert_allclose(process(others).numpy(), mean, atol=1e-9)
    np.testing.assert_allclose(variance(process, others).numpy(), expected, atol=1e-6)


def objective_of(inputs, labels, pool, centres=CENTRES, spreads=SPREADS):
    parts, labels = Slow(pool).parts(inputs, inputs), labels.numpy()

    def objective(parameters):
        """Minus the logarithm of the posterior: equation 2.30, and log-normal priors."""
        matrix = covariance(parts, parameters) + sum(noise_of(parameters)) * np.eye(len(labels))
        prior = (((parameters - centres) / spreads) ** 2).sum() / 2
        return labels @ np.linalg.solve(matrix, labels) / 2 + np.linalg.slogdet(matrix)[1] / 2 + prior

    return objective


@pytest.mark.parametrize("seed", range(3))
def test_the_parameters_maximise_the_posterior(seed):
    process, inputs, labels, pool = fitted(seed=seed)
    objective, found = objective_of(inputs, labels, pool), parameters_of(process)
    steps = 1e-4 * np.eye(7)
    gradient = [(objective(found + step) - objective(found - step)) / 2e-4 for step in steps]
    np.testing.assert_allclose(gradient, 0, atol=2e-3)
    rng = np.random.default_rng(seed)
    assert all(objective(found + 0.1 * rng.normal(size=7)) > objective(found) for _ in range(50))
    assert objective(found) <= minimize(objective, CENTRES).fun + 1e-5 < objective(CENTRES)


@pytest.mark.parametrize("seed", range(2))
def test_the_parameters_of_architecture_encodings_maximise_the_posterior_too(seed):
    inputs, pool = rows(25, seed, WITH_ARCH), rows(30, seed + 100, WITH_ARCH)
    labels = torch.from_numpy(normal_scores((inputs.arch.summary.sum(1) + inputs.scores[:, 0]).double().numpy()))
    process = GaussianProcess(25, shapes_of(WITH_ARCH)).fit(inputs, labels, pool, seed)
    objective = objective_of(inputs, labels, pool, WITH_ARCH_CENTRES, WITH_ARCH_SPREADS)
    found = parameters_of(process)
    gradient = [(objective(found + step) - objective(found - step)) / 2e-4 for step in 1e-4 * np.eye(13)]
    np.testing.assert_allclose(gradient, 0, atol=5e-3)
    assert objective(found) <= minimize(objective, WITH_ARCH_CENTRES).fun + 1e-4 < objective(WITH_ARCH_CENTRES)
    # The labels follow what one kernel sees alone: its amplitude has left the prior, which starts it near 0.
    assert found[5] > WITH_ARCH_CENTRES[5] + 2 and found[5] > max(found[4], found[6])


def test_a_search_that_goes_astray_comes_back():
    """Labels that the states give exactly: here the search once took a step to an amplitude and a noise of 0, which
    have no Cholesky factor."""
    generator = torch.Generator().manual_seed(286)
    inputs = [torch.randn(14, *shape, generator=generator) for shape in ((2, 2), (2,), (1,))]
    inputs += [torch.randint(0, 3, (14, columns), generator=generator).float() for columns in (1, 2, 3)]
    inputs = token_inputs(inputs)
    labels = inputs.arch.states.sum(1).double().numpy() ** 2
    targets = torch.from_numpy((labels - labels.mean()) / labels.std())
    process = GaussianProcess(14, inputs.shapes).fit(inputs, targets, inputs, 0)
    for name, prior in process.priors.items():
        far = ((getattr(process, name) - prior[..., 0]) / prior[..., 1]).abs()
        assert float(far.max()) <= 10 + 1e-9
    assert torch.isfinite(process(inputs)).all()
    assert (process(inputs) - targets).square().mean() < 0.9


@pytest.mark.parametrize("shapes", [SHAPES, WITH_ARCH])
def test_leave_one_out_means_are_predictions_from_all_other_labels(shapes):
    process, _, labels, _ = fitted(12, shapes)
    covariance = (process.factor @ process.factor.T).numpy()
    found = process.leave_one_out_mean(labels).numpy()
    for i in range(12):
        rest = [j for j in range(12) if j != i]
        expected = covariance[i, rest] @ np.linalg.solve(covariance[np.ix_(rest, rest)], labels.numpy()[rest])
        assert found[i] == pytest.approx(expected, rel=1e-8, abs=1e-10)


def test_the_variance_is_that_of_a_label_and_grows_away_from_the_labelled():
    process, inputs, *_ = fitted()
    noise = process.log_noise.exp()
    assert (variance(process, inputs) > noise).all()
    away = [t[:1] for t in inputs.parts.values()]
    steps = [
        variance(process, token_inputs([t + factor * torch.ones_like(t) for t in away])) for factor in (0, 1, 3, 9, 27)
    ]
    assert (torch.cat(steps).diff() > 0).all()
    # Far from all labels the variance is that of the prior, but for the linear kernels, which have no such limit.
    far = [away[0] + 1e6, *away[1:]]
    linear_alone = token_inputs([far[0], process.origin[None], far[2] + 1e6])
    expected = process.log_amplitude.exp()[2:].sum() + noise
    torch.testing.assert_close(variance(process, linear_alone), expected[None])
    torch.testing.assert_close(process(linear_alone), torch.zeros(1, dtype=torch.float64))


def test_a_label_that_is_repeated_lowers_the_variance_there():
    process, inputs, labels, pool = fitted(10)
    twice = GaussianProcess(20, shapes_of(SHAPES))
    state = {name: value for name, value in process.state_dict().items() if name.startswith(("log", "dir", "orig"))}
    twice.load_state_dict(state, strict=False)
    twice._fit_kernel = lambda *_: None
    doubled = joined(inputs, inputs)
    twice.fit(doubled, torch.cat([labels, labels]), pool, 0)
    mean, expected = posterior(twice, doubled, torch.cat([labels, labels]), pool, inputs)
    np.testing.assert_allclose(twice(inputs).numpy(), mean, atol=1e-9)
    np.testing.assert_allclose(variance(twice, inputs).numpy(), expected, atol=1e-9)
    assert (variance(twice, inputs) < variance(process, inputs)).all()


def greedy(process, inputs, pool, candidates, n, reference):
    """Each time the candidate with which the variance of the reference is least, by inverting anew."""
    slow, parameters = Slow(pool), parameters_of(process)
    everything = joined(inputs, candidates)
    full = covariance(slow.parts(everything, everything), parameters)
    labelled, (noise, jitter) = len(inputs), noise_of(parameters)
    chosen = []
    for _ in range(n):
        totals = {}
        for candidate in set(range(len(candidates))) - set(chosen):
            known = [*range(labelled), *(labelled + np.array([*chosen, candidate]))]
            noises = [noise + jitter] * labelled + [noise] * (len(known) - labelled)
            inverse = np.linalg.inv(full[np.ix_(known, known)] + np.diag(noises))
            counted = [labelled + i for i in reference]
            across = full[np.ix_(counted, known)]
            totals[candidate] = sum(full[i, i] for i in counted) - np.trace(across @ inverse @ across.T)
        chosen.append(min(totals, key=totals.get))
    return chosen


@pytest.mark.parametrize(
    ("seed", "reference", "shapes"), [(0, 1000, SHAPES), (1, 1000, SHAPES), (2, 4, SHAPES), (3, 1000, WITH_ARCH)]
)
def test_suggestions_are_those_of_a_greedy_search_that_refits(seed, reference, shapes):
    process, inputs, _, pool = fitted(8, shapes, seed)
    candidates = rows(13, seed + 50, shapes)
    counted = torch.randperm(13, generator=torch.Generator().manual_seed(seed))[:reference].tolist()
    expected = greedy(process, inputs, pool, candidates, 7, counted)
    assert variance_reduction(process.posterior(candidates), 7, seed, reference) == expected
    assert variance_reduction(process.posterior(candidates), 2, seed, reference) == expected[:2]


def test_no_suggestion_is_repeated():
    process, inputs, *_ = fitted(8)
    # All alike, and all labelled: no label lowers the variance any more, but each is named once.
    alike = inputs[[0] * 9]
    for candidates in (alike, rows(9, 3)):
        assert sorted(variance_reduction(process.posterior(candidates), 20, 0)) == list(range(9))
    assert variance_reduction(process.posterior(alike), 0, 0) == []


def test_parameters_are_fitted_to_some_labels_and_all_are_used():
    inputs, pool = rows(24, 3), rows(30, 103)
    labels = labels_of(inputs, 3)
    process = GaussianProcess(24, shapes_of(SHAPES), GaussianProcessConfig(labels=15)).fit(inputs, labels, pool, 3)
    order = torch.randperm(24, generator=torch.Generator().manual_seed(3))[:15]
    some = GaussianProcess(15, shapes_of(SHAPES)).fit(inputs[order], labels[order], pool, 3)
    # The same labels in another order.
    np.testing.assert_allclose(parameters_of(process), parameters_of(some), atol=2e-3)
    others = rows(5, 9)
    mean, expected = posterior(process, inputs, labels, pool, others)
    np.testing.assert_allclose(process(others).numpy(), mean, atol=1e-9)
    np.testing.assert_allclose(variance(process, others).numpy(), expected, atol=1e-9)
    assert process.weights.shape == (24,)


@pytest.mark.parametrize("shapes", [SHAPES, WITH_ARCH])
def test_the_state_is_all_there_is_to_save(shapes):
    process, inputs, _, _ = fitted(shapes=shapes)
    loaded = GaussianProcess(20, shapes_of(shapes))
    loaded.load_state_dict(process.state_dict())
    others = rows(4, 5, shapes)
    assert torch.equal(loaded(others), process(others))
    assert torch.equal(variance(loaded, others), variance(process, others))
    chosen = [variance_reduction(one.posterior(inputs), 5, 0) for one in (loaded, process)]
    assert chosen[0] == chosen[1]
    assert all(value.dtype == torch.float64 for value in process.state_dict().values())
    assert process(others).dtype == variance(process, others).dtype == torch.float64


def test_the_order_of_the_labels_does_not_matter():
    process, inputs, labels, pool = fitted()
    order, others = torch.arange(20).flip(0), rows(5, 9)
    turned = GaussianProcess(20, shapes_of(SHAPES)).fit(inputs[order], labels[order], pool, 0)
    torch.testing.assert_close(turned(others), process(others), atol=1e-3, rtol=0)
    torch.testing.assert_close(variance(turned, others), variance(process, others), atol=1e-3, rtol=0)


def test_each_row_is_predicted_by_itself():
    process, *_ = fitted()
    others = rows(6, 9)
    alone = [process(others[i : i + 1]) for i in range(6)]
    torch.testing.assert_close(torch.cat(alone), process(others), atol=1e-12, rtol=0)


def test_fitting_repeats_and_leaves_the_random_state_alone():
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()
    one, other = fitted(12)[0], fitted(12)[0]
    variance_reduction(one.posterior(rows(5, 1)), 2, 0)
    assert torch.equal(torch.get_rng_state(), before[0]) and np.random.get_state()[1].tolist() == before[1]
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


def test_scores_that_do_not_vary_say_nothing():
    inputs, pool, others = rows(12, 0), rows(30, 1), rows(4, 2)
    for t in (inputs, pool):
        t.scores.fill_(0.1)
    labels = torch.from_numpy(normal_scores(inputs.tokens[:, 0, 0].double().numpy()))
    process = GaussianProcess(12, shapes_of(SHAPES)).fit(inputs, labels, pool, 0)
    assert (process.direction == 0).all()
    # Scores that turn up later are far from all that is known, but the component is none of them.
    assert (variance(process, others) < 10).all() and process(others).isfinite().all()
    same = changed(others, scores=pool.scores[:4])
    assert process(same).std() > 0.05


def test_two_labels_are_enough():
    process, inputs, *_ = fitted(2)
    low, high = sorted(process(inputs).tolist())
    assert low == pytest.approx(-high, abs=0.1) and 0 < high < normal_scores(np.array([0.0, 1.0]))[1]


def test_equal_labels_predict_no_difference():
    inputs = rows(9, 0)
    process = GaussianProcess(9, shapes_of(SHAPES)).fit(inputs, torch.zeros(9), rows(30, 1), 0)
    assert (process(rows(5, 2)) == 0).all() and (variance(process, rows(5, 2)) > 0).all()


def test_duplicates_with_other_labels_get_their_mean():
    one = rows(2, 0)
    inputs = one[[0] * 10 + [1] * 10]
    labels = torch.tensor([-1.0, 0.0] * 5 + [0.2, 1.2] * 5, dtype=torch.float64)
    process = GaussianProcess(20, shapes_of(SHAPES)).fit(inputs, labels, rows(30, 1), 0)
    mean = process(one)
    # Each half is drawn to 0 a little.
    assert -0.5 < mean[0] < -0.3 and 0.5 < mean[1] < 0.7
    # A label lies .5 around the mean of its half.
    assert process.log_noise.exp().item() == pytest.approx(0.25, abs=0.08)


def test_missing_values_do_not_pass_for_values():
    process, inputs, labels, pool = fitted(8)
    others = rows(3, 9)
    expected = process(others)
    others.scores[1, 2] = math.nan
    assert process(others)[1].isnan() and variance(process, others)[1].isnan()
    torch.testing.assert_close(process(others)[[0, 2]], expected[[0, 2]], atol=1e-12, rtol=0)
    for part in inputs.parts:
        broken = token_inputs([t.clone() for t in inputs.parts.values()])
        broken.parts[part][3] = math.nan
        with pytest.raises(RuntimeError):
            GaussianProcess(8, shapes_of(SHAPES)).fit(broken, labels, pool, 0)


def test_the_covariance_of_two_networks_is_what_is_left_of_their_kernel():
    process, inputs, *_ = fitted(8)
    new = rows(5, 9)
    got = process.posterior(new).covariance()
    noise = float(process.log_noise.exp())
    torch.testing.assert_close(got.diagonal() + noise, variance(process, new))
    known, points = (given.columns(dtype=torch.float64) for given in (inputs, new))
    prior = process._between(known, known) + (noise + JITTER) * torch.eye(8, dtype=torch.float64)
    across = process._between(known, points)
    torch.testing.assert_close(got, process._between(points, points) - across.T @ torch.linalg.inv(prior) @ across)
