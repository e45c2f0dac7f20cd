-- What policies keep between calls, each agent's apart.
CREATE TABLE policy_values (
    agent TEXT  NOT NULL,
    name  TEXT  NOT NULL,
    value BYTEA NOT NULL,
    PRIMARY KEY (agent, name)
);
