//! Names are those of expat, which most XMPP servers read with: what it refuses ends the stream of whoever
//! gets it.

use std::process::Command;

use rostergate::proto::xml::lint::is_nc_name;

/// Prints the code points that a name may begin with, and those that may follow, as ranges.
const ASK: &str = r#"
from xml.parsers import expat

def takes(document):
    try:
        expat.ParserCreate().Parse(document.encode(), True)
        return True
    except expat.ExpatError:
        return False

for before in ["", "a"]:
    taken = [c for c in range(0x21, 0x110000)
             if not 0xd800 <= c < 0xe000 and chr(c) not in "/>&:" and takes("<%s%s/>" % (before, chr(c)))]
    print(" ".join(map(str, taken)))
"#;

#[test]
fn every_character_of_a_name_is_one_to_expat_too() {
    let python = Command::new("python3").args(["-c", ASK]).output();
    let python = python.expect("python3, of the Debian package python3, which has expat");
    assert!(python.status.success(), "{python:?}");
    let printed = String::from_utf8(python.stdout).expect("numbers");
    let theirs: Vec<Vec<u32>> = printed
        .lines()
        .map(|line| {
            line.split(' ')
                .map(|c| c.parse().expect("a number"))
                .collect()
        })
        .collect();
    for (before, theirs) in ["", "a"].into_iter().zip(theirs) {
        let ours = |c: &char| is_nc_name(format!("{before}{c}").as_bytes());
        let ours: Vec<u32> = ('!'..=char::MAX)
            .filter(|c| *c != ':' && ours(c))
            .map(u32::from)
            .collect();
        assert!(ours.len() > 20_000, "letters and ideographs");
        assert_eq!(ours, theirs, "after {before:?}");
    }
}
