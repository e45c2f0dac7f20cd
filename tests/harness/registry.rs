use std::collections::HashMap;
use std::fs;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{Method, Response, StatusCode};
use domain::Digest;
use tokio::task::JoinSet;

/// A registry as the distribution specification has it, in memory, whose every answer can be another one.
pub struct Registry {
    address: std::net::SocketAddr,
    shared: Shared,
    /// Stops when it is dropped.
    _server: JoinSet<()>,
}

/// What a registry was asked.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Such as `GET`.
    pub method: Method,
    /// Path and query.
    pub target: String,
    /// Who asks.
    pub authorization: Option<String>,
}

type Script = Arc<dyn Fn(&Asked) -> Option<Response<Body>> + Send + Sync>;

#[derive(Clone)]
struct Shared {
    /// By path.
    kept: Arc<Mutex<HashMap<String, Bytes>>>,
    seen: Arc<Mutex<Vec<Asked>>>,
    script: Script,
}

impl Asked {
    fn of(request: &Request) -> Self {
        let header = |name: &str| Some(request.headers().get(name)?.to_str().unwrap().to_owned());
        Asked {
            method: request.method().clone(),
            target: request.uri().to_string(),
            authorization: header("authorization"),
        }
    }
}

impl Registry {
    /// One that keeps to the specification.
    pub async fn start() -> Self {
        Self::scripted(|_| None).await
    }

    /// One that answers as `script` says, and as the specification does where that says nothing.
    pub async fn scripted(script: impl Fn(&Asked) -> Option<Response<Body>> + Send + Sync + 'static) -> Self {
        let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let shared = Shared { kept: Arc::default(), seen: Arc::default(), script: Arc::new(script) };
        let router = Router::new().fallback(answer).with_state(shared.clone());
        let mut server = JoinSet::new();
        server.spawn(async move { axum::serve(socket, router).await.unwrap() });
        Registry { address, shared, _server: server }
    }

    /// `127.0.0.1:PORT`.
    pub fn name(&self) -> String {
        self.address.to_string()
    }

    /// A reference to something in it.
    pub fn reference(&self, rest: &str) -> String {
        format!("oci://{}/{rest}", self.address)
    }

    /// Everything that it was asked.
    pub fn seen(&self) -> Vec<Asked> {
        self.shared.seen.lock().unwrap().clone()
    }

    /// Has it have what another one has.
    pub fn copy_of(&self, other: &Registry) {
        let kept = other.shared.kept.lock().unwrap().clone();
        *self.shared.kept.lock().unwrap() = kept;
    }

    /// Puts this in the place of whatever has a path that ends so.
    pub fn replace(&self, end: &str, bytes: &[u8]) {
        let mut kept = self.shared.kept.lock().unwrap();
        kept.iter_mut().filter(|(path, _)| path.ends_with(end)).for_each(|(_, kept)| *kept = bytes.to_vec().into());
    }
}

async fn answer(State(shared): State<Shared>, request: Request) -> Response<Body> {
    let asked = Asked::of(&request);
    shared.seen.lock().unwrap().push(asked.clone());
    if let Some(answer) = (shared.script)(&asked) {
        return answer;
    }
    let path = request.uri().path().to_owned();
    let query = request.uri().query().unwrap_or_default().to_owned();
    let body = to_bytes(request.into_body(), 64 << 20).await.unwrap();
    let plain = |status: u16| Response::builder().status(status);
    let empty = |status: u16| plain(status).body(Body::empty()).unwrap();
    match asked.method.as_str() {
        "GET" | "HEAD" => match shared.kept.lock().unwrap().get(&path) {
            Some(kept) => plain(200).body(Body::from(kept.clone())).unwrap(),
            None => {
                plain(404).body(Body::from(r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"unknown"}]}"#)).unwrap()
            }
        },
        "POST" if path.ends_with("/blobs/uploads/") => {
            plain(202).header("location", format!("{path}1?state=x")).body(Body::empty()).unwrap()
        }
        "PUT" if path.contains("/blobs/uploads/") => {
            let digest = query.rsplit("digest=").next().unwrap().replace("%3A", ":");
            if digest != format!("sha256:{}", Digest::of(&body)) {
                return empty(400);
            }
            let folder = path.split("uploads/").next().unwrap();
            shared.kept.lock().unwrap().insert(format!("{folder}{digest}"), body);
            empty(201)
        }
        "PUT" => {
            let folder = path.rsplit_once('/').unwrap().0;
            let mut kept = shared.kept.lock().unwrap();
            kept.insert(format!("{folder}/sha256:{}", Digest::of(&body)), body.clone());
            kept.insert(path, body);
            empty(201)
        }
        _ => empty(StatusCode::METHOD_NOT_ALLOWED.as_u16()),
    }
}

/// The registry that the specification was written after, from Debian's package `docker-registry`, on loopback.
pub struct RealRegistry {
    child: Child,
    port: u16,
    folder: tempfile::TempDir,
}

impl RealRegistry {
    /// One that lets only `ada` in, with the password `opensesame-71c2`.
    pub const PASSWORD: &str = "opensesame-71c2";
    const USERS: &str = "ada:$2a$05$6Zy9JuDKjmsPF2Fmo0LTHeHACmlEvj7MhtlPdSO1vxbOZSrXy0EFC\n";

    /// Starts it, empty.
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        // Nobody else is likely to take it in between.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        fs::write(folder.path().join("users"), Self::USERS).unwrap();
        let config = format!(
            "version: 0.1\nlog: {{ level: error, accesslog: {{ disabled: true }} }}\n\
             storage: {{ filesystem: {{ rootdirectory: {0}/data }} }}\n\
             auth: {{ htpasswd: {{ realm: test, path: {0}/users }} }}\nhttp: {{ addr: \"127.0.0.1:{port}\" }}\n",
            folder.path().display()
        );
        fs::write(folder.path().join("config.yml"), config).unwrap();
        let child = Self::spawn(&folder);
        let registry = RealRegistry { child, port, folder };
        registry.answers().await;
        registry
    }

    /// `127.0.0.1:PORT`.
    pub fn name(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// What docker would keep after a login there.
    pub fn auth_file(registry: &str) -> String {
        // ada:opensesame-71c2
        format!(r#"{{"auths": {{"{registry}": {{"auth": "YWRhOm9wZW5zZXNhbWUtNzFjMg=="}}}}}}"#)
    }

    /// Ends it; what it keeps stays.
    pub fn stop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again.
    pub async fn start_again(&mut self) {
        self.child = Self::spawn(&self.folder);
        self.answers().await;
    }

    fn spawn(folder: &tempfile::TempDir) -> Child {
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(folder.path().join("config.yml")).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().expect("docker-registry does not start: apt-get install docker-registry")
    }

    async fn answers(&self) {
        let began = Instant::now();
        while tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await.is_err() {
            assert!(began.elapsed() < Duration::from_secs(20), "docker-registry does not listen");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for RealRegistry {
    fn drop(&mut self) {
        // Nothing to do when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
