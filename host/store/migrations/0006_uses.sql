-- What was said of a turn by whoever it was answered for; the last word counts.
CREATE TABLE feedback (
    turn   BYTEA  NOT NULL PRIMARY KEY REFERENCES turns (id) ON DELETE CASCADE,
    agent  TEXT   NOT NULL,
    reward DOUBLE PRECISION,                -- from -1 to 1; null when only skills were named
    skills TEXT   NOT NULL,                 -- a JSON array of names: those that helped
    given  BIGINT NOT NULL
);
CREATE INDEX feedback_by_agent ON feedback (agent, given);

-- What has been counted of each turn, so that a later word on it counts the difference. The row with the empty name is the
-- turn's own, the others are the skills' part in it.
CREATE TABLE outcomes (
    turn   BYTEA  NOT NULL REFERENCES turns (id) ON DELETE CASCADE,
    skill  TEXT   NOT NULL,
    agent  TEXT   NOT NULL,
    source TEXT   NOT NULL,                 -- policy, judge, feedback
    reward DOUBLE PRECISION NOT NULL,       -- from -1 to 1
    digest BYTEA  NOT NULL,                 -- the skill's file then: SHA-256
    moves  DOUBLE PRECISION NOT NULL,       -- how much of the turn's question was added to what the skill helped with
    model  BYTEA,                           -- the embedder of that question; null when it was not added
    given  BIGINT NOT NULL,
    PRIMARY KEY (turn, skill)
);

-- What has come of an agent's skills, by name; the row with the empty name counts all turns of the agent. `succeeded`,
-- `failed` and `helped` fade, and are what they were at `changed`.
CREATE TABLE skill_uses (
    agent     TEXT   NOT NULL,
    skill     TEXT   NOT NULL,
    offered   BIGINT NOT NULL,              -- in how many turns the ranking found it
    injected  BIGINT NOT NULL,              -- in how many turns it was in the prompt
    succeeded DOUBLE PRECISION NOT NULL,    -- the sum of rewards above 0
    failed    DOUBLE PRECISION NOT NULL,    -- and below
    changed   BIGINT NOT NULL,
    digest    BYTEA,                        -- the file that the two sums are about; null before there are any
    model     BYTEA,                        -- the embedder that made `helped`
    helped    BYTEA,                        -- little-endian f32: the sum of the questions that it helped with
    PRIMARY KEY (agent, skill)
);
