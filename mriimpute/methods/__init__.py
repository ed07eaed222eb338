"""Ways of imputing, a room each, and what they share.

A folder, or a file, holds all of a method: network, objective, learner, imputer, settings. No
method imports another.
"""
