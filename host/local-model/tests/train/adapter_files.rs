//! Adapters as files: what comes back, and what is refused.

use half::{bf16, f16};
use local_model::{AdamW, Adapter, Loss, ModelError, Trainee, Watch};
use serde_json::{Value, json};

use crate::safetensors_file::{SafetensorsFile, with_header};
use crate::{Files, fresh, made, on_policy, tiny, tokens};

const CONFIG: &str = "adapter_config.json";
const ADAPTER: &str = "adapter_model.safetensors";
const TRAINER: &str = "trainer.safetensors";

fn of<'a>(files: &'a mut Files, name: &str) -> &'a mut Vec<u8> {
    &mut files.iter_mut().find(|(file, _)| file == name).unwrap().1
}

/// Changes the safetensors file `name`.
fn tensors(files: &mut Files, name: &str, change: impl Fn(&mut SafetensorsFile)) {
    let bytes = of(files, name);
    let mut file = SafetensorsFile::open(bytes);
    change(&mut file);
    *bytes = file.close();
}

/// Sets a key of the config, or takes it out.
fn config(files: &mut Files, key: &str, value: Value) {
    let bytes = of(files, CONFIG);
    let mut config: serde_json::Map<String, Value> = serde_json::from_slice(bytes).unwrap();
    config.remove(key);
    if !value.is_null() {
        config.insert(key.to_owned(), value);
    }
    *bytes = serde_json::to_vec(&config).unwrap();
}

type Case = (&'static str, &'static str, &'static str, fn(&mut Files));

/// What is done to a sound adapter, the file that is refused, and a part of the reason.
const MATRICES: &[Case] = &[
    ("empty", ADAPTER, "not a sound safetensors file", |f| of(f, ADAPTER).clear()),
    ("seven bytes", ADAPTER, "not a sound safetensors file", |f| of(f, ADAPTER).truncate(7)),
    ("the last byte missing", ADAPTER, "not a sound", |f| drop(of(f, ADAPTER).pop())),
    ("a byte too many", ADAPTER, "not a sound", |f| of(f, ADAPTER).push(0)),
    ("half of it", ADAPTER, "not a sound", |f| {
        let half = of(f, ADAPTER).len() / 2;
        of(f, ADAPTER).truncate(half);
    }),
    ("a pickle", ADAPTER, "not a sound", |f| {
        *of(f, ADAPTER) = b"\x80\x04\x95\x1f\0\0\0\0\0\0\0\x8c\x05posix\x94\x8c\x06system\x94\x93\x94.".to_vec();
    }),
    ("a zip archive of pickles", ADAPTER, "not a sound", |f| {
        *of(f, ADAPTER) = b"PK\x03\x04\0\0\x08\x08\0\0\0\0\0\0archive/data.pkl".to_vec();
    }),
    ("a header beyond the file", ADAPTER, "not a sound", |f| {
        of(f, ADAPTER)[..8].copy_from_slice(&(1u64 << 20).to_le_bytes())
    }),
    ("a header of 2^64 - 1 bytes", ADAPTER, "not a sound", |f| of(f, ADAPTER)[..8].fill(0xff)),
    ("a header that is no UTF-8", ADAPTER, "not a sound", |f| of(f, ADAPTER)[9..12].fill(0xff)),
    ("a header that is no JSON", ADAPTER, "not a sound", |f| *of(f, ADAPTER) = with_header(b"{{{{{{{{", &[])),
    ("a header that is a list", ADAPTER, "not a sound", |f| *of(f, ADAPTER) = with_header(b"[1,2,3] ", &[])),
    ("a header 100,000 deep", ADAPTER, "not a sound", |f| *of(f, ADAPTER) = with_header(&[b'['; 90_000], &[])),
    ("no matrix at all", ADAPTER, "is missing", |f| {
        tensors(f, ADAPTER, |t| {
            t.header.retain(|name, _| name == "__metadata__");
            t.data.clear();
        });
    }),
    ("two matrices at one place", ADAPTER, "not a sound", |f| {
        tensors(f, ADAPTER, |t| t.entry("layers.0.mlp.gate_proj.lora_A")["data_offsets"] = json!([0, 2048]));
    }),
    ("a matrix beyond the end", ADAPTER, "not a sound", |f| {
        tensors(f, ADAPTER, |t| {
            t.entry("layers.1.self_attn.v_proj.lora_B")["data_offsets"] = json!([1u64 << 40, (1u64 << 40) + 1024])
        });
    }),
    ("a matrix that ends before it begins", ADAPTER, "not a sound", |f| {
        tensors(f, ADAPTER, |t| t.entry("layers.0.mlp.up_proj.lora_A")["data_offsets"] = json!([2048, 0]));
    }),
    ("negative offsets", ADAPTER, "not a sound", |f| {
        tensors(f, ADAPTER, |t| t.entry("layers.0.mlp.up_proj.lora_A")["data_offsets"] = json!([-4, 4]));
    }),
    ("a hole between matrices", ADAPTER, "not a sound", |f| {
        tensors(f, ADAPTER, |t| {
            let name = t.header.keys().find(|name| name.contains("layers.0.mlp.gate")).unwrap().clone();
            t.header.remove(&name);
        });
    }),
    ("a shape larger than its bytes", ADAPTER, "not a sound", |f| {
        tensors(f, ADAPTER, |t| t.entry("q_proj.lora_A")["shape"] = json!([8, 65]));
    }),
    ("a shape that overflows", ADAPTER, "not a sound", |f| {
        tensors(f, ADAPTER, |t| t.entry("q_proj.lora_A")["shape"] = json!([u64::MAX, u64::MAX]));
    }),
    ("a shape that is no number", ADAPTER, "not a sound", |f| {
        tensors(f, ADAPTER, |t| t.entry("q_proj.lora_A")["shape"] = json!(["8", "64"]));
    }),
    ("an unknown kind of number", ADAPTER, "not a sound", |f| {
        tensors(f, ADAPTER, |t| t.entry("q_proj.lora_A")["dtype"] = json!("Q7"));
    }),
    ("whole numbers", ADAPTER, "is stored as", |f| {
        tensors(f, ADAPTER, |t| t.entry("q_proj.lora_A")["dtype"] = json!("I32"));
    }),
    ("as few bytes of another kind", ADAPTER, "is stored as", |f| {
        tensors(f, ADAPTER, |t| t.entry("q_proj.lora_A")["dtype"] = json!("U32"));
    }),
    ("a matrix turned", ADAPTER, "instead of [8, 64]", |f| {
        tensors(f, ADAPTER, |t| t.entry("q_proj.lora_A")["shape"] = json!([64, 8]));
    }),
    ("a vector", ADAPTER, "instead of [8, 64]", |f| {
        tensors(f, ADAPTER, |t| t.entry("q_proj.lora_A")["shape"] = json!([512]));
    }),
    ("three dimensions", ADAPTER, "instead of [8, 64]", |f| {
        tensors(f, ADAPTER, |t| t.entry("q_proj.lora_A")["shape"] = json!([8, 64, 1]));
    }),
    ("a matrix missing", ADAPTER, "k_proj.lora_B.weight` is missing", |f| {
        tensors(f, ADAPTER, |t| t.remove("layers.1.self_attn.k_proj.lora_B"));
    }),
    ("a matrix too many", ADAPTER, "29 matrices instead of 28", |f| {
        tensors(f, ADAPTER, |t| t.append("base_model.model.lm_head.lora_A.weight", "F32", &[1], &[0; 4]));
    }),
    ("a third layer", ADAPTER, "29 matrices instead of 28", |f| {
        tensors(f, ADAPTER, |t| {
            t.append("base_model.model.model.layers.2.mlp.up_proj.lora_A.weight", "F32", &[8, 64], &[0; 2048]);
        });
    }),
    ("a name that climbs", ADAPTER, "matrices instead of 28", |f| {
        tensors(f, ADAPTER, |t| t.append("../../../etc/passwd", "F32", &[1], &[0; 4]));
    }),
    ("DoRA's magnitudes", ADAPTER, "matrices instead of 28", |f| {
        let name = "base_model.model.model.layers.0.mlp.up_proj.lora_magnitude_vector";
        tensors(f, ADAPTER, |t| t.append(name, "F32", &[1], &[0; 4]));
    }),
    ("a number that is none", ADAPTER, "is NaN", |f| {
        tensors(f, ADAPTER, |t| t.overwrite("layers.1.mlp.down_proj.lora_B", &f32::NAN.to_le_bytes()));
    }),
    ("an infinite number", ADAPTER, "is inf", |f| {
        tensors(f, ADAPTER, |t| t.overwrite("layers.0.self_attn.o_proj.lora_A", &f32::INFINITY.to_le_bytes()));
    }),
    ("an infinite number of 16 bits", ADAPTER, "is inf", |f| {
        let file = SafetensorsFile::open(of(f, ADAPTER));
        *of(f, ADAPTER) = file.narrowed("F16", |_| f16::INFINITY.to_le_bytes());
    }),
    ("another model's digest", ADAPTER, "it was trained on the model", |f| {
        tensors(f, ADAPTER, |t| t.header["__metadata__"]["base_sha256"] = json!("00".repeat(32)));
    }),
    ("a digest that is a number", ADAPTER, "not a sound", |f| {
        tensors(f, ADAPTER, |t| t.header["__metadata__"]["base_sha256"] = json!(7));
    }),
    ("much more than its rank takes", ADAPTER, "there are", |f| of(f, ADAPTER).resize(1 << 20, b' ')),
];

const CONFIGS: &[Case] = &[
    ("no JSON", CONFIG, "it is not JSON", |f| *of(f, CONFIG) = b"peft_type: LORA".to_vec()),
    ("a list", CONFIG, "it is not JSON", |f| *of(f, CONFIG) = b"[]".to_vec()),
    ("empty", CONFIG, "it is not JSON", |f| of(f, CONFIG).clear()),
    ("deep", CONFIG, "it is not JSON", |f| *of(f, CONFIG) = [b"{\"a\":".repeat(5_000), b"1".to_vec()].concat()),
    ("long", CONFIG, "bytes, and at most", |f| of(f, CONFIG).resize(100_000, b' ')),
    ("no kind", CONFIG, "`peft_type` is not LORA", |f| config(f, "peft_type", Value::Null)),
    ("another kind", CONFIG, "`peft_type` is not LORA", |f| config(f, "peft_type", json!("IA3"))),
    ("rank 0", CONFIG, "`r` is not a rank", |f| config(f, "r", json!(0))),
    ("rank -8", CONFIG, "`r` is not a rank", |f| config(f, "r", json!(-8))),
    ("rank 1025", CONFIG, "`r` is not a rank", |f| config(f, "r", json!(1025))),
    ("rank 2^63", CONFIG, "`r` is not a rank", |f| config(f, "r", json!(1u64 << 63))),
    ("rank 8.5", CONFIG, "`r` is not a rank", |f| config(f, "r", json!(8.5))),
    ("rank as text", CONFIG, "`r` is not a rank", |f| config(f, "r", json!("8"))),
    ("another rank than the matrices", ADAPTER, "instead of [4, 64]", |f| config(f, "r", json!(4))),
    ("no alpha", CONFIG, "`lora_alpha`", |f| config(f, "lora_alpha", Value::Null)),
    ("alpha 0", CONFIG, "`lora_alpha`", |f| config(f, "lora_alpha", json!(0))),
    ("alpha 1e300", CONFIG, "`lora_alpha`", |f| config(f, "lora_alpha", json!(1e300))),
    ("no layers", CONFIG, "`target_modules`", |f| config(f, "target_modules", Value::Null)),
    ("an empty list of layers", CONFIG, "`target_modules`", |f| config(f, "target_modules", json!([]))),
    ("layers by expression", CONFIG, "`target_modules`", |f| config(f, "target_modules", json!(".*(a+)+$"))),
    ("a layer that there is not", CONFIG, "not one of the seven", |f| config(f, "target_modules", json!(["lm_head"]))),
    ("a layer that is a number", CONFIG, "not one of the seven", |f| config(f, "target_modules", json!([7]))),
    ("fewer layers than matrices", ADAPTER, "matrices instead of", |f| config(f, "target_modules", json!(["q_proj"]))),
    ("biases", CONFIG, "`bias` is not none", |f| config(f, "bias", json!("all"))),
    ("DoRA", CONFIG, "it sets `use_dora`", |f| config(f, "use_dora", json!(true))),
    ("turned weights", CONFIG, "it sets `fan_in_fan_out`", |f| config(f, "fan_in_fan_out", json!(true))),
    ("ranks by pattern", CONFIG, "it sets `rank_pattern`", |f| config(f, "rank_pattern", json!({ "q_proj": 2 }))),
    ("alphas by pattern", CONFIG, "it sets `alpha_pattern`", |f| config(f, "alpha_pattern", json!({ "q_proj": 2 }))),
    ("whole modules", CONFIG, "it sets `modules_to_save`", |f| config(f, "modules_to_save", json!(["lm_head"]))),
    ("some layers", CONFIG, "it sets `layers_to_transform`", |f| config(f, "layers_to_transform", json!([0]))),
    ("repeated layers", CONFIG, "it sets `layer_replication`", |f| config(f, "layer_replication", json!([[0, 2]]))),
    ("what nobody knows", CONFIG, "it sets `custom_code`", |f| config(f, "custom_code", json!("import os"))),
    ("rsLoRA, perhaps", CONFIG, "`use_rslora`", |f| config(f, "use_rslora", json!("yes"))),
    ("a base that is a number", CONFIG, "`base_model_name_or_path`", |f| {
        config(f, "base_model_name_or_path", json!(7))
    }),
    ("another model's name", CONFIG, "it belongs to the model", |f| {
        tensors(f, ADAPTER, |t| drop(t.header.remove("__metadata__")));
        config(f, "base_model_name_or_path", json!("someone/tiny-instruct"));
    }),
    ("no model's name", CONFIG, "it belongs to the model", |f| {
        tensors(f, ADAPTER, |t| drop(t.header.remove("__metadata__")));
        config(f, "base_model_name_or_path", Value::Null);
    }),
    ("no config", CONFIG, "it is missing", |f| f.retain(|(name, _)| name != CONFIG)),
    ("no matrices", ADAPTER, "it is missing", |f| f.retain(|(name, _)| name != ADAPTER)),
    ("two configs", CONFIG, "there twice", |f| f.push((CONFIG.to_owned(), Vec::new()))),
    ("a pickle beside", "adapter_model.bin", "are read", |f| f.push(("adapter_model.bin".to_owned(), Vec::new()))),
    ("code beside", "modeling.py", "are read", |f| f.push(("modeling.py".to_owned(), b"import os".to_vec()))),
    ("a name that climbs", "../adapter_config.json", "are read", |f| f.push((format!("../{CONFIG}"), Vec::new()))),
];

/// These are nothing to an engine, which does not read that file.
const TRAINERS: &[Case] = &[
    ("empty", TRAINER, "not a sound", |f| of(f, TRAINER).clear()),
    ("says nothing", TRAINER, "does not say what", |f| tensors(f, TRAINER, |t| drop(t.header.remove("__metadata__")))),
    ("says too much", TRAINER, "does not say what", |f| {
        tensors(f, TRAINER, |t| {
            t.header["__metadata__"]["trainer"] = json!(r#"{"steps":1,"adapter_sha256":"","x":1}"#)
        });
    }),
    ("negative steps", TRAINER, "does not say what", |f| {
        tensors(f, TRAINER, |t| t.header["__metadata__"]["trainer"] = json!(r#"{"steps":-1,"adapter_sha256":""}"#));
    }),
    ("another adapter's", TRAINER, "it belongs to the adapter", |f| {
        tensors(f, ADAPTER, |t| t.overwrite("q_proj.lora_A", &0.5f32.to_le_bytes()));
    }),
    ("a negative mean of squares", TRAINER, "is negative", |f| {
        tensors(f, TRAINER, |t| t.overwrite("exp_avg_sq.model.layers.0.mlp.up_proj.lora_A", &(-1f32).to_le_bytes()));
    }),
    ("a number that is none", TRAINER, "is NaN", |f| {
        tensors(f, TRAINER, |t| t.overwrite("exp_avg.model.layers.0.mlp.up_proj.lora_A", &f32::NAN.to_le_bytes()));
    }),
    ("16 bits", TRAINER, "is stored as F16", |f| {
        let file = SafetensorsFile::open(of(f, TRAINER));
        *of(f, TRAINER) = file.narrowed("F16", |x| f16::from_f32(x).to_le_bytes());
    }),
    ("a matrix missing", TRAINER, "is missing", |f| {
        tensors(f, TRAINER, |t| t.remove("exp_avg.model.layers.1.mlp.up_proj.lora_B"));
    }),
    ("a matrix too many", TRAINER, "matrices instead of 56", |f| {
        tensors(f, TRAINER, |t| t.append("exp_avg.lm_head", "F32", &[1], &[0; 4]));
    }),
];

/// An adapter after a step, as files.
fn sound() -> Files {
    let model = tiny();
    let mut trainee = fresh(&model, 1);
    let datum = on_policy(&trainee, &tokens(1, 20), 4, 1.0);
    trainee.forward_backward(&[datum], Loss::ImportanceSampling, 1, &Watch::new()).unwrap();
    trainee.optim_step(&AdamW::default()).unwrap();
    trainee.to_files("tiny").unwrap()
}

fn refusal<T>(result: Result<T, ModelError>, what: &str) -> (String, String) {
    match result {
        Err(ModelError::AdapterFile { file, reason }) => (file, reason),
        Err(other) => panic!("{what}: {other}"),
        Ok(_) => panic!("{what}: it was taken"),
    }
}

#[test]
fn a_malformed_adapter_is_refused_whole_and_by_name() {
    let (model, sound) = (tiny(), sound());
    assert!(MATRICES.len() + CONFIGS.len() + TRAINERS.len() >= 40);
    for (what, file, reason, change) in MATRICES.iter().chain(CONFIGS) {
        let mut files = sound.clone();
        change(&mut files);
        for refused in [
            refusal(Adapter::from_files("x@1", &model, &files), what),
            refusal(Trainee::from_files(model.clone(), &files), what),
        ] {
            assert!(refused.0 == *file && refused.1.contains(reason), "{what}: {refused:?}");
        }
    }
    for (what, file, reason, change) in TRAINERS {
        let mut files = sound.clone();
        change(&mut files);
        Adapter::from_files("x@1", &model, &files).unwrap();
        let refused = refusal(Trainee::from_files(model.clone(), &files), what);
        assert!(refused.0 == *file && refused.1.contains(reason), "{what}: {refused:?}");
    }
}

#[test]
fn no_damage_makes_reading_panic_or_gives_numbers_that_are_not_finite() {
    let (model, sound) = (tiny(), sound());
    let mut seed = 1u64;
    let mut random = |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(seed >> 33).unwrap() % below
    };
    for _ in 0..2_000 {
        let mut files = sound.clone();
        let file = &mut files[random(3)].1;
        for _ in 0..=random(3) {
            // The headers are where it is worth it.
            let most = if random(2) == 0 { file.len() } else { file.len().min(4_000) };
            let at = random(most);
            file[at] = u8::try_from(random(256)).unwrap();
        }
        if let Ok(trainee) = Trainee::from_files(model.clone(), &files) {
            trainee.to_files("tiny").unwrap();
        }
    }
}

#[test]
fn what_is_written_comes_back_to_the_last_bit() {
    let model = tiny();
    let files = sound();
    let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, [CONFIG, ADAPTER, TRAINER]);
    let again = Trainee::from_files(model.clone(), &files).unwrap();
    assert_eq!((again.steps(), again.shape().rank), (1, 8));
    assert!(again.to_files("tiny").unwrap() == files);
    let without = Trainee::from_files(model, &files[..2]).unwrap();
    assert_eq!(without.steps(), 0);
    assert!(without.to_files("tiny").unwrap()[..2] == files[..2]);
}

#[test]
fn foreign_adapters_are_read_in_16_bits_too_and_by_their_models_name() {
    let model = tiny();
    let read = |name: &str| (name.to_owned(), std::fs::read(made("peft").join(name)).unwrap());
    let mut files: Files = vec![read(CONFIG), read(ADAPTER), ("README.md".to_owned(), b"# Hello".to_vec())];
    let (prompt, completion) = (tokens(1, 4), tokens(2, 12));
    let logprobs = |files: &Files| {
        let adapter = Adapter::from_files("peft@1", &model, files).unwrap();
        model.logprobs(&prompt, &completion, Some(&adapter)).unwrap()
    };
    let whole = logprobs(&files);
    let file = SafetensorsFile::open(of(&mut files, ADAPTER));
    for (dtype, most, bytes) in [
        ("F16", 0.02, (|x| f16::from_f32(x).to_le_bytes()) as fn(f32) -> [u8; 2]),
        ("BF16", 0.2, |x| bf16::from_f32(x).to_le_bytes()),
    ] {
        *of(&mut files, ADAPTER) = file.narrowed(dtype, bytes);
        let off = whole.iter().zip(logprobs(&files)).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(off > 0.0 && off < most, "{dtype}: {off}");
    }
    *of(&mut files, ADAPTER) = file.close();
    config(&mut files, "base_model_name_or_path", json!("/models/Tiny/"));
    assert_eq!(logprobs(&files), whole);
    // rsLoRA divides by the root of the rank: twice as much at rank 4, as twice the alpha.
    config(&mut files, "use_rslora", json!(true));
    let by_root = logprobs(&files);
    config(&mut files, "use_rslora", json!(false));
    config(&mut files, "lora_alpha", json!(16));
    assert_eq!(logprobs(&files), by_root);
    assert_ne!(by_root, whole);
}
