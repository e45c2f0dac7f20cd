-- What is learned from sessions. How many of a session's turns have been learned from is all that is kept of what is due: a
-- session is due when it has ended, or gone on for long enough, and has more turns than that. So nothing is queued when a
-- session ends, and nothing can be lost between an end and its lesson.
ALTER TABLE sessions ADD COLUMN learned BIGINT NOT NULL DEFAULT 0;
-- What was said before there was learning is not learned from now.
UPDATE sessions SET learned = turns;
CREATE INDEX sessions_to_learn ON sessions (agent, last_active) WHERE turns > learned;

-- Turns `from_turn` (from 0) up to `to_turn`, not included, of one session. The unique key is what makes a lesson be held once.
CREATE TABLE lessons (
    id         BYTEA  NOT NULL PRIMARY KEY,
    agent      TEXT   NOT NULL,
    session    BYTEA  NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    from_turn  BIGINT NOT NULL,
    to_turn    BIGINT NOT NULL,
    state      TEXT   NOT NULL,             -- begun, proposed, done, failed
    attempts   BIGINT NOT NULL,             -- how many have failed
    not_before BIGINT NOT NULL,             -- when it is tried (again)
    began      BIGINT NOT NULL,
    changed    BIGINT NOT NULL,
    error      TEXT,                        -- of the last attempt that failed
    model      TEXT,                        -- who was asked
    proposals  TEXT,                        -- JSON: what was proposed, checked, and what became of it
    UNIQUE (session, from_turn)
);
CREATE INDEX lessons_open ON lessons (not_before) WHERE state IN ('begun', 'proposed');
CREATE INDEX lessons_by_agent ON lessons (agent, began);

-- A version of a learned skill is its text, and never changes; only where it stands does.
CREATE TABLE skill_versions (
    agent      TEXT   NOT NULL,
    name       TEXT   NOT NULL,
    digest     BYTEA  NOT NULL,             -- SHA-256 of `text`
    text       TEXT   NOT NULL,             -- the whole SKILL.md
    state      TEXT   NOT NULL,             -- candidate, active, retired, rejected
    lesson     BYTEA,
    provenance TEXT   NOT NULL,             -- JSON
    created    BIGINT NOT NULL,
    changed    BIGINT NOT NULL,
    parent     BYTEA,                       -- the digest of the version whose place it takes
    PRIMARY KEY (agent, name, digest)
);
CREATE UNIQUE INDEX skill_versions_active ON skill_versions (agent, name) WHERE state = 'active';
