//! What a registry may do wrong, by chance or on purpose, and what comes of it: a sentence, and no module.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::Response;
use domain::{ArtifactRef, Secret};
use futures_util::{StreamExt, stream};
use registry::{Artifact, Limits, Login, Pulled, RegistryError};
use tests::{Asked, Registry};

const MODULE: &[u8] = b"\0asm, or as good as that";
const PATIENT: Limits =
    Limits { connect: Duration::from_secs(5), idle: Duration::from_secs(5), total: Duration::from_secs(10) };

fn install() {
    // A second install is refused, harmlessly.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// A registry that has the module, and answers as the script says.
async fn registry(
    script: impl Fn(&Asked) -> Option<Response<Body>> + Send + Sync + 'static,
) -> (Registry, ArtifactRef) {
    install();
    let sound = Registry::start().await;
    let reference: ArtifactRef = sound.reference("team/p:1").parse().unwrap();
    let artifact = Artifact { module: MODULE, imports: &[], exports: &[], signature: None };
    let digest = registry::push(&reference, &artifact, None, &PATIENT).await.unwrap();
    let faulty = Registry::scripted(script).await;
    faulty.copy_of(&sound);
    let reference: ArtifactRef = faulty.reference("team/p:1").parse().unwrap();
    (faulty, reference.pinned(digest))
}

async fn pull(reference: &ArtifactRef, login: Option<Login>, limits: &Limits) -> Result<Pulled, RegistryError> {
    registry::pull(reference, login, limits).await
}

fn response(status: u16, body: impl Into<Body>) -> Response<Body> {
    Response::builder().status(status).body(body.into()).unwrap()
}

fn leads_to(place: &str) -> Response<Body> {
    Response::builder().status(307).header("location", place).body(Body::empty()).unwrap()
}

fn is_blob(asked: &Asked) -> bool {
    asked.target.contains("/blobs/")
}

fn is_manifest(asked: &Asked) -> bool {
    asked.target.contains("/manifests/")
}

/// Kilobytes for ever.
fn endless() -> Body {
    let kilobyte = Bytes::from_static(&[b' '; 1024]);
    Body::from_stream(stream::repeat_with(move || Ok::<_, Infallible>(kilobyte.clone())))
}

/// Some bytes, and an end that was not announced.
fn cut() -> Body {
    let first = stream::iter([Ok(Bytes::from_static(&MODULE[..5]))]);
    Body::from_stream(first.chain(stream::iter([Err(std::io::Error::other("cut"))])))
}

/// A byte now and then.
fn drip() -> Body {
    Body::from_stream(stream::unfold((), async |()| {
        tokio::time::sleep(Duration::from_millis(50)).await;
        Some((Ok::<_, Infallible>(Bytes::from_static(b"x")), ()))
    }))
}

#[tokio::test]
async fn whatever_a_registry_does_ends_soon_and_says_what_it_was() {
    type Script = fn(&Asked) -> Option<Response<Body>>;
    let cases: &[(&str, Script, &str)] = &[
        ("it has nothing", |_| Some(response(404, "no")), "check repository, tag and digest"),
        ("it is broken", |_| Some(response(500, "oops")), "answered 500"),
        (
            "it is broken, in words",
            |_| Some(response(429, r#"{"errors":[{"code":"X","message":"slow \u001b[31mdown"}]}"#)),
            "(slow [31mdown)",
        ),
        ("it does not let us", |_| Some(response(403, "")), "does not allow it"),
        ("it asks who we are, and not how", |_| Some(response(401, "")), "does not say how"),
        (
            "the manifest is another one",
            |a| is_manifest(a).then(|| response(200, "{}")),
            "is not what the registry sent",
        ),
        ("the manifest has no end", |a| is_manifest(a).then(|| response(200, endless())), "more than 1048576 bytes"),
        ("an error has no end", |a| is_manifest(a).then(|| response(500, endless())), "answered 500"),
        ("the manifest drips", |a| is_manifest(a).then(|| response(200, drip())), "too slow"),
        ("manifests lead elsewhere", |a| is_manifest(a).then(|| leads_to("/v2/other")), "answered 307"),
        ("the module is missing", |a| is_blob(a).then(|| response(404, "")), "the module sha256:"),
        (
            "the module is another one",
            |a| is_blob(a).then(|| response(200, &b"\0asm, or as bad as that"[..])),
            "is not what the registry sent",
        ),
        ("the module is cut", |a| is_blob(a).then(|| response(200, cut())), "broke off"),
        ("the module is short", |a| is_blob(a).then(|| response(200, &MODULE[..5])), "is not what the registry sent"),
        ("the module has no end", |a| is_blob(a).then(|| response(200, endless())), "more than 24 bytes"),
        ("the module drips", |a| is_blob(a).then(|| response(200, drip())), "more than 24 bytes"),
        ("it leads out of TLS", |a| is_blob(a).then(|| leads_to("http://example.com/b")), "not HTTPS"),
        ("it leads to files", |a| is_blob(a).then(|| leads_to("file:///etc/passwd")), "not HTTPS"),
        ("it leads to the cloud's keys", |a| is_blob(a).then(|| leads_to("http://169.254.169.254/")), "not HTTPS"),
        ("by TLS, too", |a| is_blob(a).then(|| leads_to("https://169.254.169.254/")), "nearer than its own"),
        ("it leads in a circle", |a| is_blob(a).then(|| leads_to(&a.target)), "to no end"),
        ("it leads nowhere", |a| is_blob(a).then(|| response(307, "")), "does not say where"),
    ];
    let limits = Limits { idle: Duration::from_millis(800), total: Duration::from_secs(3), ..PATIENT };
    for (what, script, expected) in cases {
        let (_registry, reference) = registry(*script).await;
        let began = std::time::Instant::now();
        let error = pull(&reference, None, &limits).await.expect_err(what).to_string();
        assert!(error.contains(expected), "{what}: {error}");
        assert!(!error.contains('\u{1b}') && began.elapsed() < Duration::from_secs(6), "{what}: {error:?}");
    }
    let (_registry, reference) = registry(|_| None).await;
    assert_eq!(pull(&reference, None, &limits).await.unwrap().module, MODULE, "and without a fault it is there");
}

/// A pinned manifest cannot be exchanged, and what it pins cannot either; without a pin, what the tag means is taken.
#[tokio::test]
async fn what_is_no_policy_is_not_taken_for_one() {
    for (manifest, expected) in [
        (&b"{}"[..], "not the JSON of an image manifest"),
        (b"\xff\xfe", "not the JSON of an image manifest"),
        (br#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","config":{"mediaType":"x","digest":"x","size":1},"layers":[]}"#, "it is not of the kind"),
        (br#"{"schemaVersion":2,"config":{"mediaType":"application/vnd.wasm.config.v0+json","digest":"x","size":1},"layers":[{"mediaType":"application/wasm","digest":"sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad","size":99999999}]}"#, "more than 33554432"),
    ] {
        let (registry, reference) = registry(|_| None).await;
        registry.replace("/manifests/1", manifest);
        let tag: ArtifactRef = format!("oci://{}/team/p:1", registry.name()).parse().unwrap();
        let error = pull(&tag, None, &PATIENT).await.unwrap_err().to_string();
        assert!(error.contains(expected) && error.contains("metaclaw policy push"), "{error}");
        assert_eq!(pull(&reference, None, &PATIENT).await.unwrap().module, MODULE, "the pin means what it meant");
        assert_eq!(registry.seen().iter().filter(|asked| is_blob(asked)).count(), 1);
    }
}

const BASIC: &str = "Basic YWRhOm9wZW5zZXNhbWU=";

fn login(password: &str) -> Option<Login> {
    Some(Login { user: "ada".to_owned(), password: Secret::new(password.to_owned()) })
}

/// The flow that the big registries have: 401, a token from elsewhere, and the module from elsewhere again.
#[tokio::test]
async fn a_login_goes_to_the_giver_of_tokens_and_a_token_to_the_registry_alone() {
    let content = Registry::scripted(|_| Some(response(200, MODULE))).await;
    let tokens = Registry::scripted(|asked| {
        let body = match asked.authorization.as_deref() {
            Some(BASIC) => r#"{"access_token":"t0ken","expires_in":300}"#,
            Some(_) => return Some(response(401, "")),
            None => r#"{"token":"weak"}"#,
        };
        Some(response(200, body))
    })
    .await;
    let challenge = format!(r#"Bearer realm="http://{}/token",service="r.example""#, tokens.name());
    let place = format!("http://{}/content?signature=1", content.name());
    let (registry, reference) = registry(move |asked| match asked.authorization.as_deref() {
        Some("Bearer t0ken") if asked.method == "GET" && is_blob(asked) => Some(leads_to(&place)),
        Some("Bearer t0ken") => None,
        _ => Some(Response::builder().status(401).header("www-authenticate", &challenge).body(Body::empty()).unwrap()),
    })
    .await;
    assert_eq!(pull(&reference, login("opensesame"), &PATIENT).await.unwrap().module, MODULE);
    let [token] = &tokens.seen()[..] else { panic!("{:?}", tokens.seen()) };
    assert_eq!(token.target, "/token?service=r.example&scope=repository%3Ateam%2Fp%3Apull");
    assert!(content.seen().iter().all(|asked| asked.authorization.is_none()), "{:?}", content.seen());
    let shown: Vec<_> = registry.seen().into_iter().map(|asked| asked.authorization).collect();
    let bearer = Some("Bearer t0ken".to_owned());
    assert_eq!(shown, [None, bearer.clone(), bearer], "one token for all of it");

    for (login, expected) in [(login("wrong"), "does not let this login in"), (None, "wants a login")] {
        let error = pull(&reference, login, &PATIENT).await.unwrap_err().to_string();
        assert!(error.contains(expected) && !error.contains("wrong") && !error.contains("weak"), "{error}");
    }
    let artifact = Artifact { module: b"another", imports: &[], exports: &[], signature: None };
    let pushed = registry::push(&reference, &artifact, login("opensesame"), &PATIENT).await.unwrap();
    assert_ne!(Some(pushed), reference.digest());
    assert!(tokens.seen().last().unwrap().target.ends_with("pull%2Cpush"), "{:?}", tokens.seen().last());
}

/// Where tokens are, and what they are, is the registry's to say; not, that a password leaves this machine in the clear.
#[tokio::test]
async fn a_registry_cannot_have_the_login_sent_where_it_likes() {
    for (challenge, token, expected) in [
        (r#"Bearer realm="http://tokens.example.com/""#, "", "not HTTPS"),
        (r#"Bearer realm="https://169.254.169.254/""#, "", "nearer than its own"),
        (r#"Bearer realm="https://tokens.example.com/""#, "", "the login is not shown there"),
        (r#"Bearer realm="not an address""#, "", "tokens at an address that is none"),
        (r#"Bearer realm="HERE""#, r#"{"token":"two\r\nlines"}"#, "as a token is none"),
        (r#"Bearer realm="HERE""#, r#"{"tok":1}"#, "as a token is none"),
        (r#"Negotiate"#, "", "does not say how"),
    ] {
        let here = Arc::new(Mutex::new(String::new()));
        let place = here.clone();
        let (registry, reference) = registry(move |asked| {
            if asked.target.starts_with("/token") {
                return Some(response(200, token));
            }
            let challenge = challenge.replace("HERE", &place.lock().unwrap());
            Some(Response::builder().status(401).header("www-authenticate", challenge).body(Body::empty()).unwrap())
        })
        .await;
        *here.lock().unwrap() = format!("http://{}/token", registry.name());
        let error = pull(&reference, login("opensesame"), &PATIENT).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{challenge}: {error}");
        assert!(registry.seen().iter().all(|a| a.target.starts_with("/token") || a.authorization.is_none()));
    }
}

/// What is uploaded goes where the registry says, within the same bounds.
#[tokio::test]
async fn a_push_meets_the_same_faults() {
    type Script = fn(&Asked) -> Option<Response<Body>>;
    let accepted = |place: &str| Response::builder().status(202).header("location", place).body(Body::empty()).unwrap();
    let cases: &[(&str, Script, &str)] = &[
        ("read-only", |a| (a.method == "POST").then(|| response(405, "")), "answered 405"),
        ("no place", |a| (a.method == "POST").then(|| response(202, "")), "does not say where"),
        ("the blob is refused", |a| (a.method == "PUT" && is_blob(a)).then(|| response(413, "")), "answered 413"),
        (
            "the manifest is refused",
            |a| (a.method == "PUT" && is_manifest(a)).then(|| response(400, "")),
            "answered 400",
        ),
    ];
    let artifact = Artifact { module: b"another module", imports: &[], exports: &[], signature: None };
    for (what, script, expected) in cases {
        let (_registry, reference) = registry(*script).await;
        let error = registry::push(&reference, &artifact, None, &PATIENT).await.expect_err(what).to_string();
        assert!(error.contains(expected), "{what}: {error}");
    }
    for (place, expected) in [("http://example.com/upload", "not HTTPS"), ("http://[", "an address that is none")] {
        let (_registry, reference) = registry(move |a| (a.method == "POST").then(|| accepted(place))).await;
        let error = registry::push(&reference, &artifact, None, &PATIENT).await.expect_err(place).to_string();
        assert!(error.contains(expected), "{place}: {error}");
    }
}

/// A registry may have bytes uploaded elsewhere; who brings them is nobody's business there.
#[tokio::test]
async fn an_upload_elsewhere_takes_no_login_along() {
    let storage = Registry::scripted(|_| Some(response(201, ""))).await;
    let place = format!("http://{}/upload?state=1", storage.name());
    let (registry, reference) = registry(move |asked| match asked.authorization.as_deref() {
        None => Some(
            Response::builder().status(401).header("www-authenticate", "Basic realm=r").body(Body::empty()).unwrap(),
        ),
        Some(_) if asked.method == "POST" => {
            Some(Response::builder().status(202).header("location", &place).body(Body::empty()).unwrap())
        }
        Some(_) => None,
    })
    .await;
    let artifact = Artifact { module: b"another module", imports: &[], exports: &[], signature: None };
    registry::push(&reference, &artifact, login("opensesame"), &PATIENT).await.unwrap();
    let stored = storage.seen();
    assert!(stored.len() == 2 && stored.iter().all(|asked| asked.authorization.is_none()), "{stored:?}");
    assert!(stored[0].target.starts_with("/upload?state=1&digest=sha256%3A"), "{stored:?}");
    assert_eq!(registry.seen().last().unwrap().authorization.as_deref(), Some(BASIC));
}
