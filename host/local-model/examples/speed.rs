//! Measures a model on this machine: `cargo run --release -p local-model --example speed -- MODEL.gguf [THREADS]`.
#![expect(clippy::print_stdout, reason = "it reports on the terminal")]

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use local_model::{
    Adapter, ChatMessage, Engine, EngineOptions, Event, Finish, LoraShape, Model, Request, Sampling, Trainee,
};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let path = args.next().ok_or("give the path of a model")?;
    let threads = args.next().map_or(Ok(1), |n| n.parse())?;

    let start = Instant::now();
    let model = Arc::new(Model::load(Path::new(&path))?);
    println!("load      {:7.3} s   {} of memory", start.elapsed().as_secs_f64(), memory());
    println!("{:?}", model.info());
    let engine = Engine::start(Arc::clone(&model), &EngineOptions { threads, ..EngineOptions::default() })?;

    for count in [128, 512, 2048] {
        let words = "The quick brown fox jumps over the lazy dog. ".repeat(count / 10);
        let (finish, first, _) = ask(&engine, &words, 1)?;
        let rate = finish.prompt_tokens as f64 / first.as_secs_f64();
        println!("prefill   {:7.0} tok/s over {} tokens", rate, finish.prompt_tokens);
    }
    for prompt in ["Tell me a long story about the sea.", &"Some words to read first. ".repeat(300)] {
        let (finish, first, whole) = ask(&engine, prompt, 200)?;
        let rate = (finish.completion_tokens - 1) as f64 / (whole - first).as_secs_f64();
        println!("decode    {:7.1} tok/s after {} tokens", rate, finish.prompt_tokens);
    }
    // In turns, so that what else the machine does meets both.
    let shape = LoraShape { rank: 8, alpha: 16.0, projections: [true; 7] };
    let adapter = Arc::new(Trainee::fresh(Arc::clone(&model), shape, 1)?.adapter("speed@1")?);
    let mut rates = [Vec::new(), Vec::new()];
    for _ in 0..5 {
        for (rates, adapter) in rates.iter_mut().zip([None, Some(&adapter)]) {
            let (finish, first, whole) = ask_with(&engine, "Tell me a long story about the sea.", 200, adapter)?;
            rates.push((finish.completion_tokens - 1) as f64 / (whole - first).as_secs_f64());
        }
    }
    let [base, adapted] = rates.map(|mut rates| {
        rates.sort_by(f64::total_cmp);
        rates[rates.len() / 2]
    });
    println!("adapter   {adapted:7.1} tok/s with rank 8 on all layers, {base:.1} without: {:.2}", adapted / base);
    for count in [2, 4] {
        let start = Instant::now();
        let tokens: usize = std::thread::scope(|scope| {
            let ask =
                || ask(&engine, "Tell me a long story about the sea.", 200).map_or(0, |(f, _, _)| f.completion_tokens);
            let asked: Vec<_> = (0..count).map(|_| scope.spawn(ask)).collect();
            asked.into_iter().map(|thread| thread.join().unwrap_or(0)).sum()
        });
        println!("decode x{count} {:7.1} tok/s in all", tokens as f64 / start.elapsed().as_secs_f64());
    }
    println!("at last   {} of memory", memory());
    Ok(())
}

/// The end of an answer, with the time to its first text and the whole time.
fn ask(engine: &Engine, prompt: &str, tokens: usize) -> Result<(Finish, Duration, Duration), String> {
    ask_with(engine, prompt, tokens, None)
}

fn ask_with(
    engine: &Engine,
    prompt: &str,
    tokens: usize,
    adapter: Option<&Arc<Adapter>>,
) -> Result<(Finish, Duration, Duration), String> {
    let request = Request {
        messages: vec![ChatMessage::new("user", prompt)],
        sampling: Sampling { max_tokens: Some(tokens), ..Sampling::greedy() },
        adapter: adapter.cloned(),
        ..Request::default()
    };
    let start = Instant::now();
    let mut events = engine.submit(request).map_err(|e| e.to_string())?;
    let mut first = None;
    while let Some(event) = events.blocking_recv() {
        match event {
            Event::Text(_) => drop(first.get_or_insert_with(|| start.elapsed())),
            Event::Done(finish) => return Ok((finish, first.unwrap_or_default(), start.elapsed())),
            Event::Failed(error) => return Err(error.to_string()),
        }
    }
    Err("the answer broke off".to_owned())
}

fn memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = |key| status.lines().find_map(|line| line.strip_prefix(key)).unwrap_or("?").trim().to_owned();
    format!("{} (at most {})", line("VmRSS:"), line("VmHWM:"))
}
