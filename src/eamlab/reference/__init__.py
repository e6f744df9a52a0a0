"""What `eamlab.reference.posterior` is made of: the exact posterior, one job per module.

``parallel, study -> marginal -> tables -> samplers, individual, joint``, each using those before.
"""
