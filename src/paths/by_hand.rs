//! How a person does by hand what a path does, with the tools that its platform gives to people: for the runbook.
//!
//! Never shows a secret, or where one is: people have credentials of their own.

/// One way to do it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ByHand {
    /// What is needed and where it is done, in a sentence.
    pub first: String,
    /// Commands for a POSIX shell, each as its arguments.
    pub commands: Vec<Vec<String>>,
}

impl ByHand {
    /// This sentence.
    pub(crate) fn new(first: impl Into<String>) -> Self {
        Self { first: first.into(), commands: Vec::new() }
    }

    /// The same and one command more.
    pub(crate) fn command<T: Into<String>>(mut self, arguments: impl IntoIterator<Item = T>) -> Self {
        self.commands.push(arguments.into_iter().map(Into::into).collect());
        self
    }

    /// The commands as lines that can be pasted: each argument stays one argument.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.commands.iter().map(|command| line(command)).collect()
    }
}

/// A command in one line, quoted for a POSIX shell.
#[must_use]
pub fn line(arguments: &[String]) -> String {
    let quoted: Vec<String> = arguments.iter().map(|argument| quoted(argument)).collect();
    quoted.join(" ")
}

fn quoted(argument: &str) -> String {
    let plain = |each: char| each.is_ascii_alphanumeric() || "_@%+=:,./-".contains(each);
    if !argument.is_empty() && argument.chars().all(plain) {
        return argument.to_owned();
    }
    format!("'{}'", argument.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_argument_stays_one_argument_in_a_shell() {
        let arguments = ["deploy", "--to=v1", "", "it's", "$(rm)", "a b"].map(str::to_owned);
        let printed = line(&arguments);
        assert_eq!(printed, r"deploy --to=v1 '' 'it'\''s' '$(rm)' 'a b'");
        let script = format!("printf '%s\\n' {printed}");
        let ran = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
        assert_eq!(String::from_utf8(ran.stdout).unwrap(), arguments.join("\n") + "\n");
    }
}
