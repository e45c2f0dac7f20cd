//! How long guests run, and how little others notice.
#![cfg(test)]

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use domain::PolicyLimits;
use policy::FailureClass::{self, Cpu};
use policy::{Module, RouteDecision};
use support::{ENGINE, agent, catalog, misbehaving, patient, turn};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

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
    for (deed, cpu, wall, class) in [
        ("loop", ms(50), ms(20_000), Cpu),
        ("loop", ms(20_000), ms(100), FailureClass::Wall),
        ("loop", ms(1), ms(20_000), Cpu),
    ] {
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

/// This many calls that would never end.
fn spinning(guests: usize) -> JoinSet<FailureClass> {
    let spinner = agent(&module(), r#"{"do":"loop"}"#, PolicyLimits { cpu: Duration::from_millis(500), ..patient() });
    let call = |_| {
        let mut call = spinner.turn(turn("model-a", "words"));
        async move { call.route().await.failure.unwrap().class }
    };
    (0..guests).map(call).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_spinning_neighbour_is_hardly_noticed() {
    let _alone = ALONE.lock().await;
    let mut spinning = spinning(8);
    let good = agent(&module(), "{}", PolicyLimits::default());
    for round in 0..200 {
        let mut call = good.turn(turn("model-a", "words"));
        let routed = call.route().await;
        let selected = call.select(catalog(&[("alpha", 1.0, 100)])).await;
        assert!(routed.failure.is_none(), "round {round}: {:?}", routed.failure);
        assert!(selected.failure.is_none(), "round {round}: {:?}", selected.failure);
        tokio::task::yield_now().await;
    }
    assert!(spinning.try_join_next().is_none(), "the neighbours stopped before the test did");
    assert_eq!(spinning.join_all().await, [Cpu; 8]);
}

/// One thread, which guests that never end would like to have for themselves. Every exchange needs the I/O driver twice.
#[tokio::test(flavor = "current_thread")]
async fn the_network_is_served_while_guests_spin() {
    let _alone = ALONE.lock().await;
    let mut spinning = spinning(4);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (mut server, _) = listener.accept().await.unwrap();
    let mut echo = JoinSet::new();
    echo.spawn(async move {
        let mut byte = [0];
        while server.read_exact(&mut byte).await.is_ok() {
            server.write_all(&byte).await.unwrap();
        }
    });
    for n in 0..20 {
        client.write_all(&[n]).await.unwrap();
        let mut byte = [0];
        client.read_exact(&mut byte).await.unwrap();
        assert_eq!(byte, [n]);
    }
    drop(client);
    echo.join_all().await;
    assert!(spinning.try_join_next().is_none(), "the network had to wait for the guests");
    assert_eq!(spinning.join_all().await, [Cpu; 4]);
}
