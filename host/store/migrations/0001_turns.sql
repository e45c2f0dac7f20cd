-- Sessions, turns, their content, and samples.
--
-- The same file runs on SQLite and PostgreSQL, so it keeps to what both read alike:
--   BYTEA             PostgreSQL's bytes. To SQLite the name means nothing, and it stores a blob as it is.
--   TEXT              UTF-8. Names of states are text, never an enum type: a new one needs no migration.
--   BIGINT            64 bits. Times are microseconds since 1970 (UTC), spans are microseconds.
--   DOUBLE PRECISION  64 bits.
-- Keys are made by the host (UUIDv7, 16 bytes), so no sequence or rowid is needed and two hosts never collide.
-- A released migration is never edited: sqlx keeps a checksum of each one that a database has seen.

-- One row for each (agent, name), however often the session ends and comes back.
CREATE TABLE sessions (
    id          BYTEA  NOT NULL PRIMARY KEY,
    agent       TEXT   NOT NULL,
    name        TEXT   NOT NULL,
    started     BIGINT NOT NULL,
    last_active BIGINT NOT NULL,
    ended       BIGINT,                     -- null while open
    end_reason  TEXT,                       -- header, idle, shutdown
    turns       BIGINT NOT NULL,            -- how many, over all generations
    generation  BIGINT NOT NULL,            -- how often it came back after an end
    UNIQUE (agent, name)
);
CREATE INDEX sessions_by_activity ON sessions (agent, last_active);
CREATE INDEX sessions_open ON sessions (last_active) WHERE ended IS NULL;

-- A piece of a request body or of a prompt's tokens, once for each session, numbered from 0 as it first came.
CREATE TABLE contents (
    session BYTEA  NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    number  BIGINT NOT NULL,
    hash    BYTEA  NOT NULL,                -- the first 16 bytes of BLAKE3 over the body
    body    BYTEA  NOT NULL,
    PRIMARY KEY (session, number)
);

-- `request` lists content numbers, as runs: the body is exactly these pieces one after another.
CREATE TABLE turns (
    id                BYTEA  NOT NULL PRIMARY KEY,
    session           BYTEA  NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    position          BIGINT NOT NULL,      -- within the session, from 0
    kind              TEXT   NOT NULL,      -- main, side
    started           BIGINT NOT NULL,
    duration          BIGINT NOT NULL,
    first_byte        BIGINT,
    upstream          TEXT   NOT NULL,
    model             TEXT   NOT NULL,
    request           BYTEA  NOT NULL,
    answer            BYTEA  NOT NULL,
    skills            TEXT   NOT NULL,      -- a JSON array of names
    policy            BYTEA  NOT NULL,      -- SHA-256 of the module
    decided_by        TEXT   NOT NULL,      -- policy, builtin
    prompt_tokens     BIGINT,
    completion_tokens BIGINT,
    outcome           TEXT   NOT NULL,      -- complete, refused, cancelled, failed
    UNIQUE (session, position)
);

-- What the policy said of a turn. The primary key is what makes a sample exist exactly once.
CREATE TABLE samples (
    turn             BYTEA  NOT NULL PRIMARY KEY REFERENCES turns (id) ON DELETE CASCADE,
    agent            TEXT   NOT NULL,
    state            TEXT   NOT NULL,       -- captured, dropped
    reason           TEXT,                  -- why it was dropped
    weight           DOUBLE PRECISION NOT NULL,
    policy           BYTEA  NOT NULL,
    skill_generation BIGINT NOT NULL,
    captured         BIGINT NOT NULL,
    prompt           BYTEA,                 -- content numbers; the pieces are little-endian u32 token ids
    completion       BYTEA,                 -- little-endian u32 token ids
    logprobs         BYTEA                  -- little-endian f32, one for each completion token
);
CREATE INDEX samples_by_agent ON samples (agent, turn, state);
