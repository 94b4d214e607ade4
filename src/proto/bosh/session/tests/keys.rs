//! Key sequences (XEP-0124 §15).

use super::*;

/// A key and what it is the hash of.
pub(super) fn keys() -> [String; 4] {
    use sha1::{Digest as _, Sha1};
    let hash = |key: &str| {
        let digest: [u8; 20] = Sha1::digest(key).into();
        digest
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    };
    let third = hash("seed");
    let second = hash(&third);
    [hash(&second), second, third, "seed".to_owned()]
}

#[test]
fn requests_prove_by_keys_whom_they_come_from() {
    let [first, second, third, seed] = keys();
    let mut harness = Harness::open(&format!("newkey='{first}'"));
    harness.request(101, &format!("key='{second}'"), "<message id='1'/>");
    assert_eq!(harness.events(), ["1"]);
    harness.request(102, &format!("key='{third}' newkey='{first}'"), "");
    harness.request(103, &format!("key='{second}'"), "<message id='2'/>");
    assert_eq!(harness.events(), ["2"]);
    harness.answers();
    let stranger = harness.request(104, &format!("key='{seed}'"), "<message id='3'/>");
    let end = "Ended(Violation(ItemNotFound))";
    assert_eq!(harness.events(), [end], "its message does not pass");
    let answers = harness.answers();
    let told = answers.iter().find(|(slot, _)| *slot == stranger).unwrap();
    assert!(told.1.contains("condition='item-not-found'"), "{told:?}");
}

#[test]
fn keys_count_in_the_order_of_the_rids() {
    let [first, second, third, _] = keys();
    let mut harness = Harness::open(&format!("newkey='{first}'"));
    harness.request(102, &format!("key='{third}'"), "<message id='2'/>");
    assert!(harness.events().is_empty());
    harness.request(101, &format!("key='{second}'"), "<message id='1'/>");
    assert_eq!(harness.events(), ["1", "2"]);
}

#[test]
fn a_resend_has_the_key_of_the_original() {
    let [first, second, third, _] = keys();
    let mut harness = Harness::open(&format!("newkey='{first}'"));
    let attributes = format!("key='{second}'");
    harness.request(101, &attributes, "");
    harness.session.send(message(7));
    harness.answers();
    harness.request(101, &attributes, "");
    assert!(harness.answers()[0].1.contains("id='7'"), "from the cache");
    harness.request(101, &format!("key='{third}'"), "");
    assert_eq!(harness.events(), ["Ended(Violation(ItemNotFound))"]);
}
