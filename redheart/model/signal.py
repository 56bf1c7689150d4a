"""The signal chain: a text read as a signal in time, filtered (dsp), then tracked (kalman)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from redheart.model.backbone import Features
from redheart.model.heads import ResidualMLP
from redheart.recipe.model_options import SignalSize


class SignalProcessor(nn.Module):
    """The module `dsp`: a learned filter bank, its envelopes, and a series drawn from them.

    Tokens become `channels` signals over `segments` points in time. Each passes `filters` learned
    band-pass filters; a band's envelope is the magnitude of its analytic signal (Marple,
    "Computing the discrete-time analytic signal via FFT", 1999), smoothed by a learned one-pole
    low-pass filter.
    """

    def __init__(self, dimension: int, size: SignalSize, outputs: int, dropout: float):
        super().__init__()
        self.segments = size.segments
        bands = size.channels * size.filters
        self.project = nn.Linear(dimension, size.channels)
        self.response = nn.Parameter(gaussian_filter_bank(size))
        self.decay_logit = nn.Parameter(torch.zeros(size.channels, size.filters))
        self.series = nn.Sequential(nn.Linear(bands, size.series), nn.LayerNorm(size.series))
        self.perceptron = ResidualMLP(2 * size.series, size.dsp, outputs, dropout)

    def forward(self, features: Features, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return the contribution, (batch, outputs), and the series, (batch, segments, series)."""
        # FFTs need full precision, whatever the precision of the layers around them.
        signal = self.project(segment_means(features.tokens, mask, self.segments)).float()
        envelopes = smooth(band_envelopes(signal, self.response), self.decay_logit.sigmoid())
        series = self.series(envelopes.flatten(2))
        summary = torch.cat((series.mean(dim=1), series.amax(dim=1)), dim=-1)
        return self.perceptron(summary), series


class KalmanTracker(nn.Module):
    """The module `kalman`: learned scalar Kalman filters over the series of `dsp`."""

    def __init__(self, size: SignalSize, outputs: int, dropout: float):
        super().__init__()
        self.observe = nn.Linear(size.series, size.states)
        # The filters start spread out: the first ones follow every point, the last ones average.
        self.raw_transition = nn.Parameter(spaced(0.5, 2.0, size.states))
        self.log_process_variance = nn.Parameter(spaced(0.0, -3.0, size.states))
        self.log_observation_variance = nn.Parameter(torch.zeros(size.states))
        self.perceptron = ResidualMLP(2 * size.states, size.kalman, outputs, dropout)

    def forward(self, series: Tensor) -> Tensor:
        """Return the contribution, (batch, outputs), from (batch, segments, series)."""
        states = kalman_filter(
            self.observe(series).float(),
            transition=self.raw_transition.tanh(),
            process_variance=self.log_process_variance.exp(),
            observation_variance=self.log_observation_variance.exp(),
        )
        return self.perceptron(torch.cat((states.mean(dim=1), states[:, -1]), dim=-1))


def segment_means(tokens: Tensor, mask: Tensor, segments: int) -> Tensor:
    """Average each text's tokens over equal parts of its length.

    A token that lies across a border counts in both parts by its share, so that texts shorter
    than `segments` work too: (batch, tokens, d) to (batch, segments, d).
    """
    end = mask.cumsum(dim=1).float()[:, None, :]
    start = end - mask[:, None, :].float()
    step = end[..., -1:].clamp(min=1) / segments
    border = step * torch.arange(segments, device=mask.device)[:, None]
    overlap = torch.minimum(end, border + step) - torch.maximum(start, border)
    shares = overlap.clamp(min=0) / step
    return shares.to(tokens.dtype) @ tokens


def spaced(first: float, last: float, count: int) -> Tensor:
    """Return `count` evenly spaced numbers on the default device.

    `torch.linspace` always computes on the CPU once transformers has loaded a model.
    """
    return first + (last - first) * torch.arange(count) / max(1, count - 1)


def gaussian_filter_bank(size: SignalSize) -> Tensor:
    """Return responses of evenly spaced band-pass filters, the start of the learned ones.

    Real and imaginary parts, (segments + 1 frequencies, channels, filters, 2).
    """
    frequencies = spaced(0.0, 1.0, size.segments + 1)[:, None]
    centres = (torch.arange(size.filters) + 0.5) / size.filters
    gain = torch.exp(-0.5 * ((frequencies - centres) * size.filters) ** 2)
    response = torch.stack((gain, torch.zeros_like(gain)), dim=-1)
    return response[:, None].repeat(1, size.channels, 1, 1)


def band_envelopes(signal: Tensor, response: Tensor) -> Tensor:
    """Return the envelope of every filtered signal.

    Parameters
    ----------
    signal
        (batch, segments, channels), float32.
    response
        (segments + 1 frequencies, channels, filters, 2), real and imaginary parts.

    Returns
    -------
    (batch, segments, channels, filters), 0 or more. The signal is padded with as many zeros as
    it has points, so that its end does not leak into its beginning.
    """
    segments = signal.shape[1]
    spectrum = torch.fft.rfft(signal, n=2 * segments, dim=1)[..., None]
    bands = spectrum * torch.view_as_complex(response)
    # An analytic signal has positive frequencies twice, 0 and Nyquist once, negative ones never.
    positive = F.pad(torch.full((segments - 1,), 2.0, device=signal.device), (1, 1), value=1.0)
    analytic = torch.fft.ifft(bands * positive[:, None, None], n=2 * segments, dim=1)
    return analytic[:, :segments].abs()


def smooth(series: Tensor, decay: Tensor) -> Tensor:
    """Smooth along dimension 1: y_t = decay * y_(t-1) + (1 - decay) * x_t, from y_0 = x_0."""
    points = list(series.unbind(dim=1))
    for t in range(1, len(points)):
        points[t] = torch.lerp(points[t], points[t - 1], decay)
    return torch.stack(points, dim=1)


def kalman_filter(
    observations: Tensor,
    transition: Tensor,
    process_variance: Tensor,
    observation_variance: Tensor,
    prior_variance: float = 1.0,
) -> Tensor:
    """Run independent scalar Kalman filters and return their filtered states.

    The model of each is x_t = a x_(t-1) + w and z_t = x_t + v with w ~ N(0, q) and v ~ N(0, r);
    before the first point x ~ N(0, prior_variance). Kalman, "A new approach to linear filtering
    and prediction problems" (1960). Gains depend on no observation, so a batch shares them.

    Parameters
    ----------
    observations
        z, (batch, points, states).
    transition, process_variance, observation_variance
        a, q and r, each (states,); the variances above 0.

    Returns
    -------
    The mean of x_t given z_1 ... z_t, (batch, points, states).
    """
    state = torch.zeros_like(observations[:, 0])
    variance = torch.full_like(process_variance, prior_variance)
    states = []
    for observation in observations.unbind(dim=1):
        predicted = transition * state
        variance = transition.square() * variance + process_variance
        gain = variance / (variance + observation_variance)
        state = torch.lerp(predicted, observation, gain)
        variance = (1 - gain) * variance
        states.append(state)
    return torch.stack(states, dim=1)
