//! Repair of bytes that are almost JSON: what a string of ours cannot hold, and numbers that JSON does not know.
//! Each repair keeps the length, so that nothing is copied.

use memchr::{memchr, memchr2};
use serde::de::IgnoredAny;

pub(super) fn replace_what_is_no_text(mut json: &mut [u8]) {
    // Between values, a space is as good as a line feed.
    for byte in json.iter_mut().filter(|byte| byte.is_ascii_control()) {
        *byte = b' ';
    }
    while let Err(error) = std::str::from_utf8(json) {
        let (_, rest) = json.split_at_mut(error.valid_up_to());
        let wrong = error.error_len().unwrap_or(rest.len());
        rest[..wrong].fill(b' ');
        json = &mut rest[wrong..];
    }
}

/// Replaces halves of a character, which JSON can write as `\ud83d`, and Rust strings cannot hold.
pub(super) fn replace_lone_surrogates(json: &mut [u8]) {
    let mut at = 0;
    while let Some(found) = json.get(at..).and_then(|rest| memchr(b'\\', rest)) {
        at += found;
        at += match escaped_unit(json, at) {
            Some(0xd800..=0xdbff)
                if matches!(escaped_unit(json, at + 6), Some(0xdc00..=0xdfff)) =>
            {
                12
            }
            Some(0xd800..=0xdfff) => {
                json[at + 2..at + 6].copy_from_slice(b"fffd");
                6
            }
            Some(_) => 6,
            None => 2,
        };
    }
}

/// Puts empty strings, which count as absent, in the place of numbers that JSON does not know. Python writes `NaN` and
/// `Infinity`, templates write `007`, and the original module reads them.
pub(super) fn replace_odd_numbers(json: &mut [u8]) {
    let mut at = 0;
    while let Some(first) = json.get(at) {
        at = match first {
            b'"' => end_of_string(json, at),
            b'+' | b'-' | b'0'..=b'9' | b'I' | b'N' | b'i' | b'n' => {
                let is_end = |byte: &u8| b" ,:[]{}\"".contains(byte);
                let length = json[at..].iter().position(is_end);
                let end = length.map_or(json.len(), |length| at + length);
                let token = &mut json[at..end];
                if is_odd_number(token) {
                    token.fill(b' ');
                    token[..2].fill(b'"');
                }
                end
            }
            _ => at + 1,
        };
    }
}

/// Behind the string that begins here.
fn end_of_string(json: &[u8], begin: usize) -> usize {
    let mut at = begin + 1;
    while let Some(found) = json.get(at..).and_then(|rest| memchr2(b'"', b'\\', rest)) {
        at += found + 1;
        if json[at - 1] == b'"' {
            return at;
        }
        // Skips the escaped byte.
        at += 1;
    }
    json.len()
}

/// Whether this is a number of more than one byte, but none of JSON.
fn is_odd_number(token: &[u8]) -> bool {
    let Ok(token) = std::str::from_utf8(token) else {
        return false;
    };
    let unsigned = token.trim_start_matches(['+', '-']);
    let hexadecimal = unsigned
        .strip_prefix("0x")
        .or_else(|| unsigned.strip_prefix("0X"));
    let is_hexadecimal = hexadecimal.is_some_and(|digits| u64::from_str_radix(digits, 16).is_ok());
    let is_number = is_hexadecimal || token.parse::<f64>().is_ok();
    token.len() > 1 && is_number && serde_json::from_str::<IgnoredAny>(token).is_err()
}

/// The UTF-16 code unit that is written here as `\uXXXX`.
fn escaped_unit(json: &[u8], at: usize) -> Option<u16> {
    let digits = json.get(at..at + 6)?.strip_prefix(b"\\u")?;
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}
