use tinyjson::JsonValue;

/// The settings' names, in the order in which a message lists them.
const NAMES: [&str; 3] = ["max_skills", "max_tokens", "min_score"];
/// The most skills that one selection may name.
const MAX_SKILLS: u32 = 64;
/// How alike a misspelt name must be to be guessed, 1 being the same.
const LIKENESS: f64 = 0.8;

/// How skills are chosen.
#[derive(Clone, Copy)]
pub struct Settings {
    /// At most this many, 0 to 64.
    pub max_skills: u32,
    /// At most this many prompt tokens in all, as the catalog estimates them.
    pub max_tokens: u32,
    /// Hits that score less are left out. The index has a threshold of its own; 0 adds none.
    pub min_score: f32,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { max_skills: 6, max_tokens: 2000, min_score: 0.0 }
    }
}

impl Settings {
    /// Reads the JSON object of this agent's `config:`, or says everything that is wrong with it.
    pub fn parse(json: &str) -> Result<Self, Vec<String>> {
        let mut settings = Settings::default();
        // The usual case, on every turn: nothing to read.
        if json == "{}" {
            return Ok(settings);
        }
        let Ok(JsonValue::Object(entries)) = json.parse() else {
            return Err(vec!["the settings must be a mapping of names to values".into()]);
        };
        let mut problems: Vec<String> =
            entries.iter().filter_map(|(name, value)| settings.set(name, value).err()).collect();
        problems.sort();
        if problems.is_empty() { Ok(settings) } else { Err(problems) }
    }

    fn set(&mut self, name: &str, value: &JsonValue) -> Result<(), String> {
        match name {
            "max_skills" => self.max_skills = whole_number(name, value, MAX_SKILLS)?,
            "max_tokens" => self.max_tokens = whole_number(name, value, u32::MAX)?,
            "min_score" => self.min_score = score(name, value)?,
            _ => return Err(unknown(name)),
        }
        Ok(())
    }
}

fn whole_number(name: &str, value: &JsonValue, most: u32) -> Result<u32, String> {
    match value {
        JsonValue::Number(n) if n.fract() == 0.0 && (0.0..=f64::from(most)).contains(n) => Ok(*n as u32),
        _ => Err(format!("`{name}` must be a whole number from 0 to {most}")),
    }
}

fn score(name: &str, value: &JsonValue) -> Result<f32, String> {
    match value {
        JsonValue::Number(n) if (0.0..=f64::from(f32::MAX)).contains(n) => Ok(*n as f32),
        _ => Err(format!("`{name}` must be a number, 0 or more")),
    }
}

fn unknown(name: &str) -> String {
    let closest =
        NAMES.into_iter().map(|known| (strsim::jaro_winkler(name, known), known)).max_by(|a, b| a.0.total_cmp(&b.0));
    match closest {
        Some((likeness, known)) if likeness >= LIKENESS => {
            format!("there is no setting {name:?}; did you mean `{known}`?")
        }
        _ => format!("there is no setting {name:?}; there are {}", NAMES.map(|n| format!("`{n}`")).join(", ")),
    }
}
