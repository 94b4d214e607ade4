//! Manual pages and shell completions, made from the definition of the command line and the example of a configuration.

use std::io::{self, Write};

use clap::Command;
use clap_complete::Shell;
use clap_mangen::Man;

/// The manual page, in roff: one for all subcommands.
pub(crate) fn page(mut program: Command) -> io::Result<Vec<u8>> {
    program.build();
    let mut page = Vec::new();
    let man = Man::new(program.clone());
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    writeln!(page, ".SH SYNOPSIS")?;
    let commands = || {
        let commands = program.get_subcommands();
        commands.filter(|command| command.get_name() != "help")
    };
    for command in commands() {
        let usage = command.clone().render_usage().to_string();
        writeln!(page, "{}\n.br", escape(usage.trim_start_matches("Usage: ")))?;
    }
    writeln!(page, ".SH COMMANDS")?;
    for command in commands() {
        let about = command.get_about().map(ToString::to_string);
        let about = escape(&about.unwrap_or_default());
        writeln!(page, ".SS {}\n{about}", escape(command.get_name()))?;
        let mut options = Vec::new();
        Man::new(command.clone()).render_options_section(&mut options)?;
        let options = String::from_utf8_lossy(&options).into_owned();
        let body = options.lines().skip_while(|line| !line.starts_with(".TP"));
        body.into_iter()
            .try_for_each(|line| writeln!(page, "{line}"))?;
    }
    if let Some(notes) = program.get_after_help() {
        writeln!(page, ".SH ENVIRONMENT AND EXIT STATUS\n.nf")?;
        let notes = notes.to_string();
        let mut lines = notes.lines().map(escape);
        lines.try_for_each(|line| writeln!(page, "{line}"))?;
        writeln!(page, ".fi")?;
    }
    Ok(page)
}

/// The manual page of the configuration file, in roff, made from the example, which has each key after what it means.
pub(crate) fn configuration_page(example: &str) -> String {
    let mut page = String::from(
        ".TH rostergate.toml 5\n.SH NAME\nrostergate.toml \\- configuration of rostergate(1)\n.SH DESCRIPTION\n",
    );
    for block in example.split("\n\n") {
        let (comment, keys): (Vec<&str>, Vec<&str>) = block.lines().partition(|line| is_text(line));
        for key in &keys {
            let key = key.trim_start_matches("# ");
            page += &match key.starts_with('[') {
                true => format!(".SH \"{}\"\n", escape(key)),
                false => format!(".TP\n\\fB{}\\fR\n", escape(key)),
            };
        }
        if keys.is_empty() {
            page += ".PP\n";
        }
        for line in comment {
            let text = line.trim_start_matches('#');
            // A table: as it is written.
            match text.starts_with("   ") {
                true => page += &format!(".br\n{}\n", escape(text.trim())),
                false => page += &format!("{}\n", escape(text.trim())),
            }
        }
    }
    page + ".SH SEE ALSO\n.BR rostergate (1)\n"
}

/// Whether a line of the example explains something. A key that is set to nothing by default is commented out.
fn is_text(line: &str) -> bool {
    let is_key = |line: &str| {
        let name = line.split(" = ").next().unwrap_or_default();
        line.contains(" = ")
            && name
                .bytes()
                .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'))
    };
    match line.strip_prefix("# ") {
        Some(rest) => !is_key(rest) && !rest.starts_with("[["),
        None => line.starts_with('#'),
    }
}

/// The script by which a shell completes the arguments.
pub(crate) fn completions(mut program: Command, shell: Shell) -> Vec<u8> {
    let mut script = Vec::new();
    let name = program.get_name().to_owned();
    clap_complete::generate(shell, &mut program, name, &mut script);
    script
}

/// `line` so that roff shows it literally.
fn escape(line: &str) -> String {
    let line = line.replace('\\', "\\e").replace('-', "\\-");
    // A line that roff would take for a request gets a character without width in front.
    match line.starts_with(['.', '\'']) {
        true => format!("\\&{line}"),
        false => line,
    }
}
