//! Replays what the fuzzers have collected and found (`fuzz/corpus`), with the same checks.

mod checks;

use std::{fs, panic, path::Path};

use checks::{CHECKS, Check};

/// The inputs of one check, by file name.
fn corpus(check: &Check) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(check.name);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
    let mut inputs: Vec<_> = entries
        .map(|entry| {
            let path = entry.expect("an entry").path();
            let name = path.file_name().expect("files have names");
            let bytes = fs::read(&path).expect("a file that can be read");
            (name.to_string_lossy().into_owned(), bytes)
        })
        .collect();
    inputs.sort();
    inputs
}

#[test]
fn every_input_passes_its_check() {
    let mut failed = Vec::new();
    for check in &CHECKS {
        for (name, bytes) in corpus(check) {
            if panic::catch_unwind(|| (check.run)(&bytes)).is_err() {
                failed.push(format!("{}/{name}", check.name));
            }
        }
    }
    assert_eq!(failed, [""; 0], "see above for what does not hold");
}

/// A corpus is worth something: some of it is accepted, and some refused.
#[test]
fn every_corpus_reaches_both_outcomes() {
    for check in &CHECKS {
        let inputs = corpus(check);
        let accepted = inputs.iter().filter(|(_, bytes)| (check.run)(bytes));
        let accepted = accepted.count();
        let all = inputs.len();
        assert!(
            accepted > 0 && accepted < all,
            "{}: {accepted} of {all}",
            check.name
        );
    }
}

/// Anything at all, however short.
#[test]
fn every_check_takes_any_two_bytes() {
    for check in &CHECKS {
        (check.run)(b"");
        for first in 0..=u8::MAX {
            for second in [0, b'\n', b'"', b'<', b'{', 0x80, 0xff] {
                (check.run)(&[first, second]);
            }
        }
    }
}
