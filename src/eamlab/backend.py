"""Keras and BayesFlow, on the backend that the networks are written for.

Every module that needs Keras or BayesFlow takes them from here, before anything else of theirs.
Left alone, BayesFlow prefers JAX and PyTorch to TensorFlow wherever they are installed, too.
"""

import os
import sys

if "keras" in sys.modules:
    _active = sys.modules["keras"].config.backend()
else:
    _active = os.environ.get("KERAS_BACKEND") or "tensorflow"
if _active != "tensorflow":
    raise ValueError(
        f"eamlab's networks need Keras' backend 'tensorflow', got {_active!r}: in a fresh Python, "
        "set os.environ['KERAS_BACKEND'] = 'tensorflow' before keras or bayesflow is imported."
    )
os.environ["KERAS_BACKEND"] = _active  # or BayesFlow would choose

import keras  # noqa: E402

if keras.config.floatx() != "float32":
    raise ValueError(
        f"eamlab's networks need Keras' floatx 'float32', got {keras.config.floatx()!r}: call "
        "keras.config.set_floatx('float32') before, or change \"floatx\" in Keras' file keras.json."
    )

import bayesflow as bf  # noqa: E402

__all__ = ["bf", "keras"]
