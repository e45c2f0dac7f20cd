//! Who says what texts mean: an installed embedder, where configuration wants one.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use config::{Config, EmbedderChoice};
use domain::{Digest, RetrievalMode};
use local_model::{ModelError, ModelKind, TextEmbedder};
use skills::{Embedder, Meanings};

/// The kinds that there are, the best first, with the score that a turn's best skill must reach (see `skills::Library::rank`):
/// found on half of ToolE and on the shipped skills, so that questions which fit no skill get none.
const KINDS: [(ModelKind, f32); 2] = [(ModelKind::MiniLm, 0.28), (ModelKind::StaticVectors, 0.28)];

/// The cosine above which two skills are about the same. Measured on the shipped bank and ToolE's descriptions: of nine skills told
/// in other words, both models find eight (MiniLM 0.66 to 0.81, static vectors 0.61 to 0.85); no two of the bank's 57 come that near
/// (0.66; 0.676), and of ToolE's 19,701 pairs 2 and 4 do, such as renting and buying houses.
const MINILM_TWINS: f32 = 0.70;
const STATIC_TWINS: f32 = 0.68;

/// An embedder of `local-model`, as `skills` wants it.
struct Installed {
    model: TextEmbedder,
    threshold: f32,
}

/// What came of looking for an embedder.
pub(crate) enum Found {
    /// This one.
    Embedder(Arc<dyn Embedder>, ModelKind),
    /// None is wanted, or none is installed: words alone decide.
    Nothing,
    /// The one that is wanted cannot be had, and why: words alone decide.
    Unusable(String),
}

impl Embedder for Installed {
    fn model(&self) -> Digest {
        self.model.model()
    }

    fn dims(&self) -> usize {
        self.model.dims()
    }

    fn is_quick(&self) -> bool {
        self.model.kind() == ModelKind::StaticVectors
    }

    fn threshold(&self) -> f32 {
        self.threshold
    }

    fn twins(&self) -> f32 {
        match self.model.kind() {
            ModelKind::StaticVectors => STATIC_TWINS,
            _ => MINILM_TWINS,
        }
    }

    fn embed(&self, text: &str) -> Result<Vec<f32>, String> {
        self.model.embed(text).map_err(|error| error.to_string())
    }
}

/// Loads the embedder that the configuration wants, which takes a fraction of a second.
pub(crate) fn find(config: &Config) -> Found {
    let wanted: &[_] = match config.embedder {
        EmbedderChoice::None => &[],
        EmbedderChoice::MiniLm => &KINDS[..1],
        EmbedderChoice::Static => &KINDS[1..],
        EmbedderChoice::Auto => &KINDS,
    };
    let models = config.home.join("models");
    for (kind, threshold) in wanted {
        let installed = match local_model::find(&models, kind.as_str()) {
            Ok(installed) => installed,
            Err(ModelError::NotInstalled { .. }) => continue,
            Err(error) => return Found::Unusable(error.to_string()),
        };
        return match TextEmbedder::load(&installed.path) {
            Ok(model) => Found::Embedder(Arc::new(Installed { model, threshold: *threshold }), *kind),
            Err(error) => Found::Unusable(error.to_string()),
        };
    }
    match (config.embedder, wanted) {
        (EmbedderChoice::MiniLm | EmbedderChoice::Static, [(kind, _)]) => {
            let kind = kind.as_str();
            Found::Unusable(format!(
                "skills.embedder is {kind}, which is not installed: `metaclaw models fetch {kind}`"
            ))
        }
        _ => Found::Nothing,
    }
}

/// Where a host keeps the vectors of skills that this embedder makes.
pub(crate) fn vectors_file(home: &Path, embedder: &dyn Embedder) -> PathBuf {
    home.join("state").join("vectors").join(embedder.model().short())
}

/// Starts what says what texts mean. What keeps it from that is a sentence for the operator; skills are found by words then.
pub(crate) fn start(config: &Config) -> (Option<Arc<Meanings>>, Option<String>) {
    let modes = || config.agents().map(|(_, agent)| agent.skills.retrieval);
    let started = match find(config) {
        Found::Nothing => {
            if modes().any(RetrievalMode::embeds) {
                tracing::info!(
                    "skills are found by their words alone: `metaclaw models fetch minilm` (83 MB), and after the next start also by what they mean"
                );
            }
            (None, None)
        }
        Found::Unusable(why) => (None, Some(format!("skills are found by their words alone: {why}"))),
        Found::Embedder(embedder, kind) => {
            let file = vectors_file(&config.home, &*embedder);
            match Meanings::start(embedder, Some(file)) {
                Ok(meanings) => {
                    tracing::info!(
                        embedder = kind.as_str(),
                        "skills are found by what they mean, where `skills.retrieval_mode` says so"
                    );
                    (Some(meanings), None)
                }
                Err(error) => (None, Some(format!("skills are found by their words alone: {error}"))),
            }
        }
    };
    if modes().any(|mode| mode == RetrievalMode::Template) {
        tracing::info!("{TEMPLATE_HINT}");
    }
    started
}

/// What somebody may want to know whose file MetaClaw's own setup wrote.
pub(crate) const TEMPLATE_HINT: &str = "skills.retrieval_mode is template, as MetaClaw's setup writes it: lists of words choose, and nothing is ranked. \
     `metaclaw config set skills.retrieval_mode hybrid` finds what fits, or nothing";
