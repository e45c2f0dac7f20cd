//! What the system says of a running host.

use std::fs;

use crate::Host;

impl Host {
    /// The files that it has open, connections left out: they are kept for the next request.
    pub fn open_files(&self) -> Vec<String> {
        let open = fs::read_dir(format!("/proc/{}/fd", self.pid())).unwrap();
        // One that is closed meanwhile is not open.
        let names = open.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
        let mut names: Vec<_> = names.map(|name| name.to_string_lossy().into_owned()).collect();
        names.retain(|name| !name.starts_with("socket:"));
        names.sort();
        names
    }

    /// How many of its threads have this name.
    pub fn threads(&self, name: &str) -> usize {
        let threads = fs::read_dir(format!("/proc/{}/task", self.pid())).unwrap();
        let names = threads.filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("comm")).ok());
        names.filter(|thread| thread.trim_end() == name).count()
    }

    /// Memory that it has at the moment, in MiB.
    pub fn resident(&self) -> u64 {
        self.mebibytes("VmRSS:")
    }

    /// The most memory that it has had, in MiB.
    pub fn peak(&self) -> u64 {
        self.mebibytes("VmHWM:")
    }

    /// The numbers of its child processes whose command line contains this.
    pub fn children(&self, words: &str) -> Vec<String> {
        let ours = self.pid().to_string();
        let read = |pid: &str, what: &str| fs::read_to_string(format!("/proc/{pid}/{what}")).unwrap_or_default();
        let processes = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let child = |pid: &String| {
            let stat = read(pid, "stat");
            let parent = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1));
            parent == Some(&*ours) && read(pid, "cmdline").contains(words)
        };
        processes.filter(child).collect()
    }

    fn mebibytes(&self, name: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() >> 10
    }
}
