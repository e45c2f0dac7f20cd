-- How many questions to models trying skills out has taken, by day (days since 1970, UTC). What a try-out may ask is counted before
-- it is asked, so that a budget holds through crashes.
CREATE TABLE tryout_questions (
    agent TEXT   NOT NULL,
    day   BIGINT NOT NULL,
    asked BIGINT NOT NULL,
    PRIMARY KEY (agent, day)
);

-- Why a version stands where it stands, where nobody decided it: a skill that hurts is retired by itself.
ALTER TABLE skill_versions ADD COLUMN reason TEXT;
