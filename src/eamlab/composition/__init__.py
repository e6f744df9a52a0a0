"""From the posteriors of small groups to that of a population, and to each person."""
