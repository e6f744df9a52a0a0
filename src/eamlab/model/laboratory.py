"""The same model under a prior of published experiments: `eamlab.LABORATORY`.

The tutorial's prior describes its own simulations. This one covers what has been found in
laboratories, in units of a diffusion with noise 1: boundaries of 0.5 to 3, drift rates from those
of hard discriminations (0) to easy ones (above 3), non-decision times of 0.15 to 0.75 s, and
starting points of 0.3 to 0.7, as where responses are coded by stimulus.

References
----------
Matzke & Wagenmakers (2009), *Psychonomic Bulletin & Review* 16, 798-817 (parameters of 23 studies).
Tran, van Maanen, Heathcote & Matzke (2021), *Frontiers in Psychology* 11, 608287 (a systematic
review of published estimates). Wiecki, Sofer & Frank (2013), *Frontiers in Neuroinformatics* 7, 14
(spreads between people).
"""

from __future__ import annotations

from dataclasses import replace

from eamlab.model.eam import EAM
from eamlab.model.model import GroupPrior, Model

_MOMENTS = {
    "mu_nu": (1.0, 1.2),
    "mu_log_alpha": (0.3, 0.45),
    "mu_log_t0": (-1.1, 0.4),
    "log_sigma_nu": (-0.7, 0.6),
    "log_sigma_log_alpha": (-1.5, 0.6),
    "log_sigma_log_t0": (-1.5, 0.5),
    "beta_raw": (0.0, 1.0),
}
"""Prior mean and sd of each group parameter."""

LABORATORY: Model = replace(
    EAM,
    name="LABORATORY",
    prior=GroupPrior(
        tuple(
            replace(p, mean=_MOMENTS[p.name][0], sd=_MOMENTS[p.name][1])
            for p in EAM.prior.parameters
        )
    ),
    constants={"beta_concentration": 15.0},
)
"""The tutorial's model with priors of published experiments."""
