//! Manual page and shell completions, made from the definition of the command line.

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
