//! Text format 0.0.4 of Prometheus, made of that of OpenMetrics 1.0: there, families have the names of their samples, and
//! information is a gauge.

/// The same samples in the older format.
pub(super) fn plain(open: &str) -> String {
    let mut text = String::with_capacity(open.len());
    let mut push = |parts: &[&str]| {
        for part in parts {
            text.push_str(part);
        }
        text.push('\n');
    };
    let mut help = None;
    for line in open.lines() {
        let Some(said) = line.strip_prefix("# ") else {
            push(&[line]);
            continue;
        };
        // The text of a family comes before its type.
        help = said.strip_prefix("HELP ").or(help);
        let described = said.strip_prefix("TYPE ");
        let Some((family, kind)) = described.and_then(|it| it.split_once(' ')) else {
            continue;
        };
        let (suffix, kind) = match kind {
            "counter" => ("_total", kind),
            "info" => ("_info", "gauge"),
            _ => ("", kind),
        };
        let help = help.take().and_then(|help| help.strip_prefix(family));
        push(&["# HELP ", family, suffix, help.unwrap_or_default()]);
        push(&["# TYPE ", family, suffix, " ", kind]);
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn families_have_the_names_of_their_samples() {
        let open = "# HELP a_build The program.\n# TYPE a_build info\na_build_info{version=\"1\"} 1\n\
                    # HELP a_hits All of them.\n# TYPE a_hits counter\na_hits_total 3\n\
                    # HELP a_time_seconds Time.\n# TYPE a_time_seconds gauge\n# UNIT a_time_seconds seconds\n\
                    a_time_seconds 2.5\n# EOF\n";
        let plain = "# HELP a_build_info The program.\n# TYPE a_build_info gauge\na_build_info{version=\"1\"} 1\n\
                     # HELP a_hits_total All of them.\n# TYPE a_hits_total counter\na_hits_total 3\n\
                     # HELP a_time_seconds Time.\n# TYPE a_time_seconds gauge\na_time_seconds 2.5\n";
        assert_eq!(super::plain(open), plain);
    }
}
