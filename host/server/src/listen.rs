use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::{MethodRouter, get, post};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::error::HttpError;
use crate::framing::Unambiguous;
use crate::patience::Patient;
use crate::state::App;
use crate::{chat, feedback, info, sessions, train_step};

/// How long a client may take over the head of a request, and how long a connection is kept between two: hyper has one clock for
/// both, and clients that pool connections must not find them closed after a moment.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);
/// More headers than this are refused with 431.
const MAX_HEADERS: usize = 100;
/// How much is read of a connection at once. hyper's own limit, 400 KB, would be kept by every connection that ever sent a
/// long prompt.
const MAX_READ: usize = 16 << 10;
/// More connections than this wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 8192;
/// How long a client may take nothing of an answer. It holds a turn's place and an upstream's stream all the while.
const WRITE_TIMEOUT: Duration = Duration::from_secs(120);
/// The pause after a failed accept, which is nearly always a lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A bound socket, not served yet: so that what it is bound to can be printed, and a port that is taken is known, before
/// anything else starts.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
}

/// Why the host cannot listen.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot listen on {address}: {source}; is another host running there? (`metaclaw status`, or choose another `--port`)"
)]
pub struct ListenError {
    address: SocketAddr,
    source: io::Error,
}

impl Listener {
    /// Binds; port 0 takes any free one.
    pub async fn bind(address: SocketAddr) -> Result<Self, ListenError> {
        let failed = |source| ListenError { address, source };
        let socket = TcpListener::bind(address).await.map_err(failed)?;
        let address = socket.local_addr().map_err(failed)?;
        Ok(Listener { socket, address })
    }

    /// Where it is bound.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Where connections come from.
pub(crate) trait Acceptor {
    /// A connection.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// The next one.
    async fn accept(&self) -> io::Result<Self::Stream>;
}

impl Acceptor for TcpListener {
    type Stream = TcpStream;

    async fn accept(&self) -> io::Result<TcpStream> {
        let (stream, _) = TcpListener::accept(self).await?;
        // A stalled small write is worth 40 ms to every stream: see facts/gateways.md.
        let _ = stream.set_nodelay(true);
        Ok(stream)
    }
}

/// Method, path, and who answers. A list, so that tests can try every one that there is.
pub(crate) fn routes() -> Vec<(&'static str, &'static str, MethodRouter<App>)> {
    vec![
        ("POST", "/v1/chat/completions", post(chat::completions)),
        ("GET", "/v1/models", get(info::models)),
        ("POST", "/v1/sessions/end", post(sessions::end)),
        ("POST", "/v1/feedback", post(feedback::give)),
        ("GET", "/v1/turns/{id}", get(info::turn)),
        ("POST", "/v1/admin/train_step", post(train_step::front)),
        ("GET", "/healthz", get(info::health)),
        ("GET", "/readyz", get(info::ready)),
        ("GET", "/metrics", get(info::metrics)),
    ]
}

fn router(app: App) -> Router {
    let all = routes().into_iter().fold(Router::new(), |router, (_, path, route)| router.route(path, route));
    all.fallback(async || HttpError::NotFound.into_response())
        .method_not_allowed_fallback(async || HttpError::Method.into_response())
        .with_state(app)
}

/// Serves until `stop`, then lets requests under way finish within the grace that holds at that moment. Returns how many connections
/// had to be cut.
pub async fn serve(listener: Listener, app: App, stop: CancellationToken) -> usize {
    let bounds = app.bounds.clone();
    serve_on(listener.socket, router(app), MAX_CONNECTIONS, stop, || bounds.load().shutdown_grace).await
}

/// As [`serve`], wherever connections come from.
pub(crate) async fn serve_on<A: Acceptor>(
    socket: A,
    router: Router,
    most: usize,
    stop: CancellationToken,
    grace: impl FnOnce() -> Duration,
) -> usize {
    let places = Arc::new(Semaphore::new(most));
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    while let Some((stream, place)) = stop.run_until_cancelled(accept(&socket, &places)).await {
        let service = Unambiguous::new(router.clone());
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_headers(MAX_HEADERS)
            .max_buf_size(MAX_READ)
            .serve_connection(TokioIo::new(Patient::new(stream, WRITE_TIMEOUT)), service);
        let watched = graceful.watch(connection);
        connections.spawn(async move {
            if let Err(error) = watched.await {
                tracing::debug!(%error, "a connection ended badly");
            }
            drop(place);
        });
        while connections.try_join_next().is_some() {}
    }
    drop(socket);
    let finished = async {
        graceful.shutdown().await;
        while connections.join_next().await.is_some() {}
    };
    if tokio::time::timeout(grace(), finished).await.is_ok() {
        return 0;
    }
    while connections.try_join_next().is_some() {}
    let cut = connections.len();
    connections.shutdown().await;
    cut
}

async fn accept<A: Acceptor>(socket: &A, places: &Arc<Semaphore>) -> (A::Stream, Option<OwnedSemaphorePermit>) {
    // The semaphore is never closed, so this always gives a place.
    let place = places.clone().acquire_owned().await.ok();
    loop {
        match socket.accept().await {
            Ok(stream) => return (stream, place),
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
