use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicUsize, Ordering};

use domain::UpstreamLimits;
use protocol::{ChatRequest, Quirks, Splice};
use tokio::net::TcpListener;

use super::*;
use crate::{Credential, HttpUpstream, Question, Settings, Trace, UpstreamError, Wanted};

/// Answers each time with the next of these, as whoever owns a name can.
struct Script {
    answers: Vec<Vec<IpAddr>>,
    asked: AtomicUsize,
}

impl Resolve for Script {
    fn resolve(&self, _: Name) -> Resolving {
        let turn = self.asked.fetch_add(1, Ordering::Relaxed) % self.answers.len();
        let answer: Vec<_> = self.answers[turn].iter().map(|ip| SocketAddr::new(*ip, 0)).collect();
        Box::pin(async move { Ok(Box::new(answer.into_iter()) as Addrs) })
    }
}

fn script(answers: &[&str]) -> Script {
    let answers = answers.iter().map(|line| line.split_whitespace().map(|ip| ip.parse().unwrap()).collect());
    Script { answers: answers.collect(), asked: AtomicUsize::new(0) }
}

fn settings<'a>(base: &'a str, reach: Reach, quirks: &'static Quirks) -> Settings<'a> {
    let limits = UpstreamLimits { retries: domain::RetryLimits { max: 0, ..Default::default() }, ..Default::default() };
    let limits = UpstreamLimits { ejection: domain::EjectionLimits { failures: 0, ..limits.ejection }, ..limits };
    Settings { name: "u", base, reach, api_key: None, key_header: "authorization", forward: false, quirks, limits }
}

static PLAIN: Quirks = Quirks::NONE;

#[tokio::test]
async fn a_name_that_changes_its_mind_is_never_followed() {
    let answers = ["8.8.8.8", "127.0.0.1", "169.254.169.254 1.1.1.1", "::ffff:127.0.0.1 10.0.0.1", "fd00:ec2::254", ""];
    let guarded = Guarded::new("u".into(), Reach::Public, script(&answers));
    let mut outcomes = [0; 2];
    for _ in 0..10_000 {
        match guarded.resolve("models.example".parse().unwrap()).await {
            Ok(addresses) => {
                assert!(addresses.map(|a| AddressKind::of(a.ip())).all(|kind| kind == AddressKind::Public));
                outcomes[0] += 1;
            }
            Err(error) => {
                assert!(error.downcast_ref::<Refused>().is_some(), "{error}");
                outcomes[1] += 1;
            }
        }
    }
    assert_eq!(outcomes, [5_000, 5_000], "an empty answer is for the connector to complain of");
}

#[tokio::test]
async fn nothing_connects_to_an_address_that_is_not_allowed() {
    let canary = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let base = format!("http://models.example:{}/v1", canary.local_addr().unwrap().port());
    let visits = Arc::new(AtomicUsize::new(0));
    let counted = visits.clone();
    let mut listening = tokio::task::JoinSet::new();
    listening.spawn(async move {
        while canary.accept().await.is_ok() {
            counted.fetch_add(1, Ordering::SeqCst);
        }
    });
    let request = ChatRequest::parse(r#"{"model":"m","messages":[{"role":"user","content":"hi"}]}"#.into()).unwrap();
    let body = || request.splice(&Splice::default());
    let wanted = Wanted { stream: false, usage: false };
    let (credential, trace) = (Credential::default(), Trace::default());
    let question = Question { body: &body, credential: &credential, trace: &trace, wanted, note: &|_| {} };
    for reach in [Reach::Public, Reach::Private] {
        let to = ["127.0.0.1", "127.0.0.1 127.0.0.2", "::ffff:127.0.0.1", "169.254.169.254 127.0.0.1"];
        let upstream = HttpUpstream::with_resolver(&settings(&base, reach, &PLAIN), script(&to)).unwrap();
        for _ in 0..200 {
            let error = upstream.chat(question).await.unwrap_err();
            assert!(matches!(error, UpstreamError::Forbidden { .. }), "{error:?}");
            assert!(!error.to_string().contains("127") && !error.to_string().contains("models"), "{error}");
        }
    }
    assert_eq!(visits.load(Ordering::SeqCst), 0);

    // The canary is there, and the same answers lead to it when they may. It hangs up.
    let upstream = HttpUpstream::with_resolver(&settings(&base, Reach::Local, &PLAIN), script(&["127.0.0.1"])).unwrap();
    let error = upstream.chat(question).await.unwrap_err();
    assert!(matches!(error, UpstreamError::Broken { .. }), "{error:?}");
    assert_eq!(visits.load(Ordering::SeqCst), 1);
}

#[test]
fn an_address_in_place_of_a_name_is_looked_at_too() {
    for (host, kind) in [
        ("127.0.0.1", Some(AddressKind::Loopback)),
        ("2130706433", Some(AddressKind::Loopback)),
        ("0x7f.1", Some(AddressKind::Loopback)),
        ("[::ffff:a9fe:a9fe]", Some(AddressKind::LinkLocal)),
        ("[64:ff9b::10.0.0.1]", Some(AddressKind::Private)),
        ("models.example", None),
    ] {
        let base = format!("http://{host}/v1");
        assert_eq!(literal(&Url::parse(&base).unwrap()), kind, "{host}");
        let built = HttpUpstream::new(&settings(&base, Reach::Public, &PLAIN));
        assert_eq!(built.is_err(), kind.is_some(), "{host}");
    }
}
