//! An empty WASI, for language runtimes that insist on one (grant `wasi`): no arguments, variables or sockets, nothing to read, words
//! that go nowhere, a clock that stands still and randomness that is always the same. So the same input gives the same output
//! here, too. With the grant `wasi-fs` the agent's own folders can be read in it.

use std::sync::Arc;
use std::time::Duration;

use domain::{FileGrant, PolicyGrants};
use wasmtime::component::{HasData, Linker, ResourceTable};
use wasmtime_wasi::cli::{WasiCli, WasiCliView as _};
use wasmtime_wasi::clocks::{HostMonotonicClock, HostWallClock, WasiClocks, WasiClocksView as _};
use wasmtime_wasi::filesystem::{WasiFilesystem, WasiFilesystemView as _};
use wasmtime_wasi::p2::bindings::{cli, clocks, filesystem, random};
use wasmtime_wasi::random::{Deterministic, WasiRandom};
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};
use wasmtime_wasi_io::bindings::wasi::io;

use crate::source::{FileRoot, FileSource, Preopened};
use crate::state::State;

/// The packages whose interfaces there are. Sockets and HTTP are not among them, and never will be.
pub(crate) const PACKAGES: [&str; 5] = ["wasi:cli/", "wasi:clocks/", "wasi:filesystem/", "wasi:io/", "wasi:random/"];
/// What may be open at once, in one call. A folder that is being listed holds all its names.
const MAX_OPEN: usize = 32;
/// The most random bytes at once: the host puts them together first. Runtimes want some ten.
const MAX_RANDOM: u64 = 64 << 10;
/// What guests take for random: a fixed text.
const NOISE: &[u8] = b"metaclaw: the same in every call, so that a policy decides the same in every call";

/// One store's WASI.
pub(crate) struct Wasi {
    ctx: WasiCtx,
    table: ResourceTable,
    /// Folders that the guest may read, kept open as long as it may.
    _folders: Vec<Preopened>,
}

struct StoppedClock;

impl Wasi {
    /// For a module that has these grants; the folders must have been looked through.
    pub(crate) fn new(folders: Vec<(&'static str, Preopened)>) -> wasmtime::Result<Self> {
        let mut ctx = stub();
        for (name, folder) in &folders {
            ctx.preopened_dir(folder.path(), name, FsPerms::ReadOnly)?;
        }
        Ok(Wasi { ctx: ctx.build(), table: table(), _folders: folders.into_iter().map(|(_, folder)| folder).collect() })
    }

    fn empty() -> Self {
        Wasi { ctx: stub().build(), table: table(), _folders: Vec::new() }
    }
}

fn stub() -> WasiCtxBuilder {
    let mut ctx = WasiCtxBuilder::new();
    ctx.wall_clock(StoppedClock).monotonic_clock(StoppedClock);
    ctx.secure_random(Deterministic::new(NOISE.to_vec())).insecure_random(Deterministic::new(NOISE.to_vec()));
    ctx.insecure_random_seed(0).max_random_size(MAX_RANDOM);
    ctx
}

fn table() -> ResourceTable {
    let mut table = ResourceTable::new();
    table.set_max_capacity(MAX_OPEN);
    table
}

/// The folders that these grants open, looked through on a thread that may block.
pub(crate) async fn folders(
    grants: PolicyGrants,
    files: Option<Arc<dyn FileSource>>,
) -> wasmtime::Result<Vec<(&'static str, Preopened)>> {
    let Some(files) = files.filter(|_| grants.wasi_fs) else { return Ok(Vec::new()) };
    let wanted = [
        ("skills", FileRoot::Skills, grants.skills >= Some(FileGrant::Read)),
        ("shared", FileRoot::Shared, grants.skills >= Some(FileGrant::Read)),
        ("lora", FileRoot::Lora, grants.lora),
    ];
    let open = move || {
        let mut open = Vec::new();
        for (name, root, _) in wanted.into_iter().filter(|(.., granted)| *granted) {
            match files.preopen(root) {
                Ok(Some(folder)) => open.push((name, folder)),
                Ok(None) => {}
                Err(refused) if refused.code == "not-found" => {}
                Err(refused) => {
                    tracing::warn!(name, code = refused.code, "a policy's folder is not opened: {}", refused.message)
                }
            }
        }
        open
    };
    Ok(tokio::task::spawn_blocking(open).await?)
}

/// Offers WASI beside the contract.
pub(crate) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    let l = linker;
    clocks::wall_clock::add_to_linker::<State, WasiClocks>(l, State::clocks)?;
    clocks::monotonic_clock::add_to_linker::<State, WasiClocks>(l, State::clocks)?;
    filesystem::types::add_to_linker::<State, WasiFilesystem>(l, State::filesystem)?;
    filesystem::preopens::add_to_linker::<State, WasiFilesystem>(l, State::filesystem)?;
    random::random::add_to_linker::<State, WasiRandom>(l, |state| state.ctx().ctx.random())?;
    random::insecure::add_to_linker::<State, WasiRandom>(l, |state| state.ctx().ctx.random())?;
    random::insecure_seed::add_to_linker::<State, WasiRandom>(l, |state| state.ctx().ctx.random())?;
    cli::exit::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::environment::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::stdin::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::stdout::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::stderr::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::terminal_input::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::terminal_output::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::terminal_stdin::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::terminal_stdout::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::terminal_stderr::add_to_linker::<State, WasiCli>(l, State::cli)?;
    io::error::add_to_linker::<State, HasTable>(l, |state| state.ctx().table)?;
    io::poll::add_to_linker::<State, HasTable>(l, |state| state.ctx().table)?;
    io::streams::add_to_linker::<State, HasTable>(l, |state| state.ctx().table)
}

struct HasTable;

impl HasData for HasTable {
    type Data<'a> = &'a mut ResourceTable;
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        // Only modules that import WASI get here. Their stores have one from the beginning, but for those that try them out.
        let wasi = self.wasi.get_or_insert_with(|| Box::new(Wasi::empty()));
        WasiCtxView { ctx: &mut wasi.ctx, table: &mut wasi.table }
    }
}

impl HostWallClock for StoppedClock {
    fn resolution(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn now(&self) -> Duration {
        Duration::ZERO
    }
}

impl HostMonotonicClock for StoppedClock {
    fn resolution(&self) -> u64 {
        1_000_000_000
    }

    fn now(&self) -> u64 {
        0
    }
}
