"""The Gaussian process against slow loops over the kernel, the equations of the textbook, and greedy refits."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from parzc.encoding.scaling import normal_scores
from parzc.models import process as process_module
from parzc.models.gaussian_process import GaussianProcess
from parzc.models.process import flat

SHAPES = ((3, 4), (5,), (2,))
DESCRIBED = (*SHAPES, (5,), (4,), (6,))
CENTRES = np.array([-math.log(5)] * 4 + [0.3] * 2 + [-2.5])
SPREADS = np.array([0.7] * 6 + [1.0])
DESCRIBED_CENTRES = np.array([-math.log(5)] * 4 + [-4.0] * 3 + [0.3] * 5 + [-2.5])
DESCRIBED_SPREADS = np.array([0.7] * 4 + [2.0] * 3 + [0.7] * 5 + [1.0])
JITTER = 1e-5


def rows(n, seed, shapes=SHAPES):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(n, *shape, generator=generator) for shape in shapes]


def labels_of(inputs, seed=0):
    """Labels that follow tokens, and scores if there are any, with noise."""
    noise = 0.3 * np.random.default_rng(seed).normal(size=len(inputs[0]))
    values = inputs[0][:, 0, 0].numpy() + inputs[1].double().sum(1).numpy() / 2 + noise
    return torch.from_numpy(normal_scores(values))


def fitted(n=20, shapes=SHAPES, seed=0):
    inputs, pool = rows(n, seed, shapes), rows(30, seed + 100, shapes)
    labels = labels_of(inputs, seed)
    return GaussianProcess(n, shapes).fit(inputs, labels, pool, seed), inputs, labels, pool


class Slow:
    """The covariances of two sets of networks, one pair at a time."""

    def __init__(self, pool):
        scores = pool[1].double().numpy()
        self.origin = scores.mean(0)
        self.component = self.origin
        if len(self.origin):
            values, vectors = np.linalg.eigh(np.cov(scores.T, bias=True).reshape(len(self.origin), -1))
            self.component = vectors[:, -1] / math.sqrt(values[-1])

    def parts(self, ours, theirs):
        """Return products and distances, `(4, n, m)` or with descriptions `(7, n, m)`, without any parameter."""
        out = np.zeros((len(ours) + 1, len(ours[0]), len(theirs[0])))
        ours, theirs = ([t.double().flatten(1).numpy() for t in inputs] for inputs in (ours, theirs))
        for i, (tokens, scores, blocks, *description) in enumerate(zip(*ours, strict=True)):
            for j, (other_tokens, other_scores, other_blocks, *others) in enumerate(zip(*theirs, strict=True)):
                one, other = scores - self.origin, other_scores - self.origin
                both = np.append(scores - other_scores, blocks - other_blocks)
                out[0, i, j] = (one @ self.component) * (other @ self.component)
                out[1, i, j] = np.mean(one * other) if len(one) else 0
                out[2, i, j] = math.sqrt(np.mean(both**2)) if len(both) else 0
                out[3, i, j] = math.sqrt(np.mean((tokens - other_tokens) ** 2))
                if description:
                    places, *apart = [(one - other) ** 2 for one, other in zip(description, others, strict=True)]
                    for part, squares in enumerate((np.append(places, apart[0]), *apart), 4):
                        out[part, i, j] = math.sqrt(np.mean(squares)) if len(squares) else 0
        return out


def covariance(parts, parameters):
    """Amplitudes and length scales in logarithms; Rasmussen and Williams, equations 4.17, and 4.9 of descriptions."""
    amplitudes, lengths = np.exp(parameters[: len(parts)]), np.exp(parameters[len(parts) : -1])
    total = amplitudes[0] * parts[0] + amplitudes[1] * parts[1]
    for amplitude, length, distance in zip(amplitudes[2:4], lengths[:2], parts[2:4], strict=True):
        total = total + amplitude * (1 + math.sqrt(3) * distance / length) * np.exp(-math.sqrt(3) * distance / length)
    for amplitude, length, distance in zip(amplitudes[4:], lengths[2:], parts[4:], strict=True):
        total = total + amplitude * np.exp(-(distance**2) / (2 * length**2))
    return total


def noise_of(parameters):
    """The noise of a label, and what is added to it so that the covariance can be inverted."""
    described = parameters[4:7] if len(parameters) > 7 else np.array([])
    return math.exp(parameters[-1]), JITTER * max(1, np.exp(described).sum())


def parameters_of(process):
    return np.concatenate([t.numpy().ravel() for t in (process.log_amplitude, process.log_length, process.log_noise)])


def posterior(process, inputs, labels, pool, others):
    """Mean and variance by equations 2.25 and 2.26, with the noise of a label in the variance."""
    slow, parameters = Slow(pool), parameters_of(process)
    noise, jitter = noise_of(parameters)
    inverse = np.linalg.inv(covariance(slow.parts(inputs, inputs), parameters) + (noise + jitter) * np.eye(len(labels)))
    across = covariance(slow.parts(others, inputs), parameters)
    own = np.array([
        covariance(slow.parts(*[[t[i : i + 1] for t in others]] * 2), parameters)[0, 0] for i in range(len(others[0]))
    ])  # fmt: skip
    return across @ inverse @ labels.numpy(), own - np.einsum("ij,jk,ik->i", across, inverse, across) + noise


WIDTHS = [SHAPES, ((3, 4), (5,), (0,)), ((3, 4), (0,), (2,)), ((3, 4), (0,), (0,)), ((1, 1), (1,), (1,))]
WIDTHS += [DESCRIBED, (*SHAPES, (0,), (3,), (2,)), (*SHAPES, (3,), (0,), (2,)), (*SHAPES, (2,), (3,), (0,))]
WIDTHS += [(*SHAPES, (3,), (0,), (0,)), (*SHAPES, (0,), (0,), (0,))]


@pytest.mark.parametrize("shapes", WIDTHS)
def test_the_posterior_is_that_of_the_textbook(shapes):
    process, inputs, labels, pool = fitted(shapes=shapes)
    others = [torch.cat([new, old[:3]]) for new, old in zip(rows(6, 7, shapes), inputs, strict=True)]
    mean, variance = posterior(process, inputs, labels, pool, others)
    np.testing.assert_allclose(process(*others).numpy(), mean, atol=1e-9)
    np.testing.assert_allclose(process.variance(*others).numpy(), variance, atol=1e-9)
    assert abs(mean).max() > 0.1


def test_large_amplitudes_of_descriptions_raise_what_is_added_to_the_diagonal():
    inputs, pool, others = rows(9, 0, DESCRIBED), rows(30, 1, DESCRIBED), rows(4, 2, DESCRIBED)
    labels, process = labels_of(inputs), GaussianProcess(9, DESCRIBED)
    process._fit_kernel = lambda *_: None
    process.log_amplitude[:] = torch.tensor([0.0, 0.0, 9.0, 0.0, 8.0, 9.0, 7.0])
    process.log_noise.fill_(-9.0)
    process.fit(inputs, labels, pool, 0)
    mean, variance = posterior(process, inputs, labels, pool, others)
    assert noise_of(parameters_of(process))[1] > 0.1
    np.testing.assert_allclose(process(*others).numpy(), mean, atol=1e-9)
    np.testing.assert_allclose(process.variance(*others).numpy(), variance, atol=1e-6)


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
def test_the_parameters_of_descriptions_maximise_the_posterior_too(seed):
    inputs, pool = rows(25, seed, DESCRIBED), rows(30, seed + 100, DESCRIBED)
    labels = torch.from_numpy(normal_scores((inputs[4].sum(1) + inputs[1][:, 0]).double().numpy()))
    process = GaussianProcess(25, DESCRIBED).fit(inputs, labels, pool, seed)
    objective = objective_of(inputs, labels, pool, DESCRIBED_CENTRES, DESCRIBED_SPREADS)
    found = parameters_of(process)
    gradient = [(objective(found + step) - objective(found - step)) / 2e-4 for step in 1e-4 * np.eye(13)]
    np.testing.assert_allclose(gradient, 0, atol=5e-3)
    assert objective(found) <= minimize(objective, DESCRIBED_CENTRES).fun + 1e-4 < objective(DESCRIBED_CENTRES)
    # The labels follow what one kernel sees alone: its amplitude has left the prior, which starts it near 0.
    assert found[5] > DESCRIBED_CENTRES[5] + 2 and found[5] > max(found[4], found[6])


def test_a_search_that_goes_astray_comes_back():
    """Labels that a description tells exactly: here the search once took a step to an amplitude and a noise of 0, which
    have no Cholesky factor."""
    generator = torch.Generator().manual_seed(286)
    inputs = [torch.randn(14, *shape, generator=generator) for shape in ((2, 2), (2,), (1,))]
    inputs += [torch.randint(0, 3, (14, columns), generator=generator).float() for columns in (1, 2, 3)]
    labels = inputs[5].sum(1).double().numpy() ** 2
    targets = torch.from_numpy((labels - labels.mean()) / labels.std())
    process = GaussianProcess(14, [t.shape[1:] for t in inputs]).fit(inputs, targets, inputs, 0)
    for name, prior in process.priors.items():
        far = ((getattr(process, name) - prior[..., 0]) / prior[..., 1]).abs()
        assert float(far.max()) <= 10 + 1e-9
    assert torch.isfinite(process(*inputs)).all()
    assert (process(*inputs) - targets).square().mean() < 0.9


@pytest.mark.parametrize("shapes", [SHAPES, DESCRIBED])
def test_held_out_labels_are_told_as_without_them(shapes):
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
    assert (process.variance(*inputs) > noise).all()
    away = [t[:1] for t in inputs]
    steps = [process.variance(*[t + factor * torch.ones_like(t) for t in away]) for factor in (0, 1, 3, 9, 27)]
    assert (torch.cat(steps).diff() > 0).all()
    # What no label tells of is as uncertain as it was before, apart from what the linear kernels say.
    far = [away[0] + 1e6, *away[1:]]
    linear_alone = [far[0], process.origin[None], far[2] + 1e6]
    expected = process.log_amplitude.exp()[2:].sum() + noise
    torch.testing.assert_close(process.variance(*linear_alone), expected[None])
    torch.testing.assert_close(process(*linear_alone), torch.zeros(1, dtype=torch.float64))


def test_a_label_that_is_repeated_lowers_the_variance_there():
    process, inputs, labels, pool = fitted(10)
    twice = GaussianProcess(20, SHAPES)
    state = {name: value for name, value in process.state_dict().items() if name.startswith(("log", "dir", "orig"))}
    twice.load_state_dict(state, strict=False)
    twice._fit_kernel = lambda *_: None
    doubled = [torch.cat([t, t]) for t in inputs]
    twice.fit(doubled, torch.cat([labels, labels]), pool, 0)
    mean, variance = posterior(twice, doubled, torch.cat([labels, labels]), pool, inputs)
    np.testing.assert_allclose(twice(*inputs).numpy(), mean, atol=1e-9)
    np.testing.assert_allclose(twice.variance(*inputs).numpy(), variance, atol=1e-9)
    assert (twice.variance(*inputs) < process.variance(*inputs)).all()


def greedy(process, inputs, pool, candidates, n, reference):
    """Each time the candidate with which the variance of the reference is least, by inverting anew."""
    slow, parameters = Slow(pool), parameters_of(process)
    everything = [torch.cat(pair) for pair in zip(inputs, candidates, strict=True)]
    full = covariance(slow.parts(everything, everything), parameters)
    labelled, (noise, jitter) = len(inputs[0]), noise_of(parameters)
    chosen = []
    for _ in range(n):
        totals = {}
        for candidate in set(range(len(candidates[0]))) - set(chosen):
            known = [*range(labelled), *(labelled + np.array([*chosen, candidate]))]
            noises = [noise + jitter] * labelled + [noise] * (len(known) - labelled)
            inverse = np.linalg.inv(full[np.ix_(known, known)] + np.diag(noises))
            counted = [labelled + i for i in reference]
            across = full[np.ix_(counted, known)]
            totals[candidate] = sum(full[i, i] for i in counted) - np.trace(across @ inverse @ across.T)
        chosen.append(min(totals, key=totals.get))
    return chosen


@pytest.mark.parametrize(
    ("seed", "reference", "shapes"), [(0, 1000, SHAPES), (1, 1000, SHAPES), (2, 4, SHAPES), (3, 1000, DESCRIBED)]
)
def test_suggestions_are_those_of_a_greedy_search_that_refits(seed, reference, shapes):
    process, inputs, _, pool = fitted(8, shapes, seed)
    candidates = rows(13, seed + 50, shapes)
    counted = torch.randperm(13, generator=torch.Generator().manual_seed(seed))[:reference].tolist()
    expected = greedy(process, inputs, pool, candidates, 7, counted)
    assert process.most_informative(candidates, 7, seed, reference) == expected
    assert process.most_informative(candidates, 2, seed, reference) == expected[:2]


def test_no_suggestion_is_repeated():
    process, inputs, *_ = fitted(8)
    # All alike, and all labelled: nothing is left to tell, but each is named once.
    alike = [t[:1].repeat(9, *[1] * (t.dim() - 1)) for t in inputs]
    for candidates in (alike, rows(9, 3)):
        assert sorted(process.most_informative(candidates, 20, 0)) == list(range(9))
    assert process.most_informative(alike, 0, 0) == []


def test_parameters_are_fitted_to_some_labels_and_all_are_used(monkeypatch):
    monkeypatch.setattr(process_module, "LABELS", 15)
    process, inputs, labels, pool = fitted(24, seed=3)
    order = torch.randperm(24, generator=torch.Generator().manual_seed(3))[:15]
    some = GaussianProcess(15, SHAPES).fit([t[order] for t in inputs], labels[order], pool, 3)
    # The same labels in another order.
    np.testing.assert_allclose(parameters_of(process), parameters_of(some), atol=2e-3)
    others = rows(5, 9)
    mean, variance = posterior(process, inputs, labels, pool, others)
    np.testing.assert_allclose(process(*others).numpy(), mean, atol=1e-9)
    np.testing.assert_allclose(process.variance(*others).numpy(), variance, atol=1e-9)
    assert process.weights.shape == (24,)


@pytest.mark.parametrize("shapes", [SHAPES, DESCRIBED])
def test_the_state_is_all_there_is_to_save(shapes):
    process, inputs, _, _ = fitted(shapes=shapes)
    loaded = GaussianProcess(20, shapes)
    loaded.load_state_dict(process.state_dict())
    others = rows(4, 5, shapes)
    assert torch.equal(loaded(*others), process(*others))
    assert torch.equal(loaded.variance(*others), process.variance(*others))
    assert loaded.most_informative(inputs, 5, 0) == process.most_informative(inputs, 5, 0)
    assert all(value.dtype == torch.float64 for value in process.state_dict().values())
    assert process(*others).dtype == process.variance(*others).dtype == torch.float64


def test_the_order_of_the_labels_does_not_matter():
    process, inputs, labels, pool = fitted()
    order, others = torch.arange(20).flip(0), rows(5, 9)
    turned = GaussianProcess(20, SHAPES).fit([t[order] for t in inputs], labels[order], pool, 0)
    torch.testing.assert_close(turned(*others), process(*others), atol=1e-3, rtol=0)
    torch.testing.assert_close(turned.variance(*others), process.variance(*others), atol=1e-3, rtol=0)


def test_each_row_is_predicted_by_itself():
    process, *_ = fitted()
    others = rows(6, 9)
    alone = [process(*[t[i : i + 1] for t in others]) for i in range(6)]
    torch.testing.assert_close(torch.cat(alone), process(*others), atol=1e-12, rtol=0)


def test_fitting_repeats_and_leaves_the_random_state_alone():
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()
    one, other = fitted(12)[0], fitted(12)[0]
    one.most_informative(rows(5, 1), 2, 0)
    assert torch.equal(torch.get_rng_state(), before[0]) and np.random.get_state()[1].tolist() == before[1]
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


def test_scores_that_do_not_vary_say_nothing():
    inputs, pool, others = rows(12, 0), rows(30, 1), rows(4, 2)
    for t in (inputs, pool):
        t[1] = torch.full_like(t[1], 0.1)
    labels = torch.from_numpy(normal_scores(inputs[0][:, 0, 0].double().numpy()))
    process = GaussianProcess(12, SHAPES).fit(inputs, labels, pool, 0)
    assert (process.direction == 0).all()
    # Scores that turn up later are far from all that is known, but the component is none of them.
    assert (process.variance(*others) < 10).all() and process(*others).isfinite().all()
    same = [others[0], pool[1][:4], others[2]]
    assert process(*same).std() > 0.05


def test_two_labels_are_enough():
    process, inputs, *_ = fitted(2)
    low, high = sorted(process(*inputs).tolist())
    assert low == pytest.approx(-high, abs=0.1) and 0 < high < normal_scores(np.array([0.0, 1.0]))[1]


def test_equal_labels_predict_no_difference():
    inputs = rows(9, 0)
    process = GaussianProcess(9, SHAPES).fit(inputs, torch.zeros(9), rows(30, 1), 0)
    assert (process(*rows(5, 2)) == 0).all() and (process.variance(*rows(5, 2)) > 0).all()


def test_duplicates_with_other_labels_get_their_mean():
    one = rows(2, 0)
    inputs = [t.repeat_interleave(10, 0) for t in one]
    labels = torch.tensor([-1.0, 0.0] * 5 + [0.2, 1.2] * 5, dtype=torch.float64)
    process = GaussianProcess(20, SHAPES).fit(inputs, labels, rows(30, 1), 0)
    mean = process(*one)
    # Each half is drawn to 0 a little.
    assert -0.5 < mean[0] < -0.3 and 0.5 < mean[1] < 0.7
    # A label lies .5 around the mean of its half.
    assert process.log_noise.exp().item() == pytest.approx(0.25, abs=0.08)


def test_missing_values_do_not_pass_for_values():
    process, inputs, labels, pool = fitted(8)
    others = rows(3, 9)
    expected = process(*others)
    others[1][1, 2] = math.nan
    assert process(*others)[1].isnan() and process.variance(*others)[1].isnan()
    torch.testing.assert_close(process(*others)[[0, 2]], expected[[0, 2]], atol=1e-12, rtol=0)
    for part in range(3):
        broken = [t.clone() for t in inputs]
        broken[part][3] = math.nan
        with pytest.raises(RuntimeError):
            GaussianProcess(8, SHAPES).fit(broken, labels, pool, 0)


def test_the_covariance_of_two_networks_is_what_is_left_of_their_kernel():
    process, inputs, *_ = fitted(8)
    new = rows(5, 9)
    got = process.covariance(*new)
    noise = float(process.log_noise.exp())
    torch.testing.assert_close(got.diagonal() + noise, process.variance(*new))
    known, points = flat(inputs), flat(new)
    prior = process._between(known, known) + (noise + JITTER) * torch.eye(8, dtype=torch.float64)
    across = process._between(known, points)
    torch.testing.assert_close(got, process._between(points, points) - across.T @ torch.linalg.inv(prior) @ across)
