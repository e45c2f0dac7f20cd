//! How long guests run, and how little others notice.
#![cfg(test)]

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use domain::PolicyLimits;
use policy::FailureClass::{self, Cpu};
use policy::{Module, RouteDecision};
use support::{ENGINE, agent, catalog, misbehaving, patient, turn};

/// These tests measure time, and take the slow guests' lane from one another.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

fn module() -> Arc<Module> {
    ENGINE.load(misbehaving(), None, "{}").unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn time_is_limited_to_what_is_configured() {
    let _alone = ALONE.lock().await;
    let module = module();
    let ms = Duration::from_millis;
    for (deed, cpu, wall, class) in
        [("loop", ms(50), ms(20_000), Cpu), ("loop", ms(20_000), ms(100), FailureClass::Wall), ("loop", ms(1), ms(20_000), Cpu)]
    {
        let limits = PolicyLimits { cpu, wall, ..PolicyLimits::default() };
        let bad = agent(&module, &format!(r#"{{"do":"{deed}"}}"#), limits);
        let start = Instant::now();
        let got = bad.turn(turn("model-a", "words")).route().await;
        let took = start.elapsed();
        assert_eq!((got.failure.unwrap().class, got.value), (class, RouteDecision::To(0)), "{deed}");
        // Generous, for machines that are busy with other things as well.
        assert!(took < cpu.min(wall) * 2 + ms(200), "{deed} with {cpu:?} of CPU and {wall:?} took {took:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_spinning_neighbour_is_hardly_noticed() {
    let _alone = ALONE.lock().await;
    let module = module();
    let spinner = agent(&module, r#"{"do":"loop"}"#, PolicyLimits { cpu: Duration::from_secs(2), ..patient() });
    let spinning: Vec<_> = (0..8)
        .map(|_| {
            let mut call = spinner.turn(turn("model-a", "words"));
            tokio::task::spawn(async move { call.route().await })
        })
        .collect();
    let good = agent(&module, "{}", PolicyLimits::default());
    for round in 0..200 {
        let mut call = good.turn(turn("model-a", "words"));
        let routed = call.route().await;
        let selected = call.select(catalog(&[("alpha", 1.0, 100)])).await;
        assert!(routed.failure.is_none(), "round {round}: {:?}", routed.failure);
        assert!(selected.failure.is_none(), "round {round}: {:?}", selected.failure);
        tokio::task::yield_now().await;
    }
    assert!(spinning.iter().any(|s| !s.is_finished()), "the neighbours stopped before the test did");
    for spinner in spinning {
        assert_eq!(spinner.await.unwrap().failure.unwrap().class, Cpu);
    }
}
