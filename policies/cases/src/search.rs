use crate::case::Case;

/// The words of a text, lower-cased: what stands between characters that are neither letters nor digits. Words of one letter, and the
/// commonest English ones, say nothing of a subject and are left out.
pub fn words(text: &str) -> Vec<String> {
    const COMMON: [&str; 24] = [
        "the", "and", "for", "with", "you", "this", "that", "use", "when", "what", "are", "is", "of", "to", "in", "on",
        "it", "me", "my", "how", "do", "or", "an", "be",
    ];
    let all = text.split(|c: char| !c.is_alphanumeric()).map(str::to_lowercase);
    all.filter(|word| word.chars().nth(1).is_some() && !COMMON.contains(&word.as_str())).collect()
}

/// A plain stand-in for the host's index: the skills that share words with the query in their names and descriptions, as (position in
/// the catalog, score), best first. The real one weighs differently, so a case in which the order matters says what is found.
pub fn overlap(case: &Case, query: &str, k: usize) -> Vec<(usize, f32)> {
    let asked = words(query);
    let mut hits: Vec<(usize, f32)> = Vec::new();
    for (at, skill) in case.skills.iter().enumerate() {
        let shares = |text: &str| words(text).iter().filter(|word| asked.contains(word)).count();
        let score = 3 * shares(&skill.name) + 2 * shares(&skill.description);
        if score > 0 {
            hits.push((at, f32::from(u16::try_from(score).unwrap_or(u16::MAX))));
        }
    }
    hits.sort_by(|a, b| b.1.total_cmp(&a.1));
    hits.truncate(k);
    hits
}
