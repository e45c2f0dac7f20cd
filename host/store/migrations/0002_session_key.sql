-- The client's own name for the place where a conversation happens, such as OpenClaw's `agent:research:main`. Sessions with the
-- same key follow one another: a reset begins a new session under the same key.
ALTER TABLE sessions ADD COLUMN client_key TEXT;
