use serde_json::{Map, Value, json};

use super::{CONFIG, module, refused};
use crate::ModelError;
use crate::adapter::Projection;
use crate::train::{LoraShape, MAX_RANK};

/// The longest `adapter_config.json` there may be.
const MAX_CONFIG: usize = 64 << 10;
/// What PEFT writes that changes nothing in the finished adapter, whatever it says.
const WITHOUT_EFFECT: [&str; 11] = [
    "auto_mapping",
    "inference_mode",
    "init_lora_weights",
    "loftq_config",
    "lora_dropout",
    "megatron_core",
    "peft_version",
    "qalora_group_size",
    "revision",
    "runtime_config",
    "task_type",
];

/// What an `adapter_config.json` says.
pub(super) struct Config {
    pub(super) shape: LoraShape,
    /// The model that it names.
    base: Option<String>,
}

impl Config {
    pub(super) fn read(bytes: &[u8]) -> Result<Self, ModelError> {
        if bytes.len() > MAX_CONFIG {
            return Err(refused(CONFIG, format!("it has {} bytes, and at most {MAX_CONFIG} are read", bytes.len())));
        }
        let mut map: Map<String, Value> =
            serde_json::from_slice(bytes).map_err(|error| refused(CONFIG, format!("it is not JSON: {error}")))?;
        let config = Self::take(&mut map).map_err(|reason| refused(CONFIG, reason))?;
        // Whatever else it says may change the numbers, unless it says nothing.
        let said = |value: &Value| match value {
            Value::Null | Value::Bool(false) => false,
            Value::Array(list) => !list.is_empty(),
            Value::Object(map) => !map.is_empty(),
            _ => true,
        };
        match map.iter().find(|(key, value)| !WITHOUT_EFFECT.contains(&key.as_str()) && said(value)) {
            Some((key, _)) => Err(refused(CONFIG, format!("it sets `{key}`, which is not supported"))),
            None => Ok(config),
        }
    }

    /// Takes out of `map` what is understood.
    fn take(map: &mut Map<String, Value>) -> Result<Self, String> {
        let mut take = |key: &str| map.remove(key).unwrap_or_default();
        if take("peft_type") != "LORA" {
            return Err("its `peft_type` is not LORA".to_owned());
        }
        let rank = take("r").as_u64().and_then(|r| usize::try_from(r).ok());
        let rank = rank.filter(|rank| (1..=MAX_RANK).contains(rank));
        let rank = rank.ok_or_else(|| format!("its `r` is not a rank from 1 to {MAX_RANK}"))?;
        let alpha = take("lora_alpha").as_f64().filter(|alpha| *alpha > 0.0 && *alpha <= 1e6);
        let alpha = alpha.ok_or("its `lora_alpha` is not a number above 0")?;
        match take("bias") {
            Value::Null => {}
            bias if bias == "none" => {}
            _ => return Err("its `bias` is not none".to_owned()),
        }
        let by_root = match take("use_rslora") {
            Value::Null | Value::Bool(false) => false,
            Value::Bool(true) => true,
            _ => return Err("its `use_rslora` is neither true nor false".to_owned()),
        };
        let alpha = if by_root { alpha * (rank as f64).sqrt() } else { alpha };
        let projections = projections(&take("target_modules"))?;
        let base = match take("base_model_name_or_path") {
            Value::Null => None,
            Value::String(base) => Some(base),
            _ => return Err("its `base_model_name_or_path` is not a name".to_owned()),
        };
        Ok(Config { shape: LoraShape { rank, alpha: crate::math::narrow(alpha), projections }, base })
    }

    /// Refuses an adapter that names another model than this, where its matrices do not say it better.
    pub(super) fn check_base(&self, name: &str) -> Result<(), ModelError> {
        let base = self.base.as_deref().unwrap_or_default();
        let last = base.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
        if last.eq_ignore_ascii_case(name) {
            return Ok(());
        }
        Err(refused(CONFIG, format!("it belongs to the model {base:?}, and this one is {name:?}")))
    }
}

fn projections(modules: &Value) -> Result<[bool; 7], String> {
    let list = modules.as_array().filter(|list| !list.is_empty());
    let list = list.ok_or("its `target_modules` is not a list of linear layers")?;
    let mut projections = [false; 7];
    for name in list {
        let known = Projection::ALL.into_iter().find(|projection| *name == module(*projection));
        let known = known.ok_or_else(|| format!("it changes {name}, which is not one of the seven linear layers"))?;
        projections[known as usize] = true;
    }
    Ok(projections)
}

/// The file as PEFT would write it, keys in order.
pub(super) fn write(base: &str, lora: &LoraShape) -> Vec<u8> {
    let modules: Vec<&str> =
        Projection::ALL.into_iter().filter(|projection| lora.projections[*projection as usize]).map(module).collect();
    let config = json!({
        "base_model_name_or_path": base,
        "bias": "none",
        "fan_in_fan_out": false,
        "inference_mode": true,
        "init_lora_weights": true,
        "lora_alpha": lora.alpha,
        "lora_dropout": 0.0,
        "peft_type": "LORA",
        "r": lora.rank,
        "target_modules": modules,
        "task_type": "CAUSAL_LM",
        "use_dora": false,
        "use_rslora": false,
    });
    format!("{config:#}\n").into_bytes()
}
