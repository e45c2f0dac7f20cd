//! What Linux says of other processes. Elsewhere, and where it says nothing, nothing is known.

use std::fs;
use std::path::Path;

/// A listening socket in /proc/net/tcp.
const LISTENS: &str = "0A";

/// Another process.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) pid: u32,
    /// Its words, the program first.
    words: Vec<String>,
}

impl Process {
    /// The process of this id, if it lives.
    pub(super) fn find(pid: u32) -> Option<Process> {
        let line = fs::read(format!("/proc/{pid}/cmdline")).ok().filter(|line| !line.is_empty())?;
        let words = line.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned());
        Some(Process { pid, words: words.filter(|word| !word.is_empty()).collect() })
    }

    /// The program's name. Arguments may hold secrets.
    pub(super) fn name(&self) -> String {
        let program = self.words.first().map(String::as_str).unwrap_or_default();
        let name = Path::new(program).file_name().unwrap_or_default().to_string_lossy();
        crate::output::harmless(&name)
    }

    /// Whether it is MetaClaw itself, which is a Python program.
    pub(super) fn is_python_metaclaw(&self) -> bool {
        self.name().starts_with("python") && self.words.iter().skip(1).any(|word| word.contains("metaclaw"))
    }
}

/// Who listens on a port of this machine.
pub(super) fn listening_on(port: u16) -> Option<Process> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|file| fs::read_to_string(file).unwrap_or_default());
    let inode = tables.iter().find_map(|table| listener(table, port))?;
    let wanted = format!("socket:[{inode}]");
    let pids = fs::read_dir("/proc").ok()?.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let has = |pid: &u32| {
        let open = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        open.filter_map(|fd| fs::read_link(fd.path()).ok()).any(|target| target.as_os_str() == wanted.as_str())
    };
    Process::find(pids.into_iter().find(has)?)
}

/// The inode of the socket that listens on a port.
fn listener(table: &str, port: u16) -> Option<u64> {
    let port = format!(":{port:04X}");
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let fits = fields.get(1)?.ends_with(&port) && *fields.get(3)? == LISTENS;
        fits.then(|| fields.get(9)?.parse().ok())?
    })
}

/// Who holds the lock on the file with this inode.
pub(super) fn lock_holder(inode: u64) -> Option<u32> {
    holder(&fs::read_to_string("/proc/locks").ok()?, inode)
}

fn holder(table: &str, inode: u64) -> Option<u32> {
    let end = format!(":{inode}");
    table.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        // A line with `->` is of one who waits.
        let holds = fields.get(1) == Some(&"FLOCK") && fields.get(5)?.ends_with(&end);
        holds.then(|| fields.get(4)?.parse().ok())?
    })
}

/// Whether a process runs a program whose file has been replaced.
pub(super) fn is_replaced(pid: u32) -> bool {
    fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe.to_string_lossy().ends_with(" (deleted)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_systems_tables_are_read() {
        let tcp = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
             0: 0100007F:7530 00000000:0000 01 0:0 00:0 0 0 0 11 1\n\
             1: 0100007F:7530 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4242 1\n";
        assert_eq!(listener(tcp, 30_000), Some(4242));
        assert_eq!(listener(tcp, 30_001), None);
        let locks = "1: FLOCK  ADVISORY  WRITE 77 fd:00:123 0 EOF\n1: -> FLOCK  ADVISORY  WRITE 78 fd:00:124 0 EOF\n\
             2: POSIX  ADVISORY  WRITE 79 fd:00:125 0 EOF\n";
        assert_eq!([123, 124, 125, 3].map(|inode| holder(locks, inode)), [Some(77), None, None, None]);
    }

    #[test]
    fn metaclaw_is_told_from_us() {
        let process = |words: &[&str]| Process { pid: 1, words: words.iter().map(|w| (*w).to_owned()).collect() };
        assert!(process(&["/usr/bin/python3.12", "/usr/local/bin/metaclaw", "start"]).is_python_metaclaw());
        assert!(process(&["python", "-m", "metaclaw.cli"]).is_python_metaclaw());
        assert!(!process(&["/usr/local/bin/metaclaw", "start"]).is_python_metaclaw());
        assert!(!process(&["python3", "server.py"]).is_python_metaclaw());
    }
}
