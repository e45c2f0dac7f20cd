-- How good the agent's policy found a turn, from -1 to 1; null when it said nothing.
ALTER TABLE samples ADD COLUMN reward DOUBLE PRECISION;
