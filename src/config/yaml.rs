//! YAML text to a tree of values, with limits.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde_json::Value;
use serde_saphyr::{DuplicateKeyPolicy, options};

use super::problem::Problem;

/// A thousand rules take a tenth of that.
const MAX_FILE_BYTES: u64 = 1024 * 1024;
/// The deepest key of ours is at depth 6.
const MAX_DEPTH: usize = 16;
/// Far more values than a thousand rules have.
const MAX_NODES: usize = 100_000;
/// A few shared blocks; more is an attempt to blow up.
const MAX_ANCHORS: usize = 64;

/// Reads the file as a tree.
pub(super) fn read_file(path: &Path) -> Result<Value, Problem> {
    let unreadable = |wrong: String| {
        Problem::new(
            "the file".to_owned(),
            None,
            wrong,
            "name a readable YAML file of at most 1 MiB with --config",
        )
    };
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text))
        .map_err(|error| unreadable(format!("can't be read ({error})")))?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(unreadable("is larger than 1 MiB".to_owned()));
    }
    parse(&text)
}

/// Parses one document. Duplicate keys are refused; `yes` and `no` are text; nothing beyond the limits is built.
pub(super) fn parse(text: &str) -> Result<Value, Problem> {
    let budget = serde_saphyr::budget! {
        max_depth: MAX_DEPTH,
        max_nodes: MAX_NODES,
        max_anchors: MAX_ANCHORS,
        max_documents: 1,
    };
    let options = options! {
        budget: budget,
        duplicate_keys: DuplicateKeyPolicy::Error,
        strict_booleans: true,
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let place = error.location().map_or_else(
            || "the file".to_owned(),
            |place| format!("line {}, column {}", place.line(), place.column()),
        );
        let wrong = error.without_snippet().to_string();
        let first_line = wrong.lines().next().unwrap_or_default();
        Problem::new(
            place,
            None,
            format!("is no usable YAML ({first_line})"),
            "check indentation, quotes and colons there",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duplicate_keys_a_second_document_and_deep_or_exploding_input_are_refused() {
        let deep = "[".repeat(40) + &"]".repeat(40);
        let bomb = "a: &a [x,x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\n\
                    c: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]\n\
                    e: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: [*e,*e,*e,*e,*e,*e,*e,*e,*e,*e]\n";
        for text in ["a: 1\na: 2\n", "a: 1\n---\nb: 2\n", &deep, bomb, "a: ["] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn words_that_older_yaml_read_as_booleans_are_text() {
        let tree = parse("a: yes\nb: true\nc: 'x'\n").expect("it is YAML");
        assert_eq!(tree["a"], "yes");
        assert_eq!(tree["b"], true);
        assert_eq!(tree["c"], "x");
    }
}
