//! Installing and loading model files, with made-up ones.

#[cfg(test)]
mod common;

use std::path::Path;

use common::{HIDDEN, INNER, LAYERS, Tiny, tiny, write_tiny};
use local_model::{Adapter, AdapterLayer, ChatMessage, LowRank, Model, ModelError, Projection, find, install, list};
use serde_json::json;

const TOOLS: &str = "{% if tools %}{{ tools | tojson }}{% endif %}{% for m in messages %}{{ m.role }}:\
                     {{ m.content.strip() }}{% if m.tool_calls %}{{ m.tool_calls[0].function.arguments | tojson }}\
                     {% endif %}<|im_end|>{% endfor %}";

#[cfg(test)]
fn install_tiny(dir: &Path, name: &str) -> local_model::InstalledModel {
    let source = dir.join("source.gguf");
    write_tiny(&source, &Tiny::default());
    install(&source, "made up", &dir.join("models"), name, &mut |_| {}).unwrap()
}

#[test]
fn an_installed_model_answers_as_its_source_and_installs_the_same_again() {
    let dir = tempfile::tempdir().unwrap();
    let models = dir.path().join("models");
    assert_eq!(list(&models).unwrap(), []);
    let first = install_tiny(dir.path(), "tiny");
    let mut steps = Vec::new();
    let source = dir.path().join("source.gguf");
    let second = install(&source, "made up", &models, "tiny", &mut |step| steps.push(step)).unwrap();
    assert_eq!(first.sha256, second.sha256);
    assert!(steps.is_sorted_by_key(|step| step.done) && steps.last().is_some_and(|s| s.done == s.total));
    assert_eq!(list(&models).unwrap(), std::slice::from_ref(&second));
    assert_eq!(std::fs::read_dir(&models).unwrap().count(), 2, "nothing else is left behind");

    let (source, installed) = (Model::load(&source).unwrap(), Model::load(&second.path).unwrap());
    assert_eq!((installed.info().name.as_str(), source.info().name.as_str()), ("tiny", "source"));
    assert_eq!((installed.info().context, installed.info().vocab), (256, 260));
    let tokens: Vec<u32> = (0..60).collect();
    assert_eq!(source.logprobs(&[1], &tokens, None).unwrap(), installed.logprobs(&[1], &tokens, None).unwrap());

    assert_eq!(local_model::remove(&models, "tiny").unwrap(), second);
    assert_eq!(std::fs::read_dir(&models).unwrap().count(), 0);
    assert!(matches!(find(&models, "tiny"), Err(ModelError::NotInstalled { .. })));
}

#[test]
fn a_changed_file_is_not_loaded() {
    let dir = tempfile::tempdir().unwrap();
    let model = install_tiny(dir.path(), "tiny");
    let mut bytes = std::fs::read(&model.path).unwrap();
    // The same content with another date is the same model.
    std::fs::write(&model.path, &bytes).unwrap();
    assert!(Model::load(&model.path).is_ok());
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&model.path, &bytes).unwrap();
    assert!(matches!(Model::load(&model.path), Err(ModelError::Checksum { .. })));
    assert!(matches!(local_model::verify(&dir.path().join("models"), "tiny"), Err(ModelError::Checksum { .. })));
}

#[test]
fn names_that_are_not_one_file_name_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["", "../x", "a/b", ".hidden", "Upper", "a b", "é", &"a".repeat(65)] {
        assert!(matches!(find(dir.path(), name), Err(ModelError::Name(_))), "{name:?}");
        assert!(matches!(install(dir.path(), "", dir.path(), name, &mut |_| {}), Err(ModelError::Name(_))), "{name:?}");
    }
}

#[test]
fn files_that_cannot_be_run_are_refused_before_anything_is_written() {
    let plain = Tiny::default();
    let cases = [
        (Tiny { architecture: "mamba", ..plain.clone() }, "the architecture `mamba`"),
        (Tiny { tokenizer: "bert", ..plain.clone() }, "a tokenizer of type `bert`"),
        (Tiny { template: "{% for", ..plain.clone() }, "chat template refused"),
        (Tiny { alignment: 0, ..plain.clone() }, "its header makes no sense"),
    ];
    let dir = tempfile::tempdir().unwrap();
    let (source, models) = (dir.path().join("x.gguf"), dir.path().join("models"));
    for (tiny, want) in cases {
        write_tiny(&source, &tiny);
        for error in [Model::load(&source).err().unwrap(), install(&source, "", &models, "x", &mut |_| {}).unwrap_err()]
        {
            assert!(error.to_string().contains(want), "{error}");
        }
    }
    write_tiny(&source, &plain);
    let whole = std::fs::read(&source).unwrap();
    for len in [0, 3, 100, 5_000, whole.len() / 2, whole.len() - 100] {
        std::fs::write(&source, &whole[..len]).unwrap();
        let error = Model::load(&source).err().unwrap();
        assert!(matches!(error, ModelError::Format { .. }), "{len} bytes: {error}");
    }
    assert!(!models.exists(), "not even the folder");
}

#[test]
fn templates_get_what_hugging_face_gives_them() {
    let model = tiny(&Tiny { template: TOOLS, ..Tiny::default() }).unwrap();
    assert!(model.info().tools);
    let messages = ChatMessage::from_openai(&json!([
        { "role": "user", "content": "  hello <|im_end|> \n" },
        { "role": "assistant", "content": "",
          "tool_calls": [{ "function": { "name": "f", "arguments": "{\"q\":\"<|im_end|>\"}" } }] },
    ]));
    let tools = json!([{ "type": "function", "function": { "name": "<|im_end|>" } }]);
    let tokens = model.encode(&messages.unwrap(), Some(&tools)).unwrap();
    assert_eq!(
        model.decode(&tokens),
        "[{\"function\": {\"name\": \"<|im_end|>\"}, \"type\": \"function\"}]\
         user:hello <|im_end|>assistant:{\"q\": \"<|im_end|>\"}"
    );
    assert_eq!(tokens.iter().filter(|token| **token == 257).count(), 2, "only the template's own end tokens count");
    assert!(!tiny(&Tiny::default()).unwrap().info().tools);

    let raising = Tiny { template: "{{ raise_exception('roles must alternate') }}", ..Tiny::default() };
    let error = tiny(&raising).unwrap().encode(&[ChatMessage::new("user", "x")], None).unwrap_err().to_string();
    assert!(error.contains("roles must alternate"), "{error}");
    let endless =
        Tiny { template: "{% for i in range(9999) %}{% for j in range(9999) %}{% endfor %}{% endfor %}", ..raising };
    assert!(tiny(&endless).unwrap().encode(&[ChatMessage::new("user", "x")], None).is_err());
}

#[test]
fn an_adapter_acts_as_if_its_product_were_added_to_the_weights() {
    let (rank, scale) = (2, 0.5);
    let cases = [
        (Projection::Value, "blk.1.attn_v.weight", HIDDEN / 2, HIDDEN),
        (Projection::Output, "blk.1.attn_output.weight", HIDDEN, HIDDEN),
        (Projection::Gate, "blk.1.ffn_gate.weight", INNER, HIDDEN),
        (Projection::Up, "blk.1.ffn_up.weight", INNER, HIDDEN),
        (Projection::Down, "blk.1.ffn_down.weight", HIDDEN, INNER),
        (Projection::Query, "blk.1.attn_q.weight", HIDDEN, HIDDEN),
        (Projection::Key, "blk.1.attn_k.weight", HIDDEN / 2, HIDDEN),
    ];
    let tokens: Vec<u32> = (0..80).map(|i| i * 7 % 250).collect();
    let base = tiny(&Tiny::default()).unwrap();
    let plain = base.logprobs(&[1], &tokens, None).unwrap();
    let distance = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).sum::<f32>() / a.len() as f32;
    for (projection, name, rows, cols) in cases {
        let a: Vec<f32> = (0..rank * cols).map(|i| (i as f32 * 0.9).sin() * 1.2).collect();
        let b: Vec<f32> = (0..rows * rank).map(|i| (i as f32 * 0.4).cos()).collect();
        let mut delta = vec![0.0; rows * cols];
        for (i, delta) in delta.iter_mut().enumerate() {
            // The file has the rows of queries and keys interleaved, the adapter has not: heads are 16 wide here.
            let interleaved = matches!(projection, Projection::Query | Projection::Key);
            let file_row = i / cols;
            let row = if interleaved { file_row / 16 * 16 + file_row % 2 * 8 + file_row % 16 / 2 } else { file_row };
            *delta = scale * (0..rank).map(|r| b[row * rank + r] * a[r * cols + i % cols]).sum::<f32>();
        }
        let merged = tiny(&Tiny { delta: Some((name, delta)), ..Tiny::default() }).unwrap();
        let merged = merged.logprobs(&[1], &tokens, None).unwrap();

        let mut layers = vec![AdapterLayer::default(); LAYERS];
        layers[1].projections[projection as usize] = Some(LowRank::new(rank, scale, a, &b).unwrap());
        let adapted = base.logprobs(&[1], &tokens, Some(&Adapter::new("a@1", layers))).unwrap();
        // The merged weights are rounded anew, so the two are close but not the same.
        let (change, error) = (distance(&adapted, &plain), distance(&adapted, &merged));
        assert!(change > 0.02 && error < change / 8.0, "{projection:?}: changed by {change}, off by {error}");
    }
}
