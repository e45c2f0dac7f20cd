use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;

use crate::admin::{AdminApp, Guard, router};
use crate::listen::{Acceptor, serve_on};

/// An operator has a terminal or two.
const MAX_CONNECTIONS: usize = 64;
/// How long an answer may take after the stop, which is itself asked for here.
const GRACE: Duration = Duration::from_secs(2);

/// A bound admin socket, not served yet.
#[derive(Debug)]
pub struct AdminListener(Socket);

#[derive(Debug)]
enum Socket {
    Unix(OwnSocket),
    Tcp(TcpListener, SocketAddr),
}

/// A Unix socket for this user; its file goes when this does.
#[derive(Debug)]
struct OwnSocket {
    listener: UnixListener,
    path: PathBuf,
}

/// Why there is no admin listener.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The system refused.
    #[error("cannot listen for administration on {at}: {source}; choose another `admin.listen`")]
    Io {
        /// Where.
        at: String,
        /// Why not.
        source: io::Error,
    },
    /// Others could put a socket of theirs in its place.
    #[error("the folder `{}` of the admin socket can be written by others: `chmod 700 {}`", .0.display(), .0.display())]
    Open(PathBuf),
    /// Something else has the name.
    #[error("`{}` is in the admin socket's place: {what}", path.display())]
    Taken {
        /// The name.
        path: PathBuf,
        /// What has it, and what to do.
        what: &'static str,
    },
}

impl AdminListener {
    /// A socket file that only this user can reach, in a folder that is made, 0700, if there is none. One that a host left behind
    /// when it was killed is replaced.
    pub async fn unix(path: &Path) -> Result<Self, AdminError> {
        let failed = |source| AdminError::Io { at: format!("unix:{}", path.display()), source };
        let taken = |what| AdminError::Taken { path: path.to_owned(), what };
        let folder = path.parent().unwrap_or(Path::new("/"));
        if !folder.exists() {
            DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
        }
        if fs::metadata(folder).map_err(failed)?.permissions().mode() & 0o022 != 0 {
            return Err(AdminError::Open(folder.to_owned()));
        }
        match fs::symlink_metadata(path) {
            Ok(about) if !about.file_type().is_socket() => {
                return Err(taken("it is no socket; remove it, or choose another `admin.listen`"));
            }
            Ok(_) if UnixStream::connect(path).await.is_ok() => {
                return Err(taken("another host listens there; stop it, or choose another"));
            }
            Ok(_) => fs::remove_file(path).map_err(failed)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        let listener = UnixListener::bind(path).map_err(failed)?;
        let socket = OwnSocket { listener, path: path.to_owned() };
        // Until now the umask has decided; whoever came in meanwhile is asked for its user like anybody else.
        fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(failed)?;
        Ok(AdminListener(Socket::Unix(socket)))
    }

    /// A port. Config allows loopback only.
    pub async fn tcp(address: SocketAddr) -> Result<Self, AdminError> {
        let failed = |source| AdminError::Io { at: address.to_string(), source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(AdminListener(Socket::Tcp(listener, address)))
    }

    /// `unix:PATH`, or the address and port that it came to.
    pub fn place(&self) -> String {
        match &self.0 {
            Socket::Unix(socket) => format!("unix:{}", socket.path.display()),
            Socket::Tcp(_, address) => address.to_string(),
        }
    }

    /// Serves until `stop`.
    pub async fn serve(self, app: AdminApp, stop: CancellationToken) {
        let access = app.access.clone();
        let cut = match self.0 {
            Socket::Unix(socket) => serve_on(socket, router(app, Guard::Peer), MAX_CONNECTIONS, stop, || GRACE).await,
            Socket::Tcp(socket, _) => {
                serve_on(socket, router(app, Guard::Key(access)), MAX_CONNECTIONS, stop, || GRACE).await
            }
        };
        if cut > 0 {
            tracing::debug!(cut, "admin connections were cut");
        }
    }
}

impl Acceptor for OwnSocket {
    type Stream = UnixStream;

    /// The next connection of this user, or of root's: the file's mode says the same, unless somebody changes it.
    async fn accept(&self) -> io::Result<UnixStream> {
        let me = rustix::process::geteuid().as_raw();
        loop {
            let (stream, _) = self.listener.accept().await?;
            match stream.peer_cred() {
                Ok(peer) if peer.uid() == me || peer.uid() == 0 => return Ok(stream),
                Ok(peer) => tracing::warn!(uid = peer.uid(), "another user was turned away from the admin socket"),
                Err(error) => tracing::warn!(%error, "a connection to the admin socket does not say whose it is"),
            }
        }
    }
}

impl Drop for OwnSocket {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = fs::remove_file(&self.path);
    }
}
