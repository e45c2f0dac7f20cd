//! Measures a training step:
//! `cargo run --release -p local-model --example train -- MODEL.gguf [TOKENS] [STEPS] [THREADS]`.
#![expect(clippy::print_stdout, reason = "it reports on the terminal")]

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use local_model::{AdamW, Datum, LoraShape, Loss, Model, Trainee, Watch};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let path = args.next().ok_or("give the path of a model")?;
    let mut number = |usual: usize| args.next().map_or(Ok(usual), |n| n.parse());
    let (count, steps, threads) = (number(256)?, number(5)?, number(1)?);

    let model = Arc::new(Model::load(Path::new(&path))?);
    let shape = LoraShape { rank: 8, alpha: 16.0, projections: [true; 7] };
    let mut trainee = Trainee::fresh(Arc::clone(&model), shape, 1)?;
    // Any tokens do: what is measured does not depend on them. One more than are predicted.
    let tokens: Arc<[u32]> = (0..=u32::try_from(count)?).map(|i| 1000 + i * 7919 % 40_000).collect();
    for step in 0..steps {
        let start = (Instant::now(), cpu_seconds());
        let datum =
            Datum { tokens: Arc::clone(&tokens), prompt: 1, logprobs: vec![-1.0; count], advantages: vec![1.0; count] };
        let report = trainee.forward_backward(&[datum], Loss::CrossEntropy, threads, &Watch::new())?;
        let optim = trainee.optim_step(&AdamW::default())?;
        let (wall, cpu) = (start.0.elapsed().as_secs_f64(), cpu_seconds() - start.1);
        println!(
            "step {step}  {wall:6.3} s  {cpu:6.3} cpu-s  loss {:10.3}  gradient {:9.4}  {}",
            report.loss,
            optim.grad_norm,
            memory()
        );
    }
    Ok(())
}

/// Processor time of this process so far, all threads together.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
    fields.filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

fn memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = |key| status.lines().find_map(|line| line.strip_prefix(key)).unwrap_or("?").trim().to_owned();
    format!("{} (at most {})", line("VmRSS:"), line("VmHWM:"))
}
