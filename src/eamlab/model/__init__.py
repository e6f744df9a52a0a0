"""The model: its prior, how people and trials are simulated, and its density."""
