-- What an agent is trained on, and what came of it. A sample goes
--   captured -> scored -> eligible -> claimed -> consumed | expired | rejected | held-out
-- each step in one transaction; only the commit of a batch makes samples consumed.
ALTER TABLE turns ADD COLUMN adapter BIGINT NOT NULL DEFAULT 0;   -- the generation that answered; 0: the model alone

ALTER TABLE samples ADD COLUMN adapter     BIGINT NOT NULL DEFAULT 0;
ALTER TABLE samples ADD COLUMN temperature DOUBLE PRECISION;      -- how its tokens were drawn; null without tokens
ALTER TABLE samples ADD COLUMN top_p       DOUBLE PRECISION;
ALTER TABLE samples ADD COLUMN top_k       BIGINT;
ALTER TABLE samples ADD COLUMN penalized   BIGINT;
ALTER TABLE samples ADD COLUMN base        BYTEA;                 -- SHA-256 of the model that drew them
ALTER TABLE samples ADD COLUMN prompt_key  BYTEA;                 -- BLAKE3-128 of the prompt's token ids: retries share it
ALTER TABLE samples ADD COLUMN identity    BYTEA;                 -- BLAKE3-128 of agent, session, prompt and completion
ALTER TABLE samples ADD COLUMN score       DOUBLE PRECISION;      -- from -1 to 1
ALTER TABLE samples ADD COLUMN votes       BIGINT;
ALTER TABLE samples ADD COLUMN spread      DOUBLE PRECISION;
ALTER TABLE samples ADD COLUMN scored_by   TEXT;                  -- policy, feedback, judge
ALTER TABLE samples ADD COLUMN attempts    BIGINT NOT NULL DEFAULT 0;  -- how many attempts to score it have failed
ALTER TABLE samples ADD COLUMN not_before  BIGINT NOT NULL DEFAULT 0;  -- when it is tried again
ALTER TABLE samples ADD COLUMN batch       BYTEA;

-- Of these it is not known how they were drawn.
UPDATE samples SET state = 'expired', reason = 'captured before there was training' WHERE state = 'captured' AND completion IS NOT NULL;

-- Identical captures are one row. Rows without tokens are never identical.
CREATE UNIQUE INDEX samples_once ON samples (identity) WHERE identity IS NOT NULL;
-- Those on their way; the many that have arrived cost these nothing.
CREATE INDEX samples_to_score ON samples (agent, turn) WHERE state = 'captured' AND completion IS NOT NULL;
CREATE INDEX samples_scored ON samples (agent, state, turn) WHERE state IN ('scored', 'eligible');
CREATE INDEX samples_of_batch ON samples (batch, turn) WHERE batch IS NOT NULL;

-- The samples of one step of training.
CREATE TABLE batches (
    id         BYTEA  NOT NULL PRIMARY KEY,
    agent      TEXT   NOT NULL,
    parent     BIGINT NOT NULL,             -- the adapter's generation that it is trained on; 0: the model alone
    generation BIGINT NOT NULL,             -- the one that it makes
    state      TEXT   NOT NULL,             -- open, committed, released
    begun      BIGINT NOT NULL,
    changed    BIGINT NOT NULL
);
-- An agent has one step under way.
CREATE UNIQUE INDEX batches_open ON batches (agent) WHERE state = 'open';

-- An adapter's files never change; only where it stands does.
CREATE TABLE adapters (
    agent      TEXT   NOT NULL,
    generation BIGINT NOT NULL,             -- from 1; a number is used once
    parent     BIGINT NOT NULL,
    batch      BYTEA,                       -- null: it was not trained here
    state      TEXT   NOT NULL,             -- shadow, live, retired, rejected, rolled-back, removed
    folder     TEXT   NOT NULL,
    digest     BYTEA  NOT NULL,             -- SHA-256 over the folder's files
    base       TEXT   NOT NULL,             -- the model that it changes
    metrics    TEXT   NOT NULL,             -- JSON
    created    BIGINT NOT NULL,
    changed    BIGINT NOT NULL,
    reason     TEXT,                        -- why it stands where it does
    PRIMARY KEY (agent, generation)
);
CREATE UNIQUE INDEX adapters_live ON adapters (agent) WHERE state = 'live';
CREATE UNIQUE INDEX adapters_by_batch ON adapters (batch) WHERE batch IS NOT NULL;

-- How training stands for an agent.
CREATE TABLE lanes (
    agent      TEXT   NOT NULL PRIMARY KEY,
    paused     BIGINT NOT NULL DEFAULT 0,
    baseline   DOUBLE PRECISION,            -- running mean of rewards
    steps      BIGINT NOT NULL DEFAULT 0,   -- batches that were committed
    failures   BIGINT NOT NULL DEFAULT 0,   -- since the last of them
    error      TEXT,                        -- the last failure
    not_before BIGINT NOT NULL DEFAULT 0,   -- when it is tried again
    changed    BIGINT NOT NULL DEFAULT 0
);
