//! What an operator has to do with: the log's file, and systemd.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use rustix::process::Signal;
use tests::{Home, Upstream, until};

/// What systemd hears.
struct ServiceManager {
    socket: UnixDatagram,
    path: String,
    _folder: tempfile::TempDir,
}

impl ServiceManager {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify").to_str().unwrap().to_owned();
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        ServiceManager { socket, path, _folder: folder }
    }

    /// The next message that is not about the watchdog.
    fn hears(&self) -> String {
        loop {
            let mut message = [0; 4096];
            let length = self.socket.recv(&mut message).expect("the service manager hears something");
            let message = String::from_utf8_lossy(&message[..length]).into_owned();
            if message != "WATCHDOG=1\n" {
                return message;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn systemd_hears_that_the_host_serves_reloads_and_stops() {
    let (upstream, manager) = (Upstream::echo().await, ServiceManager::new());
    let home = Home::with(&upstream, "");
    let host = home.start_in(&[("NOTIFY_SOCKET", &manager.path)]).await;
    assert_eq!(manager.hears(), format!("READY=1\nSTATUS=serving on {}\n", host.address()));
    assert_eq!(home.run(&["reload"]).0, 0);
    let reloading = manager.hears();
    assert!(reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{reloading}");
    assert_eq!(manager.hears(), "READY=1\n");
    host.signal(Signal::TERM);
    assert_eq!(manager.hears(), "STOPPING=1\n");
    assert!(host.ended().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn systemd_hears_of_a_stop_by_command() {
    let (upstream, manager) = (Upstream::echo().await, ServiceManager::new());
    let home = Home::with(&upstream, "");
    let host = home.start_in(&[("NOTIFY_SOCKET", &manager.path)]).await;
    assert!(manager.hears().starts_with("READY=1\n"));
    assert_eq!(home.run(&["stop"]).0, 0);
    assert_eq!(manager.hears(), "STOPPING=1\n");
    assert!(host.ended().success());
}

/// Twice in each interval, so that one that is late does no harm.
#[tokio::test]
async fn systemd_hears_that_the_host_lives() {
    let (upstream, manager) = (Upstream::echo().await, ServiceManager::new());
    let home = Home::with(&upstream, "");
    let _host = home.start_in(&[("NOTIFY_SOCKET", &manager.path), ("WATCHDOG_USEC", "100000")]).await;
    for _ in 0..5 {
        let mut message = [0; 256];
        while &message[..10] != b"WATCHDOG=1" {
            manager.socket.recv(&mut message).expect("a sign of life");
        }
    }
}

#[tokio::test]
async fn a_service_is_written_shown_and_removed() {
    let home = Home::new();
    home.config("mode: skills_only\n");
    let config = home.path().join("xdg");
    let run = |words: &[&str]| home.run_in(&[("XDG_CONFIG_HOME", config.to_str().unwrap())], words);
    let (code, unit, err) = run(&["service", "show"]);
    assert_eq!(code, 0, "{err}");
    let start = format!(" --home {} start\n", home.path().display());
    assert!(unit.contains("Type=notify\n") && unit.contains("ExecStart=/") && unit.contains(&start), "{unit}");
    assert!(unit.contains("RestartPreventExitStatus=64 75\n"), "{unit}");
    assert_eq!(run(&["service", "install"]).0, 0);
    let file = config.join("systemd/user/metaclaw.service");
    assert_eq!(fs::read_to_string(&file).unwrap(), unit);
    assert_eq!(run(&["service", "install"]).0, 0, "the same once more is no harm");
    fs::write(&file, "mine").unwrap();
    let (code, _, err) = run(&["service", "install"]);
    assert!(code == 1 && err.contains("--force"), "{err}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
    assert_eq!(run(&["service", "install", "--force"]).0, 0);
    assert_eq!(run(&["service", "remove"]).0, 0);
    let (code, _, err) = run(&["service", "remove"]);
    assert!(code == 1 && err.contains("nothing was installed"), "{err}");
}

/// A log that grows is put aside, so many times, and nothing of it is for others to read.
#[tokio::test]
async fn a_log_is_put_aside_when_it_is_full() {
    let upstream = Upstream::echo().await;
    let home = Home::with(&upstream, "log: { max_size: 64KiB, keep: 2 }\n");
    let log = home.path().join("logs.txt");
    let host = home.start_with(&["--log", "trace", "--log-file", log.to_str().unwrap()]).await;
    let old = |number: u32| home.path().join(format!("logs.txt.{number}"));
    until("three logs are full", async || {
        for _ in 0..20 {
            host.say("words").send().await;
        }
        old(2).exists().then_some(())
    })
    .await;
    for _ in 0..200 {
        host.say("words").send().await;
    }
    assert!(host.stop().success());
    assert!(!old(3).exists());
    for file in [log, old(1), old(2)] {
        let about = fs::metadata(&file).unwrap();
        // The line that fills a file is written whole.
        assert!(about.len() < (64 << 10) + 8192, "{} has {} bytes", file.display(), about.len());
        assert_eq!(about.permissions().mode() & 0o777, 0o600, "{}", file.display());
    }
    let (code, _, err) = home.run(&["start", "--port", "0", "--log-file", "/nowhere/log"]);
    assert!(code == 1 && err.contains("/nowhere/log"), "{err}");
}
