use std::net::SocketAddr;
use std::path::PathBuf;

use crate::load::Reader;

/// The key's name.
const KEY: &str = "admin.listen";
/// The longest path that a Unix socket can have on Linux, in bytes.
const LONGEST: usize = 107;

/// Where operators reach the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminListen {
    /// A socket file, which only this user can open; absolute.
    Unix(PathBuf),
    /// A loopback address, for who shows a key for administration.
    Tcp(SocketAddr),
    /// Nowhere: signals and the log remain.
    None,
}

pub(crate) fn build(reader: &mut Reader<'_>) -> AdminListen {
    const REMEDY: &str = "write unix:PATH, an address of this machine such as 127.0.0.1:30001, or none";
    let home = reader.paths.home.as_path();
    let Some(text) = reader.settings.find(KEY).map(|found| found.setting.to_string()).filter(|text| !text.is_empty())
    else {
        let usual = home.join("run").join("admin.sock");
        if fits(&usual) {
            return AdminListen::Unix(usual);
        }
        let message = format!("`{}` is too long for the path of a socket, so there is none", usual.display());
        reader.report.warning(KEY, None, message, "set admin.listen to unix: and a path of at most 107 bytes");
        return AdminListen::None;
    };
    if text == "none" {
        return AdminListen::None;
    }
    let place = reader.place(KEY);
    if let Some(path) = text.strip_prefix("unix:").filter(|path| !path.is_empty()) {
        let Some(path) = reader.expand(KEY, path) else { return AdminListen::None };
        if fits(&path) {
            return AdminListen::Unix(path);
        }
        let message = format!("`{}` is too long for the path of a socket", path.display());
        reader.report.error(KEY, place, message, "choose a path of at most 107 bytes");
        return AdminListen::None;
    }
    match text.parse::<SocketAddr>() {
        Ok(address) if address.ip().to_canonical().is_loopback() => AdminListen::Tcp(address),
        Ok(address) => {
            let message = format!("{address} opens the host's administration to the network");
            reader.report.error(KEY, place, message, REMEDY);
            AdminListen::None
        }
        Err(_) => {
            reader.report.error(KEY, place, format!("{text:?} is no place to listen"), REMEDY);
            AdminListen::None
        }
    }
}

fn fits(path: &std::path::Path) -> bool {
    path.as_os_str().len() <= LONGEST
}
