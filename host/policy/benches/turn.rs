//! What one turn costs: `route` and `select` of the built-in policy over a catalog of 50 skills of which 8 fit, beside the same
//! logic in native code; and what an instance and a hook cost that do nothing.
//!
//! `taskset -c 1 cargo bench -p policy --bench turn`. Both sides of a ratio are of one run.
#![expect(clippy::unwrap_used, reason = "a benchmark")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use domain::WarmInstances;
use policy::{AgentPolicy, AgentPolicyParts, CatalogSource, RouteDecision, TurnSource};
use support::ENGINE;

const WARM: WarmInstances = WarmInstances { warm: 1, max_calls: u32::MAX, idle: Duration::from_secs(600) };
/// What the built-in policy does without settings.
const MAX_SKILLS: usize = 6;
const MAX_TOKENS: u32 = 2_000;

criterion_group!(benches, turn, nothing);
criterion_main!(benches);

/// Measures so many rounds of `one` on a runtime that is entered once.
fn rounds(runtime: &tokio::runtime::Runtime, count: u64, mut one: impl AsyncFnMut()) -> Duration {
    runtime.block_on(async {
        let began = Instant::now();
        for _ in 0..count {
            one().await;
        }
        began.elapsed()
    })
}

fn turn(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let text = "Please look at this function and tell me why the test fails on the second run. ".repeat(10);
    let turn: Arc<dyn TurnSource> = support::turn("model-b", &text);
    let names: Vec<String> = (0..50).map(|n| format!("skill-number-{n}")).collect();
    let skills: Vec<_> =
        names.iter().zip(0_u8..).map(|(n, i)| (n.as_str(), if i < 8 { f32::from(9 - i) } else { 0.0 }, 100)).collect();
    let catalog: Arc<dyn CatalogSource> = support::catalog(&skills);
    let fresh = support::plain();
    // The default policy again, as an agent's own module: only such instances may stay.
    let module = ENGINE.load(support::default_policy(), None, "{}").unwrap();
    let parts = AgentPolicyParts { instances: WARM, ..support::parts(&module, "{}", support::patient()) };
    let warm = AgentPolicy::new(&ENGINE, parts);
    let decide = async |policy: &AgentPolicy| {
        let mut call = policy.turn(turn.clone());
        assert_eq!(call.route().await.value, RouteDecision::To(1));
        let selected = call.select(catalog.clone()).await;
        assert_eq!((selected.failure, selected.value.skills().len()), (None, MAX_SKILLS));
    };
    let mut group = c.benchmark_group("route and select over 50 skills");
    group.bench_function("native", |b| {
        b.iter(|| {
            assert_eq!(natively_route(black_box(turn.as_ref())), 1);
            assert_eq!(natively_select(black_box(turn.as_ref()), catalog.as_ref()).len(), MAX_SKILLS);
        });
    });
    group.bench_function("fresh instance", |b| {
        b.iter_custom(|count| rounds(&runtime, count, async || decide(&fresh).await))
    });
    group.bench_function("warm instance", |b| {
        b.iter_custom(|count| rounds(&runtime, count, async || decide(&warm).await))
    });
    group.finish();
}

/// `policies/default`, `route`.
fn natively_route(turn: &dyn TurnSource) -> usize {
    let wanted = turn.requested_model().into_owned();
    let targets: Vec<_> = turn.targets().iter().map(|t| (t.upstream.to_string(), t.model.to_string())).collect();
    targets.iter().position(|(_, model)| *model == wanted).unwrap_or(0)
}

/// `policies/default`, `select`.
fn natively_select(turn: &dyn TurnSource, catalog: &dyn CatalogSource) -> Vec<String> {
    let text = turn.user_text().into_owned();
    let hits = catalog.search(&text[..text.floor_char_boundary(4096)], MAX_SKILLS + 2);
    let mut tokens_left = MAX_TOKENS;
    let mut chosen = Vec::with_capacity(hits.len());
    for hit in hits {
        if chosen.len() == MAX_SKILLS {
            break;
        }
        if hit.tokens <= tokens_left {
            tokens_left -= hit.tokens;
            chosen.push(hit.name.to_string());
        }
    }
    chosen
}

/// A filter that answers at once. Fresh less warm is what an instance costs: to make, to start and to drop.
fn nothing(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let module = ENGINE.load(&support::idle(), None, "{}").unwrap();
    let sample = support::sample("stop", "an answer");
    let mut group = c.benchmark_group("a hook that does nothing");
    for (name, instances) in [("fresh instance", WarmInstances::default()), ("warm instance", WARM)] {
        let parts = AgentPolicyParts { instances, ..support::parts(&module, "{}", support::patient()) };
        let policy = AgentPolicy::new(&ENGINE, parts);
        group.bench_function(name, |b| {
            b.iter_custom(|count| {
                rounds(&runtime, count, async || assert_eq!(policy.filter(sample.clone()).await.failure, None))
            });
        });
    }
    group.finish();
}
