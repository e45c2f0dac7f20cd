//! What holds at any moment, whatever was done before.

use super::*;

impl World {
    pub(super) async fn check(&self) {
        let mut rows = Vec::new();
        for owner in AGENTS {
            rows.extend(self.store.samples(&agent(owner), 10_000).await.unwrap());
        }
        self.nothing_acknowledged_has_changed(&rows);
        self.nothing_is_lost().await;
        self.a_batch_holds_one_agents_samples().await;
        self.consumed_once_and_only_by_a_commit().await;
        self.one_adapter_is_live().await;
    }

    fn nothing_acknowledged_has_changed(&self, rows: &[crate::StoredSample]) {
        assert_eq!(rows.len(), self.samples.len());
        for known in &self.samples {
            let row = rows.iter().find(|row| row.sample.turn == known.turn).expect("a sample is lost");
            assert_eq!((row.state, row.batch), (known.state, known.batch), "{known:?}");
            assert_eq!(row.sample.agent.as_str(), AGENTS[known.owner]);
            let (_, _, prompt, answer) = known.identity;
            assert_eq!(row.sample.tokens, tokens(prompt, answer));
        }
    }

    async fn nothing_is_lost(&self) {
        let counts = self.store.sample_counts().await.unwrap();
        assert_eq!(counts.iter().map(|count| count.count).sum::<u64>(), self.captures as u64);
    }

    async fn a_batch_holds_one_agents_samples(&self) {
        let sql = "SELECT count(*) FROM samples JOIN batches ON batches.id = samples.batch \
            WHERE samples.agent <> batches.agent";
        assert_eq!(self.number(sql).await, 0);
    }

    async fn consumed_once_and_only_by_a_commit(&self) {
        let sql = "SELECT count(*) FROM samples LEFT JOIN batches ON batches.id = samples.batch \
            WHERE (samples.state = 'consumed') <> (coalesce(batches.state, '') = 'committed') \
            OR (samples.state = 'claimed') <> (coalesce(batches.state, '') = 'open')";
        assert_eq!(self.number(sql).await, 0);
        let committed = self.batches.iter().filter(|batch| batch.committed).count();
        assert_eq!(self.number("SELECT count(*) FROM adapters").await, committed as i64);
        assert_eq!(self.number("SELECT count(DISTINCT batch) FROM adapters").await, committed as i64);
        assert_eq!(self.number("SELECT sum(steps) FROM lanes UNION ALL SELECT 0").await, committed as i64);
    }

    async fn one_adapter_is_live(&self) {
        for (owner, name) in AGENTS.iter().enumerate() {
            let head = self.store.head(&agent(name)).await.unwrap();
            assert_eq!(head.map_or(0, |head| head.generation), self.live(owner));
            let kept = self.store.adapters(&agent(name)).await.unwrap();
            let kept: Vec<_> = kept.iter().rev().map(|made| (made.generation, made.state, made.batch)).collect();
            let made = self.adapters.iter().filter(|made| made.owner == owner);
            assert_eq!(kept, made.map(|made| (made.generation, made.state, Some(made.batch))).collect::<Vec<_>>());
        }
    }

    async fn number(&self, sql: &'static str) -> i64 {
        let found: Option<i64> = sqlx::query_scalar(sql).fetch_one(&self.store.reader.pool).await.unwrap();
        found.unwrap_or(0)
    }
}

#[tokio::test]
async fn ten_thousand_batches_hold_no_foreign_sample() {
    let dir = quick_dir();
    let store = open(dir.path()).await;
    let mut turns = Vec::new();
    for owner in AGENTS {
        turns.extend(eligible(&store, owner, 4).await);
    }
    let (mut random, mut batches) = (0x2545_f491_4f6c_dd1d_u64, 0);
    while batches < 10_000 {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let owner = AGENTS[usize::from(random.count_ones() % 2 == 0)];
        let wanted: Vec<_> =
            turns.iter().enumerate().filter(|(at, _)| random >> at & 1 == 1).map(|(_, id)| *id).collect();
        let Some(batch) = store.claim(&agent(owner), claim(0, &wanted)).await.unwrap() else { continue };
        assert!(!batch.samples.is_empty());
        for sample in &batch.samples {
            assert_eq!((sample.sample.agent.as_str(), sample.state), (owner, SampleState::Claimed));
            assert!(wanted.contains(&sample.sample.turn));
        }
        assert!(store.release(batch.id).await.unwrap());
        batches += 1;
    }
    store.close().await;
}
