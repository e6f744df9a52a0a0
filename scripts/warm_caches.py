"""Compile what the chapters simulate and integrate with, once, when an environment is made.

numba keeps the machine code beside the sources. Without this the first chapter that needs an exact
posterior waits for half a minute, and its kernel keeps the compiler's 150 MB. Used by
scripts/setup_venv.sh and by postBuild.
"""

import numpy as np

import eamlab as el


def main() -> None:
    """Call every compiled function that the chapters use, on as little data as possible."""
    study = el.simulate(el.EAM, 5, seed=1)
    el.simulate(el.EAM, 5, seed=1, scheme="euler-maruyama")
    el.simulate_trials(1.0, 1.0, 0.2, 0.5, 10, seed=1)
    el.log_density(np.array([0.5, 0.6]), np.array([0, 1]), 1.0, 1.0, 0.2, 0.5)
    el.exact(study, el.EAM, 20, seed=1, progress=False)


if __name__ == "__main__":
    main()
