/// Enough places for the words of some hundred skills to share few of them.
const PLACES: usize = 1024;
/// A piece of a word counts for less than the word.
const PIECE: f32 = 0.4;
/// Letters of a piece.
const PIECE_LENGTH: usize = 3;
/// How much of a text counts: what is asked comes first, and what was pasted would drown it.
const MAX_BYTES: usize = 8 << 10;

/// What a text is about, as places that are not 0, in order.
pub struct Vector(Vec<(u16, f32)>);

/// How much each place says: one that is in every skill says nothing.
pub struct Rarity(Vec<f32>);

impl Vector {
    /// Counts words and their pieces.
    pub fn count(text: &str) -> Self {
        let text = text[..text.floor_char_boundary(MAX_BYTES)].to_lowercase();
        let mut places = vec![0.0; PLACES];
        for word in text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
            places[place_of(word)] += 1.0;
            let starts: Vec<usize> = word.char_indices().map(|(at, _)| at).chain([word.len()]).collect();
            for piece in starts.windows(PIECE_LENGTH + 1) {
                places[place_of(&word[piece[0]..piece[PIECE_LENGTH]])] += PIECE;
            }
        }
        let numbered = (0_u16..).zip(places);
        Vector(numbered.filter(|(_, count)| *count > 0.0).collect())
    }

    /// The cosine of two vectors of length 1.
    pub fn likeness(&self, other: &Vector) -> f32 {
        let (mut sum, mut theirs) = (0.0, other.0.iter().peekable());
        for (place, value) in &self.0 {
            while theirs.next_if(|(other, _)| other < place).is_some() {}
            if let Some((_, other)) = theirs.next_if(|(other, _)| other == place) {
                sum += value * other;
            }
        }
        sum
    }
}

impl Rarity {
    /// From the counts of all skills.
    pub fn of(skills: &[Vector]) -> Self {
        let mut found = vec![0.0; PLACES];
        for (place, _) in skills.iter().flat_map(|skill| &skill.0) {
            found[usize::from(*place)] += 1.0;
        }
        // Without logarithms, which are not the same on every machine.
        let all = skills.len() as f32;
        Rarity(found.into_iter().map(|found| ((1.0 + all) / (0.5 + found)).sqrt()).collect())
    }

    /// The vector with a word's first mention worth most, rare places more, and the length 1.
    pub fn weigh(&self, mut vector: Vector) -> Vector {
        for (place, value) in &mut vector.0 {
            *value = value.sqrt() * self.0[usize::from(*place)];
        }
        let length = vector.0.iter().map(|(_, value)| value * value).sum::<f32>().sqrt();
        vector.0.iter_mut().for_each(|(_, value)| *value /= length.max(f32::MIN_POSITIVE));
        vector
    }
}

/// FNV-1a, folded.
fn place_of(piece: &str) -> usize {
    let mix = |hash: u32, byte: u8| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    let hash = piece.bytes().fold(0x811C_9DC5, mix);
    (hash ^ (hash >> 16)) as usize % PLACES
}
