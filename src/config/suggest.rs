//! PURE. "Did you mean ...?"

/// The most edits between a key and what was probably meant.
const MOST_EDITS: usize = 2;

/// The known word that `word` was probably meant to be: it begins with it, or is at most two edits away.
pub(super) fn closest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .filter_map(|candidate| {
            let edits = edits(word.as_bytes(), candidate.as_bytes());
            let is_prefix =
                word.len() >= 3 && (candidate.starts_with(word) || word.starts_with(candidate));
            (is_prefix || edits <= MOST_EDITS.min(candidate.len() / 2))
                .then_some((edits, candidate))
        })
        .min()
        .map(|(_, candidate)| candidate)
}

/// Levenshtein distance; keys are short, but the file is not ours, so a long word is simply far away.
fn edits(a: &[u8], b: &[u8]) -> usize {
    if a.len().abs_diff(b.len()) > MOST_EDITS {
        return usize::MAX;
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, &from) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, &to) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(from != to);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_and_a_forgotten_ending_find_the_key_and_another_word_does_not() {
        let known = || ["connection_string_file", "queue", "hub", "hub_property"].into_iter();
        assert_eq!(closest("quue", known()), Some("queue"));
        assert_eq!(closest("connection_string", known()), Some("connection_string_file"));
        assert_eq!(closest("hubb", known()), Some("hub"));
        assert_eq!(closest("xyz", known()), None);
        assert_eq!(closest("", known()), None);
    }
}
